//! How an agent is started.

use rp_sdk::interface::{Failure, Framing, LaunchRequest, LaunchSpec};
use rp_sdk::session::FailureKind;
use rp_sdk::settings::Settings;

use crate::harness::Harness;

/// What the settings of an agent can look like.
const SETTINGS: &str = r#"{"args":["--verbose"],"env":{"NAME":"value"}}"#;

/// What they must look like where nothing else says which program it is.
const SETTINGS_WITH_COMMAND: &str = r#"{"command":["program","argument"],"env":{"NAME":"value"}}"#;

/// The variable by which a person says whether Gemini CLI trusts the folder.
const GEMINI_TRUST: &str = "GEMINI_CLI_TRUST_WORKSPACE";

pub(crate) fn launch(request: &LaunchRequest) -> Result<LaunchSpec, Failure> {
    let harness = Harness::named(&request.harness).ok_or_else(|| {
        let message = format!("no harness here is named `{}`", request.harness);
        let names = Harness::ALL.map(Harness::name).join(", ");
        Failure::new(FailureKind::NotFound, message).with_hint(format!("there are: {names}"))
    })?;
    let (own, example): (&[&str], _) = match harness {
        Harness::Other => (&["command"], SETTINGS_WITH_COMMAND),
        _ => (&[], SETTINGS),
    };
    let settings = Settings::parse(&request.settings, own, example)?;
    let (program, mut args) = match harness {
        Harness::OpenCode => ("opencode".to_owned(), vec!["acp".to_owned()]),
        Harness::PiAcp => ("pi-acp".to_owned(), Vec::new()),
        Harness::Gemini => ("gemini".to_owned(), vec!["--acp".to_owned()]),
        Harness::Other => command(&settings)?,
    };
    args.extend(settings.args);
    let mut env: Vec<(String, String)> = settings.env.into_iter().collect();
    if harness == Harness::Gemini {
        add_gemini(&mut env, request.mesh.is_some());
    }
    Ok(LaunchSpec { program, args, env, files: Vec::new(), framing: Framing::Lines })
}

/// The program and its arguments, as the settings name them.
fn command(settings: &Settings) -> Result<(String, Vec<String>), Failure> {
    let words = settings.own.get("command").cloned().unwrap_or_default();
    let words: Vec<String> = serde_json::from_value(words).unwrap_or_default();
    match words.split_first() {
        Some((program, args)) if !program.is_empty() => Ok((program.clone(), args.to_vec())),
        _ => {
            let message = "the settings do not say which program the agent is";
            Err(Failure::new(FailureKind::Invalid, message)
                .with_hint(format!("the settings look like {SETTINGS_WITH_COMMAND}")))
        }
    }
}

fn add_gemini(env: &mut Vec<(String, String)>, mesh: bool) {
    // By default a second process does the work, and the first obeys no signal.
    env.push(("GEMINI_CLI_NO_RELAUNCH".to_owned(), "true".to_owned()));
    // In a folder it does not trust it leaves the mesh's server out without a word.
    if mesh && !env.iter().any(|(name, _)| name == GEMINI_TRUST) {
        env.push((GEMINI_TRUST.to_owned(), "true".to_owned()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use rp_sdk::testing::{launch_request, mesh_access};

    fn request(harness: &str, settings: &str) -> LaunchRequest {
        LaunchRequest {
            model: Some("s/script-1".to_owned()),
            resume: Some("ses_1".to_owned()),
            mesh: Some(mesh_access()),
            settings: settings.to_owned(),
            ..launch_request(harness)
        }
    }

    fn line(harness: &str, settings: &str) -> String {
        let spec = launch(&request(harness, settings)).unwrap();
        assert!(spec.files.is_empty());
        let env: Vec<String> =
            spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{} {} {}", env.join(" "), spec.program, spec.args.join(" ")).trim().to_owned()
    }

    #[test]
    fn each_harness_has_its_command_line_and_no_secret_is_in_it() {
        assert_eq!(line("opencode", "{}"), "opencode acp");
        assert_eq!(line("pi-acp", "{}"), "pi-acp");
        assert_eq!(
            line("gemini", "{}"),
            "GEMINI_CLI_NO_RELAUNCH=true GEMINI_CLI_TRUST_WORKSPACE=true gemini --acp"
        );
        let own = r#"{"command":["my-agent","--stdio"],"args":["-v"],"env":{"A":"b"}}"#;
        assert_eq!(line("acp", own), "A=b my-agent --stdio -v");
    }

    #[test]
    fn a_person_can_keep_gemini_from_trusting_the_folder() {
        let own = line("gemini", r#"{"env":{"GEMINI_CLI_TRUST_WORKSPACE":"false"}}"#);
        assert!(
            own.contains("GEMINI_CLI_TRUST_WORKSPACE=false") && !own.contains("WORKSPACE=true")
        );
    }

    #[test]
    fn an_agent_of_ones_own_needs_a_command() {
        for settings in ["{}", r#"{"command":[]}"#, r#"{"command":"x"}"#, r#"{"command":[""]}"#] {
            let failure = launch(&request("acp", settings)).unwrap_err();
            assert!(failure.hint.unwrap().contains(r#""command":["#), "{settings}");
        }
        assert!(launch(&request("opencode", r#"{"command":["x"]}"#)).is_err());
        assert!(launch(&request("pi", "{}")).is_err());
    }
}
