//! What the adapter is, and how the agent is started.

use rp_sdk::interface::{Abilities, Description, Failure, Framing, LaunchRequest, LaunchSpec};
use rp_sdk::session::FailureKind;
use rp_sdk::settings::expect_none;

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
            | Abilities::PERMISSION_QUESTIONS
            | Abilities::QUESTIONS
            | Abilities::SURVIVES_DENIAL
            | Abilities::MESH_TOOLS,
    }
}

pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    expect_none(&request.settings).map_err(|message| {
        Failure::new(FailureKind::Invalid, message).with_hint("the demo agent has no settings")
    })?;
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
