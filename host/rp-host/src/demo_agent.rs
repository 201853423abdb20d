//! The agent behind the `demo` harness: no model, a script. Its protocol is written down in
//! `adapters/demo/PROTOCOL.md`.

use std::{collections::VecDeque, path::PathBuf, pin::pin, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin},
    time::sleep,
};

use self::questions::Inquiry;
use crate::{api, client::Client, output, problem::Problem};

mod questions;

/// Prompts that can be held while a turn runs.
const HELD: usize = 64;

/// Runs until standard input ends or a script says `crash`.
pub fn run() -> Result<(), Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::failed(format!("the demo agent did not start: {error}")))?;
    runtime.block_on(Agent::new().live());
    runtime.shutdown_background();
    Ok(())
}

/// Prints one line of the protocol.
fn tell(line: &Value) {
    // Nobody is left to be told that nobody listens.
    let _ = output::raw(format!("{line}\n").as_bytes());
}

struct Agent {
    input: Lines<BufReader<Stdin>>,
    desk: Desk,
    voice: Voice,
}

/// Why a turn goes no further.
enum Cut {
    /// An abort with this id.
    Aborted(Value),
    /// Standard input ended.
    Over,
}

impl Agent {
    fn new() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mesh =
            match (variable("RP_HOST_SOCKET"), variable("RP_AGENT_ID"), variable("RP_AGENT_TOKEN"))
            {
                (Some(socket), Some(agent), Some(token)) => Some(Mesh {
                    client: Client::new(PathBuf::from(socket)).speaking_as(token),
                    agent,
                }),
                _ => None,
            };
        let folder = std::env::current_dir().unwrap_or_default().display().to_string();
        let name = variable("RP_DEMO_NAME").unwrap_or_else(|| "demo".to_owned());
        Self {
            input: BufReader::new(tokio::io::stdin()).lines(),
            desk: Desk::default(),
            voice: Voice { mesh, name, folder, messages: 0, tools: 0, questions: 0, open: None },
        }
    }

    async fn live(mut self) {
        tell(&json!({ "type": "ready", "protocol": 1 }));
        loop {
            let Some(prompt) = self.desk.held.pop_front() else {
                match self.input.next_line().await {
                    Ok(Some(line)) => {
                        if let Some(id) = self.desk.take(&line, false) {
                            tell(&json!({ "type": "aborted", "id": id, "dropped": [] }));
                        }
                        continue;
                    }
                    _ => return,
                }
            };
            tell(&json!({ "type": "turn-started" }));
            match self.turn(prompt).await {
                Ok(()) => tell(&json!({ "type": "turn-ended", "how": "completed" })),
                Err(Cut::Aborted(id)) => {
                    self.voice.cut_short();
                    tell(&json!({ "type": "turn-ended", "how": "aborted" }));
                    let dropped = self.desk.drop_all();
                    tell(&json!({ "type": "aborted", "id": id, "dropped": dropped }));
                }
                Err(Cut::Over) => return,
            }
        }
    }

    async fn turn(&mut self, prompt: Prompt) -> Result<(), Cut> {
        let mut work = VecDeque::from([prompt]);
        let mut steps = VecDeque::new();
        loop {
            // Prompts that joined run before the rest of the script they joined.
            for prompt in work.drain(..).rev() {
                for step in read_script(&prompt.text).into_iter().rev() {
                    steps.push_front(step);
                }
                tell(&json!({ "type": "prompt-seen", "id": prompt.id }));
            }
            let Some(step) = steps.pop_front() else { return Ok(()) };
            self.step(step).await?;
            work.extend(self.desk.joining.drain(..));
        }
    }

    /// One instruction, while the desk stays open.
    async fn step(&mut self, step: Step) -> Result<(), Cut> {
        if let Step::Question(inquiry) = step {
            return self.inquire(inquiry).await;
        }
        let mut doing = pin!(self.voice.perform(step));
        loop {
            tokio::select! {
                biased;
                line = self.input.next_line() => match line {
                    Ok(Some(line)) => {
                        if let Some(id) = self.desk.take(&line, true) {
                            return Err(Cut::Aborted(id));
                        }
                    }
                    _ => return Err(Cut::Over),
                },
                () = &mut doing => return Ok(()),
            }
        }
    }
}

struct Prompt {
    id: Value,
    text: String,
}

/// Takes the lines to the agent.
#[derive(Default)]
struct Desk {
    held: VecDeque<Prompt>,
    joining: VecDeque<Prompt>,
}

impl Desk {
    /// Takes one line; gives the id of an abort.
    fn take(&mut self, line: &str, working: bool) -> Option<Value> {
        let line: Value = serde_json::from_str(line).unwrap_or(Value::Null);
        let field = |name: &str| line.get(name).and_then(Value::as_str);
        let id = line.get("id").filter(|id| id.is_string()).cloned();
        match (field("type"), id) {
            (Some("abort"), Some(id)) => return Some(id),
            (Some("prompt"), Some(id)) => match field("text") {
                None => refuse(Some(id), "the prompt has no text"),
                Some(_) if self.held.len() + self.joining.len() >= HELD => {
                    refuse(Some(id), &format!("{HELD} prompts are held already"));
                }
                Some(text) => {
                    tell(&json!({ "type": "accepted", "id": id }));
                    let prompt = Prompt { id, text: text.to_owned() };
                    if working && field("when") == Some("after-step") {
                        self.joining.push_back(prompt);
                    } else {
                        self.held.push_back(prompt);
                    }
                }
            },
            (Some("answer"), id) => refuse(id, "that question is not open"),
            (_, id) => refuse(id, "this is neither a prompt nor an abort"),
        }
        None
    }

    fn drop_all(&mut self) -> Vec<Value> {
        self.joining.drain(..).chain(self.held.drain(..)).map(|prompt| prompt.id).collect()
    }
}

fn refuse(id: Option<Value>, error: &str) {
    let mut line = json!({ "type": "refused", "error": error });
    if let (Some(id), Some(line)) = (id, line.as_object_mut()) {
        line.insert("id".to_owned(), id);
    }
    tell(&line);
}

/// One thing to do.
enum Step {
    Say(String),
    Slow {
        pieces: u64,
        pause: Duration,
    },
    Ask {
        address: String,
        question: String,
    },
    Question(Inquiry),
    Sleep(Option<Duration>),
    Garbage,
    Crash,
    /// A message of the mesh that asks something.
    Answer {
        address: String,
        id: String,
        body: String,
    },
}

/// The steps of a prompt: messages of the mesh, or a script with one instruction a line.
fn read_script(text: &str) -> Vec<Step> {
    let messages = read_messages(text);
    if !messages.is_empty() {
        return messages;
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(read_instruction).collect()
}

fn read_instruction(line: &str) -> Step {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    let milliseconds = |text: &str| text.parse().map(Duration::from_millis).ok();
    match word {
        "say" => Step::Say(rest.to_owned()),
        "slow" => {
            let (pieces, pause) = rest.split_once(' ').unwrap_or((rest, "0"));
            Step::Slow {
                pieces: pieces.parse().unwrap_or(0),
                pause: milliseconds(pause.trim()).unwrap_or_default(),
            }
        }
        "ask" => {
            let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let (address, question) = quoted.or_else(|| rest.split_once(' ')).unwrap_or((rest, ""));
            Step::Ask { address: address.to_owned(), question: question.trim().to_owned() }
        }
        "permit" | "choose" | "confirm" | "text" | "within" => {
            Step::Question(Inquiry::read(word, rest))
        }
        "sleep" => Step::Sleep(milliseconds(rest)),
        "garbage" => Step::Garbage,
        "crash" => Step::Crash,
        _ => Step::Say(format!(
            "I do not know `{word}`. I know say, slow, ask, permit, choose, confirm, text, within, \
             sleep, garbage and crash."
        )),
    }
}

/// The messages of the mesh in a prompt; none when it is a script.
fn read_messages(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut current: Option<(Header, Vec<&str>)> = None;
    for line in text.lines() {
        if let Some(header) = Header::read(line) {
            steps.extend(current.take().map(|(header, body)| header.step(&body)));
            current = Some((header, Vec::new()));
        } else if let Some((_, body)) = &mut current {
            body.push(line);
        }
    }
    steps.extend(current.map(|(header, body)| header.step(&body)));
    steps
}

/// The first line of a message of the mesh.
struct Header {
    address: String,
    id: String,
    is_answer: bool,
}

impl Header {
    fn read(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("[mesh] message from \"")?;
        let (address, rest) = rest.rsplit_once("\" (")?;
        let fields = rest.strip_suffix(')')?;
        let field = |name: &str| fields.split(", ").find_map(|field| field.strip_prefix(name));
        Some(Self {
            address: address.to_owned(),
            id: field("id=")?.to_owned(),
            is_answer: field("re=").is_some(),
        })
    }

    /// What to do about the message; its last line that is not empty is a hint for models.
    fn step(self, lines: &[&str]) -> Step {
        let mut lines = lines.to_vec();
        while lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
        lines.pop();
        let body = lines.join("\n").trim().to_owned();
        if self.is_answer {
            return Step::Say(format!("{} answered: {body}", self.address));
        }
        Step::Answer { address: self.address, id: self.id, body }
    }
}

struct Mesh {
    client: Client,
    agent: String,
}

/// Says and does things.
struct Voice {
    mesh: Option<Mesh>,
    name: String,
    folder: String,
    messages: u64,
    tools: u64,
    questions: u64,
    open: Option<Open>,
}

/// What an abort cuts short.
enum Open {
    Message { id: String, text: String },
    Tool { id: String },
}

impl Voice {
    async fn perform(&mut self, step: Step) {
        match step {
            Step::Say(text) => {
                self.begin_message();
                for piece in text.split_inclusive(' ') {
                    self.piece(piece);
                }
                self.end_message();
            }
            Step::Slow { pieces, pause } => {
                self.begin_message();
                for number in 0..pieces {
                    sleep(pause).await;
                    self.piece(&format!("w{number} "));
                }
                self.end_message();
            }
            Step::Ask { address, question } => self.agent_send(&address, question, None).await,
            Step::Question(_) | Step::Sleep(None) => std::future::pending().await,
            Step::Sleep(Some(pause)) => sleep(pause).await,
            Step::Garbage => {
                let _ = output::raw(b"this is not JSON\n\nnull\n{\"type\":\"no-such-type\"}\n");
            }
            Step::Crash => {
                output::note("demo agent: the script said crash");
                std::process::exit(3);
            }
            Step::Answer { address, id, body } => {
                let answer = self.answer(&body);
                self.agent_send(&address, answer, Some(id)).await;
            }
        }
    }

    fn begin_message(&mut self) {
        self.messages += 1;
        self.open = Some(Open::Message { id: format!("m{}", self.messages), text: String::new() });
    }

    fn piece(&mut self, piece: &str) {
        if let Some(Open::Message { id, text }) = &mut self.open {
            text.push_str(piece);
            tell(&json!({ "type": "text", "message": id, "text": piece }));
        }
    }

    fn end_message(&mut self) {
        if let Some(Open::Message { id, text }) = self.open.take() {
            tell(&json!({ "type": "message", "message": id, "text": text }));
        }
    }

    /// Ends what an abort interrupted.
    fn cut_short(&mut self) {
        match self.open.take() {
            Some(message @ Open::Message { .. }) => {
                self.open = Some(message);
                self.end_message();
            }
            Some(Open::Tool { id }) => end_tool(&id, "aborted", true),
            None => {}
        }
    }

    async fn agent_send(&mut self, address: &str, body: String, re: Option<String>) {
        self.tools += 1;
        let id = format!("t{}", self.tools);
        let mut input = json!({ "to": address, "body": body });
        if let (Some(re), Some(input)) = (&re, input.as_object_mut()) {
            input.insert("re".to_owned(), json!(re));
        }
        tell(&json!({ "type": "tool-call", "call": id, "name": "agent_send", "input": input }));
        self.open = Some(Open::Tool { id: id.clone() });
        let (output, failed) = match &self.mesh {
            None => ("no mesh access".to_owned(), true),
            Some(mesh) => mesh.send(address, body, re).await,
        };
        self.open = None;
        end_tool(&id, &output, failed);
    }

    fn answer(&self, body: &str) -> String {
        let question = body.to_lowercase();
        if question.contains("what is your name") {
            format!("My name is {}.", self.name)
        } else if question.contains("what folder") {
            format!("I work in {}.", self.folder)
        } else {
            calculate(&question).unwrap_or_else(|| format!("You said: {body}"))
        }
    }
}

fn end_tool(id: &str, output: &str, failed: bool) {
    tell(&json!({ "type": "tool-result", "call": id, "output": output, "failed": failed }));
}

impl Mesh {
    /// What became of the message, and whether that is bad.
    async fn send(&self, address: &str, body: String, re: Option<String>) -> (String, bool) {
        let path = format!("/v1/agents/{}/messages", self.agent);
        let to = api::Destination::One(address.to_owned());
        let message = api::Send { to, body: Value::String(body), re, expires_in_ms: None };
        match self.client.post::<api::Sent>(&path, &message).await {
            Ok(sent) => {
                let failed = sent
                    .outcomes
                    .iter()
                    .all(|outcome| !matches!(outcome.status.as_str(), "received" | "sent"));
                (serde_json::to_string(&sent).unwrap_or_default(), failed)
            }
            Err(problem) => (problem.to_string(), true),
        }
    }
}

/// The result of the first `number operator number` in a text.
fn calculate(text: &str) -> Option<String> {
    let operators = text.char_indices().filter(|(_, c)| matches!(c, '+' | '-' | '*'));
    for (at, operator) in operators {
        let (left, right) = (text.get(..at)?, text.get(at + 1..)?);
        let left = left.trim_end();
        let digits_before = left.len() - left.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let left = left.get(left.len() - digits_before..)?;
        let right = right.trim_start();
        let digits_after =
            right.len() - right.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let right = right.get(..digits_after)?;
        if left.is_empty() || right.is_empty() {
            continue;
        }
        let result = match (left.parse::<i64>(), right.parse::<i64>()) {
            (Ok(left), Ok(right)) => match operator {
                '+' => left.checked_add(right),
                '-' => left.checked_sub(right),
                _ => left.checked_mul(right),
            },
            _ => None,
        };
        return Some(result.map_or_else(|| "too large".to_owned(), |number| number.to_string()));
    }
    None
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn sums_are_calculated_and_too_large_ones_are_said_to_be() {
        let answers =
            ["what is 2+2?", "12 * 3", "1 - 5", "9223372036854775807 + 1", "a+b", "c-3po"]
                .map(|question| calculate(question).unwrap_or_else(|| "none".to_owned()));
        assert_eq!(answers, ["4", "36", "-4", "too large", "none", "none"]);
    }

    #[test]
    fn a_mesh_message_is_answered_and_an_answer_is_only_told() {
        let text = "[mesh] message from \"/a@b (c)\" (agent, id=1)\nwhat\nnow?\n\nhint\n\
                    [mesh] message from \"/d@e\" (agent, id=2, re=3)\nyes\n\nhint";
        match read_script(text).as_slice() {
            [Step::Answer { address, id, body }, Step::Say(said)] => {
                assert_eq!(
                    (address.as_str(), id.as_str(), body.as_str()),
                    ("/a@b (c)", "1", "what\nnow?")
                );
                assert_eq!(said, "/d@e answered: yes");
            }
            other => panic!("{} steps", other.len()),
        }
    }
}
