//! A harness adapter: turns lines of the harness into events, and commands into lines.
//! `PROTOCOL.md` describes the harness, `wit/harness.wit` and `wit/deps/session` what the host wants.

wit_bindgen::generate!({ path: "wit", generate_all });

mod effects;
#[cfg(test)]
mod tests;
mod turn;

use std::cell::RefCell;

use effects::{done, event, failed, failure, state, write};
use exports::rp::harness::adapter::*;
use rp::session::types::{FailureKind, TurnEnd, Urgency};
use serde_json::{Value, json};
use turn::Turn;

struct Component;

impl Guest for Component {
    type Session = Session;

    fn describe() -> Vec<Description> {
        vec![Description {
            name: "{{id}}".into(),
            title: "{{name}}".into(),
            program: "{{id}}".into(),
            version_args: vec!["--version".into()],
            tested: vec![],
            install: "say here how {{id}} is installed".into(),
            // What is not named here is answered with `unsupported`.
            abilities: Abilities::ABORT,
        }]
    }

    /// A failure is shown to the person who starts the agent.
    fn launch(request: LaunchRequest) -> Result<LaunchSpec, Failure> {
        if request.settings.split_whitespace().collect::<String>() != "{}" {
            return Err(failure(FailureKind::Invalid, "{{name}} has no settings"));
        }
        let files: Vec<_> = request.mesh.iter().map(mesh_file).collect();
        let args = match files.is_empty() {
            true => vec![],
            false => vec!["--mesh".into(), "{dir}/mesh.json".into()],
        };
        let framing = Framing::Lines;
        Ok(LaunchSpec { program: "{{id}}".into(), args, env: vec![], files, framing })
    }
}

/// The MCP server through which the model reaches others. What it is started with is a secret, so
/// it stands in a private file and not among the arguments, which everybody on the machine can see.
fn mesh_file(mesh: &MeshAccess) -> (String, Vec<u8>) {
    let McpServer { command, args, env, .. } = &mesh.server;
    let env: serde_json::Map<_, _> =
        env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let told = json!({ "command": command, "args": args, "env": env });
    ("mesh.json".into(), told.to_string().into_bytes())
}

/// One process of the harness, from start to exit. Every method returns effects, and every command
/// is settled exactly once: when the harness confirms it, or when its process is gone.
#[derive(Default)]
struct Session(RefCell<Conversation>);

#[derive(Default)]
struct Conversation {
    /// The prompt that the harness has not confirmed yet.
    asked: Option<u64>,
    /// The aborts that wait for the end of the turn.
    aborts: Vec<u64>,
    turn: Turn,
    /// The last line the harness wrote to standard error.
    last_words: Option<String>,
}

impl GuestSession for Session {
    fn new(_: LaunchRequest) -> Self {
        Self::default()
    }

    fn started(&self) -> Vec<Effect> {
        vec![state(false)]
    }

    fn command(&self, number: u64, command: Command) -> Vec<Effect> {
        let mut now = self.0.borrow_mut();
        let busy = now.asked.is_some() || now.turn.runs();
        let refuse = |kind, why| vec![failed(number, kind, why)];
        match command {
            Command::Prompt(prompt) if !prompt.images.is_empty() => {
                refuse(FailureKind::Unsupported, "{{name}} takes no images")
            }
            Command::Prompt(prompt) if busy => {
                let waits = prompt.urgency == Urgency::WhenIdle;
                let kind = if waits { FailureKind::Busy } else { FailureKind::Unsupported };
                refuse(kind, "{{name}} takes one prompt at a time")
            }
            Command::Prompt(prompt) => {
                now.asked = Some(number);
                vec![write(&json!({"prompt": prompt.text}))]
            }
            Command::Abort if busy => {
                now.aborts.push(number);
                vec![write(&json!({"abort": true}))]
            }
            Command::Abort => vec![done(number)],
            Command::Refresh => vec![state(now.turn.runs()), done(number)],
            _ => refuse(FailureKind::Unsupported, "{{name}} cannot do that"),
        }
    }

    fn output(&self, data: Vec<u8>) -> Vec<Effect> {
        let now = &mut *self.0.borrow_mut();
        // What makes no sense is skipped.
        let Ok(Value::Object(line)) = serde_json::from_slice(&data) else { return vec![] };
        if line.get("started") == Some(&json!(true))
            && let Some(number) = now.asked.take()
        {
            now.turn.start();
            return vec![event(Event::TurnStarted), event(Event::PromptSeen(number)), done(number)];
        }
        let ran = now.turn.runs();
        let mut effects = now.turn.line(&line);
        if ran && !now.turn.runs() {
            effects.extend(now.aborts.drain(..).map(done));
        }
        effects
    }

    fn diagnostics(&self, line: String) -> Vec<Effect> {
        self.0.borrow_mut().last_words = Some(line);
        vec![]
    }

    fn wake(&self) -> Vec<Effect> {
        vec![]
    }

    fn exited(&self, how: Exit) -> Vec<Effect> {
        let now = &mut *self.0.borrow_mut();
        let what = match how {
            Exit::Code(code) => format!("{{name}} ended with code {code}"),
            Exit::Signal(signal) => format!("{{name}} was ended by signal {signal}"),
            Exit::FailedToStart(reason) => format!("{{name}} did not start: {reason}"),
        };
        let words = now.last_words.take().map(|line| format!(" ({line})")).unwrap_or_default();
        let mut effects = now.turn.end(TurnEnd::Failed, Some(&format!("{what}{words}")));
        let open = now.asked.take().into_iter().chain(now.aborts.drain(..));
        effects.extend(open.map(|number| failed(number, FailureKind::Harness, &what)));
        effects
    }
}

#[cfg(target_arch = "wasm32")]
export!(Component);
