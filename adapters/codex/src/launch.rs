//! What the adapter is, and how Codex is started.

use rp_sdk::interface::{
    Abilities, Description, Failure, Framing, LaunchRequest, LaunchSpec, MeshAccess,
};
use serde_json::{Map, Value, json};

use crate::options::Options;

/// What `codex --version` printed where the adapter was tested.
pub(crate) const TESTED: &str = "codex-cli 0.169.0";

/// What it is called in a sentence.
pub(crate) const TITLE: &str = "Codex";

/// How a person installs Codex.
pub(crate) const INSTALL: &str = "npm install --global @openai/codex";

pub(crate) fn describe() -> Description {
    Description {
        name: "codex".to_owned(),
        title: TITLE.to_owned(),
        program: "codex".to_owned(),
        version_args: vec!["--version".to_owned()],
        tested: vec![TESTED.to_owned()],
        install: INSTALL.to_owned(),
        abilities: abilities(),
    }
}

/// Prompts for later wait in the adapter, and an abort gives them back. Codex tells no cost.
fn abilities() -> Abilities {
    Abilities::STEER
        | Abilities::QUEUE
        | Abilities::INTERRUPT
        | Abilities::TAKE_BACK
        | Abilities::ABORT
        | Abilities::IMAGES
        | Abilities::PERMISSION_QUESTIONS
        | Abilities::QUESTIONS
        | Abilities::SURVIVES_DENIAL
        | Abilities::LIST_MODELS
        | Abilities::SET_MODEL
        | Abilities::SET_THINKING
        | Abilities::STREAM_THINKING
        | Abilities::STREAM_TOOL_OUTPUT
        | Abilities::COMPACT
        | Abilities::NEW_SESSION
        | Abilities::RESUME
        | Abilities::HISTORY
        | Abilities::RENAME
        | Abilities::MESH_TOOLS
        | Abilities::USAGE
        | Abilities::MODEL_ERRORS
}

/// Model, session and mesh are told once the process runs: what stands in arguments can be
/// read by everybody on the machine.
pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    let options = Options::parse(&request.settings)?;
    let mut args = vec!["app-server".to_owned()];
    args.extend(options.args);
    Ok(LaunchSpec {
        program: "codex".to_owned(),
        args,
        env: options.env,
        files: Vec::new(),
        framing: Framing::Lines,
    })
}

/// The parameters that a thread is started or resumed with, but for its model.
pub(crate) fn thread_params(request: &LaunchRequest, options: &Options) -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("cwd".to_owned(), json!(request.cwd));
    params.insert("approvalPolicy".to_owned(), json!(options.approval));
    params.insert("sandbox".to_owned(), json!(options.sandbox));
    if let Some(mesh) = &request.mesh {
        params.insert("config".to_owned(), mesh_config(mesh));
    }
    params
}

/// The mesh as an MCP server. Codex hands it a small environment of its own, so what the server
/// needs is in `env`. Each key names one setting: a table in its place would replace the user's
/// servers.
fn mesh_config(mesh: &MeshAccess) -> Value {
    let server = &mesh.server;
    let env: Map<String, Value> =
        server.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let key = |name: &str| format!("mcp_servers.{}.{name}", server.name);
    let config = Map::from_iter([
        (key("command"), json!(server.command)),
        (key("args"), json!(server.args)),
        (key("env"), Value::Object(env)),
        (key("default_tools_approval_mode"), json!("approve")),
    ]);
    Value::Object(config)
}

/// The provider and the name of a model as a user writes it: `provider/name`, or a name alone.
pub(crate) fn split_model(model: &str) -> (Option<&str>, &str) {
    match model.split_once('/') {
        Some((provider, name)) => (Some(provider).filter(|provider| !provider.is_empty()), name),
        None => (None, model),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::{launch_request, mesh_access};

    fn request() -> LaunchRequest {
        LaunchRequest {
            model: Some("own/model-1".to_owned()),
            resume: Some("01a1fbb2".to_owned()),
            mesh: Some(mesh_access()),
            settings: r#"{"args":["-c","a=1"],"env":{"A":"b"},"approval":"never"}"#.to_owned(),
            ..launch_request("codex")
        }
    }

    #[test]
    fn nothing_but_the_users_own_stands_in_arguments_and_environment() {
        let spec = launch(&request()).unwrap();
        assert_eq!(format!("{} {}", spec.program, spec.args.join(" ")), "codex app-server -c a=1");
        assert_eq!(spec.env, [("A".to_owned(), "b".to_owned())]);
        assert!(spec.files.is_empty());
    }

    #[test]
    fn the_mesh_is_given_in_band_and_its_tools_are_approved() {
        let request = request();
        let options = Options::parse(&request.settings).unwrap();
        assert_eq!(
            Value::Object(thread_params(&request, &options)),
            json!({
                "cwd": "/home/user/project",
                "approvalPolicy": "never",
                "sandbox": "workspace-write",
                "config": {
                    "mcp_servers.mesh.command": "/usr/bin/rp-host",
                    "mcp_servers.mesh.args": ["mcp"],
                    "mcp_servers.mesh.env": {"RP_AGENT_TOKEN": "secret"},
                    "mcp_servers.mesh.default_tools_approval_mode": "approve",
                },
            })
        );
    }

    #[test]
    fn a_model_may_name_its_provider() {
        assert_eq!(split_model("gpt-9"), (None, "gpt-9"));
        assert_eq!(split_model("own/gpt-9"), (Some("own"), "gpt-9"));
        assert_eq!(split_model("hub/openai/gpt-9"), (Some("hub"), "openai/gpt-9"));
        assert_eq!(split_model("/openai/gpt-9"), (None, "openai/gpt-9"));
    }
}
