//! What the adapter is, and how the agent is started.

use rp_sdk::interface::{Abilities, Description, Failure, Framing, LaunchRequest, LaunchSpec};
use rp_sdk::session::FailureKind;

pub(crate) fn describe() -> Description {
    Description {
        name: "demo".to_owned(),
        title: "Demo agent".to_owned(),
        program: "rp-host".to_owned(),
        version_args: vec!["--version".to_owned()],
        tested: Vec::new(),
        install: "nothing to install: it is part of rp-host".to_owned(),
        abilities: Abilities::STEER
            | Abilities::QUEUE
            | Abilities::INTERRUPT
            | Abilities::TAKE_BACK
            | Abilities::ABORT
            | Abilities::MESH_TOOLS,
    }
}

pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    refuse_settings(&request.settings)?;
    let mut env = vec![("RP_DEMO_NAME".to_owned(), request.agent.clone())];
    if let Some(mesh) = &request.mesh {
        env.push(("RP_HOST_SOCKET".to_owned(), mesh.socket.clone()));
        env.push(("RP_AGENT_ID".to_owned(), mesh.agent_id.clone()));
        env.push(("RP_AGENT_TOKEN".to_owned(), mesh.token.clone()));
    }
    Ok(LaunchSpec {
        program: "rp-host".to_owned(),
        args: vec!["demo-agent".to_owned()],
        env,
        files: Vec::new(),
        framing: Framing::Lines,
    })
}

fn refuse_settings(settings: &str) -> Result<(), Failure> {
    let invalid = |message: String| Failure {
        kind: FailureKind::Invalid,
        message,
        hint: Some("the demo agent has no settings".to_owned()),
    };
    let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(settings)
        .map_err(|error| invalid(format!("the settings are not a JSON object: {error}")))?;
    if settings.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = settings.keys().map(|name| format!("`{name}`")).collect();
    Err(invalid(format!("unknown settings: {}", names.join(", "))))
}
