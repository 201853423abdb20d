//! The mesh tools in a model's hands, over the Model Context Protocol on stdio.
//!
//! A harness starts `rp-host mcp`; the daemon told it, through the environment, which agent it
//! is. Each tool is one call of the control API.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rmcp::{
    ServerHandler, ServiceExt,
    handler::server::{router::tool::ToolRouter, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
};
use rp_protocol::mesh::EnvelopeId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
};

use crate::{
    api,
    client::Client,
    paths::StateRoot,
    problem::{Problem, While},
};

const INSTRUCTIONS: &str = "\
You are one agent of a mesh. Find others with list_peers and write to them with agent_send. \
Addresses are opaque: copy them whole. A message for you arrives by itself as a new prompt that \
starts with [mesh]; answer it with agent_send, giving its id as `re`. Never answer an answer.";

const ASK: &str = "\
You are one agent of a mesh. Find others with list_peers and write to them with agent_send. \
Addresses are opaque: copy them whole. Messages for you may not arrive by themselves here: call \
get_messages when you begin a turn and before you end it. Answer a message with agent_send, giving \
its id as `re`. Never answer an answer.";

/// Serves the tools until standard input ends. With `ask`, the model is told to fetch its messages.
pub async fn serve(root: &StateRoot, ask: bool) -> Result<(), Problem> {
    let variable = |name: &str| {
        std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
            Problem::usage(format!("{name} is not set: `rp-host mcp` is started by harnesses"))
                .hint("create an agent with `rp-host create`; its harness gets the tools")
        })
    };
    let agent = variable("RP_AGENT_ID")?;
    let token = variable("RP_AGENT_TOKEN")?;
    let socket = std::env::var_os("RP_HOST_SOCKET")
        .map_or_else(|| root.control_socket(), std::path::PathBuf::from);
    let server = MeshTools {
        client: Client::new(socket).speaking_as(token),
        agent,
        instructions: if ask { ASK } else { INSTRUCTIONS },
        tool_router: MeshTools::tool_router(),
    };
    let (input, ended) = watched(tokio::io::stdin());
    let running = server.serve((input, tokio::io::stdout())).await.doing("serve the tools")?;
    tokio::select! {
        done = running.waiting() => done.map(drop).doing("serve the tools"),
        // A harness that is gone waits for no answer, so neither does a tool call for it.
        () = ended.notified() => Ok(()),
    }
}

/// A reader that tells when it comes to its end.
fn watched<R>(reader: R) -> (Watched<R>, Arc<Notify>) {
    let ended = Arc::new(Notify::new());
    (Watched { reader, ended: Arc::clone(&ended) }, ended)
}

struct Watched<R> {
    reader: R,
    ended: Arc<Notify>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            self.ended.notify_one();
        }
        polled
    }
}

/// What `agent_send` takes.
#[derive(Debug, Deserialize, JsonSchema)]
struct SendArguments {
    /// Address of a peer exactly as list_peers gave it, a list of them, or "broadcast" for
    /// every agent of your folder.
    #[schemars(schema_with = "address_or_list")]
    to: api::Destination,
    /// The message: a string, or any JSON.
    #[schemars(schema_with = "anything")]
    body: Value,
    /// The id of the message this answers.
    re: Option<String>,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({})
}

fn address_or_list(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
    })
}

/// What `get_messages` takes.
#[derive(Debug, Deserialize, JsonSchema)]
struct ReadArguments {
    /// Only look; the messages stay where they are.
    #[serde(default)]
    peek: bool,
}

/// What `agent_wait` takes.
#[derive(Debug, Deserialize, JsonSchema)]
struct WaitArguments {
    /// The id that agent_send returned.
    id: String,
    /// How long to wait, in seconds: 60 unless given, 600 at most.
    seconds: Option<u64>,
}

#[derive(Clone)]
struct MeshTools {
    client: Client,
    agent: String,
    instructions: &'static str,
    tool_router: ToolRouter<Self>,
}

#[tool_router]
impl MeshTools {
    #[tool(description = "List the agents you can write to: their addresses, folders and states.")]
    async fn list_peers(&self) -> CallToolResult {
        let path = format!("/v1/agents/{}/peers", self.agent);
        answer(self.client.get::<api::Peers>(&path).await, |peers| {
            let lines: Vec<_> = peers.peers.iter().map(peer_line).collect();
            if lines.is_empty() { "there is nobody else".to_owned() } else { lines.join("\n") }
        })
    }

    #[tool(description = "Write to another agent. Gives the message's id and what became of it. \
        An answer comes later, by itself, as a new prompt; agent_wait waits for it instead.")]
    async fn agent_send(&self, Parameters(arguments): Parameters<SendArguments>) -> CallToolResult {
        let path = format!("/v1/agents/{}/messages", self.agent);
        let SendArguments { to, body, re } = arguments;
        let message = api::Send { to, body, re, expires_in_ms: None };
        let sent = self.client.post::<api::Sent>(&path, &message).await;
        let reached_nobody = sent
            .as_ref()
            .is_ok_and(|sent| !sent.outcomes.iter().any(api::Outcome::reached_somebody));
        let mut result = answer(sent, |sent| {
            if sent.outcomes.is_empty() {
                return "it reached nobody: a broadcast goes to the agents of your own folder, \
                        and there is no other"
                    .to_owned();
            }
            let outcomes: Vec<_> = sent.outcomes.iter().map(outcome).collect();
            format!("id {}\n{}", sent.id, outcomes.join("\n"))
        });
        if reached_nobody {
            result.is_error = Some(true);
        }
        result
    }

    #[tool(description = "Take the messages that wait for you now. Rarely needed: they reach you \
        by themselves when your turn ends.")]
    async fn get_messages(
        &self,
        Parameters(ReadArguments { peek }): Parameters<ReadArguments>,
    ) -> CallToolResult {
        let which = if peek { "waiting" } else { "take" };
        let path = format!("/v1/agents/{}/inbox?{which}=true", self.agent);
        answer(self.client.get::<api::Inbox>(&path).await, |inbox| {
            let lines: Vec<_> = inbox.messages.iter().map(message).collect();
            if lines.is_empty() { "no messages".to_owned() } else { lines.join("\n\n") }
        })
    }

    #[tool(description = "Wait for the answer to a message you sent, by its id.")]
    async fn agent_wait(&self, Parameters(arguments): Parameters<WaitArguments>) -> CallToolResult {
        let Some(id) = EnvelopeId::parse(&arguments.id) else {
            let text = format!("{:?} is not the id of a message", arguments.id);
            let hint = "give the id that agent_send returned, whole";
            return answer(Err::<api::Answer, _>(Problem::usage(text).hint(hint)), |_| {
                String::new()
            });
        };
        let wait_ms = arguments.seconds.unwrap_or(60).min(600) * 1_000;
        let path = format!("/v1/agents/{}/answers/{}?wait_ms={wait_ms}", self.agent, id.as_str());
        answer(self.client.get::<api::Answer>(&path).await, |answer| {
            answer.answer.as_ref().map_or_else(|| "no answer yet".to_owned(), message)
        })
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for MeshTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("rp-host", env!("CARGO_PKG_VERSION")))
            .with_instructions(self.instructions)
    }
}

/// Text for the model and the whole answer as structured content; a problem is an error
/// result, which the model can read, not a protocol error, which it cannot.
fn answer<T: serde::Serialize>(
    result: Result<T, Problem>,
    text: impl FnOnce(&T) -> String,
) -> CallToolResult {
    match result {
        Ok(value) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text(&value))]);
            result.structured_content = serde_json::to_value(&value).ok();
            result
        }
        Err(problem) => {
            let hint = problem.hint_text().map(|hint| format!("\nhint: {hint}"));
            let text = format!("{problem}{}", hint.unwrap_or_default());
            CallToolResult::error(vec![ContentBlock::text(text)])
        }
    }
}

fn peer_line(peer: &api::Peer) -> String {
    let machine = peer.pc.as_ref().map(|pc| format!("on {pc}"));
    let notes: Vec<_> =
        [peer.harness.clone(), peer.state.clone(), machine].into_iter().flatten().collect();
    if notes.is_empty() {
        return peer.address.clone();
    }
    format!("{} ({})", peer.address, notes.join(", "))
}

fn outcome(outcome: &api::Outcome) -> String {
    let mut line = format!("{}: {}", outcome.to, outcome.status);
    if let Some(reason) = &outcome.reason {
        line.push_str(&format!(" ({reason})"));
    }
    if !outcome.closest.is_empty() {
        line.push_str(&format!("; closest: {}", outcome.closest.join(", ")));
    }
    line
}

fn message(message: &api::Message) -> String {
    let re = message.re.as_ref().map(|re| format!(", re={re}")).unwrap_or_default();
    let body = message.body.as_str().map_or_else(|| message.body.to_string(), str::to_owned);
    format!("from \"{}\" (id={}{re}):\n{body}", message.from, message.id)
}
