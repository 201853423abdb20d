//! What the adapter is, and how Claude is started.

use rp_sdk::interface::{
    Abilities, Description, Failure, Framing, LaunchRequest, LaunchSpec, MeshAccess,
};
use rp_sdk::launch::value;
use rp_sdk::settings::Settings;
use serde_json::{Map, Value, json};

/// Versions the adapter is tested against, as `claude --version` prints them.
pub(crate) const TESTED: [&str; 1] = ["2.1.329 (Claude Code)"];

/// What it is called in a sentence.
pub(crate) const TITLE: &str = "Claude Code";

/// How a person installs Claude Code.
pub(crate) const INSTALL: &str = "npm install --global @anthropic-ai/claude-code";

/// What the settings of an agent can look like.
const SETTINGS: &str = r#"{"args":["--permission-mode","acceptEdits"],"env":{"NAME":"value"}}"#;

/// The provider of every model that Claude names itself.
pub(crate) const PROVIDER: &str = "anthropic";

/// The private file that tells Claude of the mesh. The agent's token is in it, and nowhere
/// else: arguments are for everybody on the machine to read.
const MCP_FILE: &str = "mcp.json";

/// Claude's own tools for messages between agents, which would pass by the mesh.
const OWN_PEER_TOOLS: [&str; 2] = ["ListAgents", "SendMessage"];

/// What makes Claude speak this protocol, ask its permission questions in it and tell pieces
/// of messages.
const PROTOCOL: [&str; 8] = [
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-partial-messages",
    "--permission-prompt-tool",
    "stdio",
];

pub(crate) fn describe() -> Description {
    Description {
        name: "claude-code".to_owned(),
        title: TITLE.to_owned(),
        program: "claude".to_owned(),
        version_args: vec!["--version".to_owned()],
        tested: TESTED.map(str::to_owned).to_vec(),
        install: INSTALL.to_owned(),
        abilities: abilities(),
    }
}

/// Not here: Claude prints nothing of a conversation that it resumes, and nothing of what a
/// tool prints before the tool is done.
fn abilities() -> Abilities {
    let working = Abilities::STEER | Abilities::QUEUE | Abilities::INTERRUPT | Abilities::TAKE_BACK;
    let asking =
        Abilities::PERMISSION_QUESTIONS | Abilities::QUESTIONS | Abilities::SURVIVES_DENIAL;
    let models = Abilities::LIST_MODELS | Abilities::SET_MODEL | Abilities::SET_THINKING;
    let session =
        Abilities::COMPACT | Abilities::NEW_SESSION | Abilities::RESUME | Abilities::RENAME;
    let telling =
        Abilities::STREAM_THINKING | Abilities::USAGE | Abilities::COST | Abilities::MODEL_ERRORS;
    let rest = Abilities::ABORT | Abilities::IMAGES | Abilities::MESH_TOOLS;
    working | asking | models | session | telling | rest
}

pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    let settings = Settings::parse(&request.settings, &[], SETTINGS)?;
    let mut spec = LaunchSpec {
        program: "claude".to_owned(),
        args: vec!["-p".to_owned()],
        env: settings.env.into_iter().collect(),
        files: Vec::new(),
        framing: Framing::Lines,
    };
    // Some options take everything up to the next option, so these come before the others.
    if let Some(mesh) = &request.mesh {
        add_mesh(&mut spec, mesh);
    }
    spec.args.extend(PROTOCOL.map(str::to_owned));
    if let Some(model) = &request.model {
        let own = model.strip_prefix("anthropic/").unwrap_or(model);
        spec.args.extend(["--model".to_owned(), value("model", own)?]);
    }
    if let Some(session) = &request.resume {
        spec.args.extend(["--resume".to_owned(), value("session", session)?]);
    }
    spec.args.extend(settings.args);
    spec.env.push(("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS".to_owned(), "1".to_owned()));
    Ok(spec)
}

fn add_mesh(spec: &mut LaunchSpec, mesh: &MeshAccess) {
    let server = &mesh.server;
    let env: Map<String, Value> =
        server.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    // Without `alwaysLoad` the model has to search for the tools before it sees them.
    let entry = json!({
        "type": "stdio",
        "command": server.command,
        "args": server.args,
        "env": env,
        "alwaysLoad": true,
    });
    let config = json!({"mcpServers": {&server.name: entry}});
    spec.files.push((MCP_FILE.to_owned(), config.to_string().into_bytes()));
    spec.args.extend(["--mcp-config".to_owned(), format!("{{dir}}/{MCP_FILE}")]);
    spec.args.extend(["--allowedTools".to_owned(), format!("mcp__{}", server.name)]);
    spec.args.push("--disallowedTools".to_owned());
    spec.args.extend(OWN_PEER_TOOLS.map(str::to_owned));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::{launch_request, mesh_access};

    fn request() -> LaunchRequest {
        launch_request("claude-code")
    }

    #[test]
    fn the_least_launch_speaks_the_protocol_and_nothing_else() {
        let spec = launch(&request()).unwrap();
        assert_eq!(
            format!("{} {}", spec.program, spec.args.join(" ")),
            "claude -p --input-format stream-json --output-format stream-json --verbose --include-partial-messages --permission-prompt-tool stdio"
        );
        assert!(spec.files.is_empty());
        assert_eq!(
            spec.env,
            [("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS".to_owned(), "1".to_owned())]
        );
    }

    #[test]
    fn the_mesh_is_told_in_a_private_file_and_its_token_nowhere_else() {
        let spec = launch(&LaunchRequest { mesh: Some(mesh_access()), ..request() }).unwrap();
        assert!(spec.args.join(" ").starts_with(
            "-p --mcp-config {dir}/mcp.json --allowedTools mcp__mesh --disallowedTools ListAgents SendMessage --input-format"
        ));
        let (name, content) = &spec.files[0];
        let config: Value = serde_json::from_slice(content).unwrap();
        assert_eq!(name, "mcp.json");
        assert_eq!(
            config["mcpServers"]["mesh"],
            json!({"type": "stdio", "command": "/usr/bin/rp-host", "args": ["mcp"], "env": {"RP_AGENT_TOKEN": "secret"}, "alwaysLoad": true})
        );
        assert!(!format!("{:?} {:?}", spec.args, spec.env).contains("secret"));
    }

    #[test]
    fn what_the_user_sets_comes_last_and_does_not_change_what_the_adapter_needs() {
        let settings = r#"{"args":["--effort","high"],"env":{"A":"b","CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS":"0"}}"#;
        let spec = launch(&LaunchRequest {
            model: Some("anthropic/opus".to_owned()),
            resume: Some("11111111-2222-4333-8444-555555555555".to_owned()),
            settings: settings.to_owned(),
            ..request()
        })
        .unwrap();
        assert!(spec.args.join(" ").ends_with(
            "stdio --model opus --resume 11111111-2222-4333-8444-555555555555 --effort high"
        ));
        assert_eq!(spec.env[0], ("A".to_owned(), "b".to_owned()));
        assert_eq!(spec.env.last().unwrap().1, "1");
    }

    #[test]
    fn a_name_of_a_provider_that_claude_does_not_know_is_left_to_claude() {
        let spec = launch(&LaunchRequest { model: Some("gateway/m".to_owned()), ..request() });
        assert!(spec.unwrap().args.contains(&"gateway/m".to_owned()));
    }
}
