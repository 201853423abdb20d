//! A scripted model on loopback that speaks the chat-completions dialect. What it answers is
//! decided by [`crate::script`]; what it was asked is kept, so that a test sees what a model
//! would have seen.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
}

/// One request of a harness.
#[derive(Debug, Clone)]
pub struct Request {
    /// The whole body.
    pub body: Value,
    /// The last text the user said.
    pub last_user_text: String,
    /// The results of tools behind that text, in order.
    pub tool_results: Vec<String>,
    /// The names of the tools on offer; empty for side jobs such as summaries.
    pub tools: Vec<String>,
}

impl Model {
    /// Starts one on a free port.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            struck: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind a port on loopback")?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
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
    fn parse(body: Value) -> Self {
        let messages =
            body.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let role = |message: &Value| message.get("role").and_then(Value::as_str).map(str::to_owned);
        let last_user = messages.iter().rposition(|m| role(m).as_deref() == Some("user"));
        let (last_user_text, after) = match last_user.and_then(|at| messages.split_at_checked(at)) {
            Some((_, [user, after @ ..])) => (content(user), after),
            _ => (String::new(), messages),
        };
        let results = after.iter().filter(|m| role(m).as_deref() == Some("tool"));
        let tools = body.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let name = |tool: &Value| tool.pointer("/function/name")?.as_str().map(str::to_owned);
        Self {
            last_user_text,
            tool_results: results.map(content).collect(),
            tools: tools.iter().filter_map(name).collect(),
            body,
        }
    }

    /// How many messages the conversation has.
    fn length(&self) -> usize {
        self.body.get("messages").and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The last id in the newest tool result that holds one.
    fn returned_id(&self) -> Option<&str> {
        self.tool_results.iter().rev().find_map(|result| {
            let words = result.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
            words.rev().find(|word| word.len() == 36 && uuid::Uuid::try_parse(word).is_ok())
        })
    }
}

/// A message's text, whether it comes as a string or in parts.
fn content(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let text = |part: &Value| part.get("text")?.as_str().map(str::to_owned);
            parts.iter().filter_map(text).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

async fn complete(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let request = Request::parse(body);
    let answer = shared.answer(&request);
    {
        let mut requests = lock(&shared.requests);
        requests.push(request);
        shared.count.send_replace(requests.len());
    }
    match answer {
        Answer::Stream(frames) => {
            let body = Body::from_stream(stream::unfold(frames, next_frame));
            ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Answer::Error(status, message) => {
            // Harnesses retry what sounds like a passing failure.
            let passing = status == 429 || status >= 500;
            let kind = if passing { "overloaded_error" } else { "invalid_request_error" };
            let error = json!({ "type": kind, "message": message });
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(json!({ "type": "error", "error": error }))).into_response()
        }
    }
}

enum Answer {
    Stream(VecDeque<Frame>),
    Error(u16, String),
}

enum Frame {
    Data(Value),
    Pause(Duration),
    Cut,
    Endless,
}

impl Shared {
    fn answer(&self, request: &Request) -> Answer {
        if request.tools.is_empty() {
            return Answer::Stream(said("A summary of what was said so far.", request));
        }
        let steps = match script::steps(&request.last_user_text) {
            Ok(steps) => steps,
            Err(error) => return Answer::Error(400, format!("{error:#}")),
        };
        let call = script::call(&steps, request.tool_results.len());
        if call.is_empty() {
            return Answer::Stream(said("Done.", request));
        }

        let mut frames = VecDeque::new();
        let mut finish = "stop";
        for step in call {
            match step {
                Step::Say(text) => {
                    frames.extend(words(text).map(|w| delta(json!({ "content": w }))))
                }
                Step::Think(text) => {
                    frames.extend(words(text).map(|w| delta(json!({ "reasoning_content": w }))));
                }
                Step::Slow { words, gap_ms } => {
                    for word in 1..=*words {
                        frames.push_back(delta(json!({ "content": format!("word{word} ") })));
                        frames.push_back(Frame::Pause(Duration::from_millis(*gap_ms)));
                    }
                }
                Step::Fail { status, times } if self.strikes(request, *times) => {
                    return Answer::Error(*status, format!("scripted failure {status}"));
                }
                Step::Cut { times } if self.strikes(request, *times) => {
                    frames.push_back(delta(json!({ "content": "This breaks off in the " })));
                    frames.push_back(Frame::Cut);
                }
                Step::Fail { .. } | Step::Cut { .. } => {}
                Step::Endless => frames.push_back(Frame::Endless),
                Step::Tool { name, arguments } => {
                    let arguments = match request.returned_id() {
                        Some(id) => arguments.replace("$id", id),
                        None => arguments.clone(),
                    };
                    let function = json!({ "name": name, "arguments": arguments });
                    let id = format!("call_{}", request.length());
                    let call =
                        json!({ "index": 0, "id": id, "type": "function", "function": function });
                    frames.push_back(delta(json!({ "tool_calls": [call] })));
                    finish = "tool_calls";
                }
            }
        }
        frames.extend(ending(finish, request));
        Answer::Stream(frames)
    }

    fn strikes(&self, request: &Request, times: u32) -> bool {
        let mut struck = lock(&self.struck);
        let count = struck.entry((request.length(), request.last_user_text.clone())).or_default();
        *count = count.saturating_add(1);
        *count <= times
    }
}

fn said(text: &str, request: &Request) -> VecDeque<Frame> {
    let text = words(text).map(|word| delta(json!({ "content": word })));
    text.chain(ending("stop", request)).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn delta(delta: Value) -> Frame {
    Frame::Data(json!({ "choices": [{ "index": 0, "delta": delta }] }))
}

fn ending(reason: &str, request: &Request) -> [Frame; 2] {
    let prompt = request.body.to_string().len() / 4;
    let usage =
        json!({ "prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10 });
    [
        Frame::Data(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })),
        Frame::Data(json!({ "choices": [], "usage": usage })),
    ]
}

/// One piece of the answer's body. A client that hangs up drops the stream, which ends it.
async fn next_frame(
    mut frames: VecDeque<Frame>,
) -> Option<(Result<String, io::Error>, VecDeque<Frame>)> {
    loop {
        let value = match frames.pop_front()? {
            Frame::Data(value) => value,
            Frame::Pause(pause) => {
                tokio::time::sleep(pause).await;
                continue;
            }
            Frame::Cut => {
                frames.clear();
                return Some((Err(io::Error::other("cut by the script")), frames));
            }
            Frame::Endless => {
                frames.push_front(Frame::Endless);
                frames.push_front(Frame::Pause(Duration::from_millis(100)));
                json!({ "choices": [{ "index": 0, "delta": { "content": "more " } }] })
            }
        };
        return Some((Ok(format!("data: {value}\n\n")), frames));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
