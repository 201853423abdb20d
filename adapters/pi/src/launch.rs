//! What the adapter is, and how Pi is started.

use rp_sdk::interface::{
    Abilities, Description, Failure, Framing, LaunchRequest, LaunchSpec, MeshAccess,
};
use rp_sdk::launch::value;
use rp_sdk::settings::Settings;

use crate::version::{TESTED, Version};

/// What Pi is called in a sentence.
pub(crate) const TITLE: &str = "Pi";

/// How a person installs Pi.
pub(crate) const INSTALL: &str = "npm install --global @earendil-works/pi-coding-agent";

/// What the settings of an agent can look like.
const SETTINGS: &str = r#"{"args":["--thinking","high"],"env":{"NAME":"value"}}"#;

/// The extension that gives Pi the tools of the mesh.
const MESH_EXTENSION: &[u8] = include_bytes!("../extension/mesh.ts");

pub(crate) fn describe() -> Description {
    Description {
        name: "pi".to_owned(),
        title: TITLE.to_owned(),
        program: "pi".to_owned(),
        version_args: vec!["--version".to_owned()],
        tested: TESTED.map(str::to_owned).to_vec(),
        install: INSTALL.to_owned(),
        abilities: abilities(),
    }
}

/// What both tested versions can do. Only the newer one takes prompts back from its queue,
/// so `take-back` is not here.
fn abilities() -> Abilities {
    Abilities::STEER
        | Abilities::QUEUE
        | Abilities::INTERRUPT
        | Abilities::ABORT
        | Abilities::IMAGES
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
        | Abilities::COST
        | Abilities::MODEL_ERRORS
}

pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    let settings = Settings::parse(&request.settings, &[], SETTINGS)?;
    let mut spec = LaunchSpec {
        program: "pi".to_owned(),
        args: vec!["--mode".to_owned(), "rpc".to_owned()],
        env: settings.env.into_iter().collect(),
        files: Vec::new(),
        framing: Framing::Lines,
    };
    if Version::new(request.version.as_deref()).approve_flag {
        spec.args.push("--approve".to_owned());
    }
    if let Some(model) = &request.model {
        spec.args.extend(["--model".to_owned(), value("model", model)?]);
    }
    if let Some(session) = &request.resume {
        spec.args.extend(["--session".to_owned(), value("session", session)?]);
    }
    if let Some(mesh) = &request.mesh {
        add_mesh(&mut spec, mesh);
    }
    spec.args.extend(settings.args);
    Ok(spec)
}

fn add_mesh(spec: &mut LaunchSpec, mesh: &MeshAccess) {
    spec.files.push(("mesh.ts".to_owned(), MESH_EXTENSION.to_vec()));
    spec.args.extend(["-e".to_owned(), "{dir}/mesh.ts".to_owned()]);
    spec.args.extend(["--skill".to_owned(), mesh.skill.clone()]);
    spec.env.push(("RP_HOST_SOCKET".to_owned(), mesh.socket.clone()));
    spec.env.push(("RP_AGENT_ID".to_owned(), mesh.agent_id.clone()));
    spec.env.push(("RP_AGENT_TOKEN".to_owned(), mesh.token.clone()));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::{launch_request, mesh_access};

    fn request() -> LaunchRequest {
        launch_request("pi")
    }

    #[test]
    fn the_least_launch_is_the_rpc_mode() {
        let spec = launch(&request()).unwrap();
        assert_eq!((spec.program.as_str(), spec.args.join(" ").as_str()), ("pi", "--mode rpc"));
        assert!(spec.env.is_empty() && spec.files.is_empty());
    }

    #[test]
    fn everything_that_can_be_asked_for_has_its_argument() {
        let spec = launch(&LaunchRequest {
            model: Some("anthropic/claude-x".to_owned()),
            resume: Some("/home/ann/s.jsonl".to_owned()),
            mesh: Some(mesh_access()),
            settings: r#"{"args":["--thinking","high"],"env":{"A":"b"}}"#.to_owned(),
            version: Some("0.87.1".to_owned()),
            ..request()
        })
        .unwrap();
        assert_eq!(
            spec.args.join(" "),
            "--mode rpc --approve --model anthropic/claude-x --session /home/ann/s.jsonl -e {dir}/mesh.ts --skill /home/user/skills/agent-network --thinking high"
        );
        let env: Vec<String> =
            spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            env.join(" "),
            "A=b RP_HOST_SOCKET=/run/host.sock RP_AGENT_ID=0a1b2c3d RP_AGENT_TOKEN=secret"
        );
        assert!(!spec.args.join(" ").contains("secret"));
    }

    #[test]
    fn an_old_pi_is_not_given_a_flag_it_does_not_know() {
        let spec =
            launch(&LaunchRequest { version: Some("0.74.2".to_owned()), ..request() }).unwrap();
        assert!(!spec.args.contains(&"--approve".to_owned()));
    }
}
