//! A scripted model on loopback. It speaks the dialects of three providers: chat completions and
//! responses as OpenAI's models do, messages as Anthropic's do. What it answers is decided by
//! [`crate::script`]; what it was asked is kept, so that a test sees what a model would have seen.

mod chat;
mod messages;
mod responses;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    PATIENCE,
    script::{self, Step},
};

/// The server. It ends when this is dropped.
pub struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    requests: Mutex<Vec<Request>>,
    /// How often `fail` and `cut` have struck, by how long the conversation is and what it
    /// ends with: a repeated request is the same one, a repeated prompt is not.
    struck: Mutex<HashMap<(usize, String), u32>>,
    /// The number of requests so far.
    count: watch::Sender<usize>,
    /// The number of answers so far, from which their ids are made.
    answers: AtomicUsize,
}

/// One request of a harness.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The whole body.
    pub body: Value,
    /// The last text the user said.
    pub last_user_text: String,
    /// The results of tools behind that text, in order.
    pub tool_results: Vec<String>,
    /// The names of the tools on offer; empty for side jobs such as summaries. A tool in a
    /// namespace is `NAMESPACE/NAME`.
    pub tools: Vec<String>,
    /// How many parts the conversation has.
    length: usize,
}

/// What the model does, in order.
enum Piece {
    Text(String),
    Thought(String),
    Call(Call),
    Pause(Duration),
    Cut,
    Endless,
}

struct Call {
    id: String,
    tool: String,
    arguments: String,
}

/// A part of an answer's body.
enum Frame {
    Data(String),
    Pause(Duration),
    Cut,
    Endless(String),
}

/// The word that a model repeats which talks without an end.
const ENDLESS_WORD: &str = "more ";

/// What a model was offered to run commands with, and what it calls the command.
const SHELLS: [(&str, &str); 3] =
    [("bash", "command"), ("Bash", "command"), ("exec_command", "cmd")];

/// How a provider's models are spoken to.
#[derive(Clone, Copy)]
struct Dialect {
    parse: fn(Value) -> Request,
    /// The body of the answer with this number.
    frames: fn(usize, &Request, Vec<Piece>) -> VecDeque<Frame>,
}

impl Model {
    /// Starts one on a free port.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            struck: Mutex::default(),
            count: watch::Sender::new(0),
            answers: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a port on loopback")?;
        let address = listener.local_addr()?;
        let speaking = |dialect: Dialect| {
            post(async move |State(shared): State<Arc<Shared>>, Json(body): Json<Value>| {
                shared.respond(dialect, body)
            })
        };
        let router = Router::new()
            .route("/v1/chat/completions", speaking(chat::DIALECT))
            .route("/v1/messages", speaking(messages::DIALECT))
            .route("/v1/responses", speaking(responses::DIALECT))
            .fallback(async || (StatusCode::NOT_FOUND, Json(json!({}))))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// The base address for a harness's configuration.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Everything that was asked so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// The first request that fits, past or to come.
    ///
    /// # Errors
    /// When none comes within [`PATIENCE`]; the text lists what was asked instead.
    pub async fn request(&self, fits: impl Fn(&Request) -> bool) -> Result<Request> {
        let mut count = self.shared.count.subscribe();
        let mut seen = 0;
        let search = async {
            loop {
                let now = *count.borrow_and_update();
                let found =
                    lock(&self.shared.requests).iter().skip(seen).find(|r| fits(r)).cloned();
                if found.is_some() || count.changed().await.is_err() {
                    return found;
                }
                seen = now;
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await.ok().flatten();
        found.with_context(|| {
            let texts: Vec<_> = self.requests().into_iter().map(|r| r.last_user_text).collect();
            format!("the model was not asked what was expected; it was asked: {texts:#?}")
        })
    }

    /// The first request whose last user text contains this.
    ///
    /// # Errors
    /// As [`Model::request`].
    pub async fn request_about(&self, text: &str) -> Result<Request> {
        self.request(|request| request.last_user_text.contains(text)).await
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Request {
    /// Takes this for the last text the user said, unless the harness itself says it, in tags. What
    /// a hook says counts.
    fn hear(&mut self, text: &str) {
        let text = text.trim_start();
        if !text.starts_with('<') || text.starts_with("<hook_prompt") {
            text.clone_into(&mut self.last_user_text);
            self.tool_results.clear();
        }
    }

    /// The name under which this tool is on offer: a harness may have put something before it.
    fn offered(&self, name: &str) -> String {
        let is_it = |offered: &&String| {
            let before = offered.strip_suffix(name);
            before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '/']))
        };
        let shortest = self.tools.iter().filter(is_it).min_by_key(|offered| offered.len());
        shortest.cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The call that runs a command.
    fn shell(&self, command: &str) -> (String, String) {
        let offered = |(tool, _): &&(&str, &str)| self.tools.iter().any(|offered| offered == tool);
        let (tool, key) = SHELLS.iter().find(offered).unwrap_or(&("bash", "command"));
        ((*tool).to_owned(), json!({ *key: command }).to_string())
    }

    /// What it would cost to read.
    fn tokens(&self) -> usize {
        self.body.to_string().len() / 4
    }

    /// The last id in the newest tool result that holds one.
    fn returned_id(&self) -> Option<&str> {
        self.tool_results.iter().rev().find_map(|result| {
            let words = result.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
            words.rev().find(|word| word.len() == 36 && uuid::Uuid::try_parse(word).is_ok())
        })
    }
}

enum Answer {
    Pieces(Vec<Piece>),
    Error(u16, String),
}

impl Shared {
    fn respond(&self, dialect: Dialect, body: Value) -> Response {
        let request = (dialect.parse)(body);
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let response = match self.answer(number, &request) {
            Answer::Pieces(pieces) => {
                let frames = (dialect.frames)(number, &request, pieces);
                let body = Body::from_stream(stream::unfold(frames, next_frame));
                ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
            }
            Answer::Error(status, message) => error(status, &message),
        };
        let mut requests = lock(&self.requests);
        requests.push(request);
        self.count.send_replace(requests.len());
        response
    }

    fn answer(&self, number: usize, request: &Request) -> Answer {
        if request.tools.is_empty() {
            return Answer::Pieces(said("A summary of what was said so far.").collect());
        }
        let steps = match script::steps(&request.last_user_text) {
            Ok(steps) => steps,
            Err(error) => return Answer::Error(400, format!("{error:#}")),
        };
        let call = script::call(&steps, request.tool_results.len());
        if call.is_empty() {
            return Answer::Pieces(said("Done.").collect());
        }

        let mut pieces = Vec::new();
        let id = format!("call_{number}");
        let result = request.tool_results.last().map_or("", String::as_str);
        for step in call {
            match step {
                Step::Say(text) => pieces.extend(said(&text.replace("$result", result))),
                Step::Think(text) => {
                    pieces.extend(words(text).map(|word| Piece::Thought(word.to_owned())));
                }
                Step::Slow { words, gap_ms } => {
                    for word in 1..=*words {
                        pieces.push(Piece::Text(format!("word{word} ")));
                        pieces.push(Piece::Pause(Duration::from_millis(*gap_ms)));
                    }
                }
                Step::Fail { status, times } if self.strikes(request, *times) => {
                    return Answer::Error(*status, format!("scripted failure {status}"));
                }
                Step::Cut { times } if self.strikes(request, *times) => {
                    pieces.push(Piece::Text("This breaks off in the ".to_owned()));
                    pieces.push(Piece::Cut);
                }
                Step::Fail { .. } | Step::Cut { .. } => {}
                Step::Endless => pieces.push(Piece::Endless),
                Step::Shell(command) => {
                    let (tool, arguments) = request.shell(command);
                    pieces.push(Piece::Call(Call { id: id.clone(), tool, arguments }));
                }
                Step::Tool { name, arguments } => {
                    let quoted = json!(result).to_string();
                    let arguments = arguments.replace("$result", quoted.trim_matches('"'));
                    let arguments = match request.returned_id() {
                        Some(id) => arguments.replace("$id", id),
                        None => arguments,
                    };
                    let tool = request.offered(name);
                    pieces.push(Piece::Call(Call { id: id.clone(), tool, arguments }));
                }
            }
        }
        Answer::Pieces(pieces)
    }

    fn strikes(&self, request: &Request, times: u32) -> bool {
        let mut struck = lock(&self.struck);
        let count = struck.entry((request.length, request.last_user_text.clone())).or_default();
        *count = count.saturating_add(1);
        *count <= times
    }
}

fn error(status: u16, message: &str) -> Response {
    // Harnesses retry what sounds like a passing failure.
    let passing = status == 429 || status >= 500;
    let kind = if passing { "overloaded_error" } else { "invalid_request_error" };
    let error = json!({ "type": kind, "message": message });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "type": "error", "error": error }))).into_response()
}

fn said(text: &str) -> impl Iterator<Item = Piece> {
    words(text).map(|word| Piece::Text(word.to_owned()))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// The elements of an array, or none.
fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is(value: &Value, key: &str, text: &str) -> bool {
    value.get(key).and_then(Value::as_str) == Some(text)
}

/// A text, whether it comes as a string or in parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| part.get("text")?.as_str().map(str::to_owned);
            parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// One piece of the answer's body. A client that hangs up drops the stream, which ends it.
async fn next_frame(
    mut frames: VecDeque<Frame>,
) -> Option<(Result<String, io::Error>, VecDeque<Frame>)> {
    loop {
        let text = match frames.pop_front()? {
            Frame::Data(text) => text,
            Frame::Pause(pause) => {
                tokio::time::sleep(pause).await;
                continue;
            }
            Frame::Cut => {
                frames.clear();
                return Some((Err(io::Error::other("cut by the script")), frames));
            }
            Frame::Endless(text) => {
                frames.push_front(Frame::Endless(text.clone()));
                frames.push_front(Frame::Pause(Duration::from_millis(100)));
                text
            }
        };
        return Some((Ok(text), frames));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
