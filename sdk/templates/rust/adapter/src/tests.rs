//! What a session does, without a harness and without a host.

use super::*;
use rp::session::types::Prompt;

fn prompt(text: &str, urgency: Urgency) -> Command {
    Command::Prompt(Prompt { text: text.into(), images: vec![], urgency })
}

fn running(commands: Vec<Command>) -> Session {
    let session = Session::default();
    session.started();
    for (number, command) in (1..).zip(commands) {
        session.command(number, command);
    }
    session
}

/// Effects in one line each.
fn told(effects: &[Effect]) -> Vec<String> {
    let text = |effect: &Effect| match effect {
        Effect::Write(line) => format!("write {}", String::from_utf8_lossy(line).trim_end()),
        Effect::Settle((number, Ok(_))) => format!("settle {number} done"),
        Effect::Settle((number, Err(failure))) => format!("settle {number} {:?}", failure.kind),
        Effect::Event(Event::MessageEnded(message)) => format!("message-ended {}", message.text),
        Effect::Event(Event::ToolStarted(tool)) => format!("tool-started {}", tool.input),
        Effect::Event(Event::ToolEnded(tool)) => format!("tool-ended {:?}", tool.output),
        Effect::Event(event) => format!("{event:?}"),
        effect => format!("{effect:?}"),
    };
    effects.iter().map(text).collect()
}

fn hear(session: &Session, lines: &[&str]) -> Vec<String> {
    told(
        &lines.iter().flat_map(|line| session.output(line.as_bytes().to_vec())).collect::<Vec<_>>(),
    )
}

const STARTED: &str = r#"{"started":true}"#;

#[test]
fn the_harness_is_told_of_the_server_that_its_model_reaches_the_mesh_with() {
    let server = McpServer {
        name: "mesh".into(),
        command: "/bin/rp-host".into(),
        args: vec!["mcp".into()],
        env: vec![("TOKEN".into(), "x".into())],
    };
    let nothing = String::new;
    let mesh = MeshAccess {
        server,
        socket: nothing(),
        agent_id: nothing(),
        skill: nothing(),
        token: nothing(),
    };
    let (name, content) = mesh_file(&mesh);
    assert_eq!(name, "mesh.json");
    let told: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(
        told,
        json!({ "command": "/bin/rp-host", "args": ["mcp"], "env": { "TOKEN": "x" } })
    );
}

#[test]
fn a_prompt_becomes_a_turn_with_text_and_a_tool() {
    let session = running(vec![]);
    let asked = session.command(7, prompt("Grüße 🎉", Urgency::WhenIdle));
    assert_eq!(told(&asked), [r#"write {"prompt":"Grüße 🎉"}"#]);
    assert_eq!(
        hear(&session, &[STARTED, r#"{"say":"Gr"}"#, r#"{"say":"üße"}"#]),
        [
            "Event::TurnStarted",
            "Event::PromptSeen(7)",
            "settle 7 done",
            r#"Event::Text(("m1", "Gr"))"#,
            r#"Event::Text(("m1", "üße"))"#,
        ]
    );
    assert_eq!(
        hear(&session, &[r#"{"tool":"shell","input":{}}"#, r#"{"tool":"shell","output":"a"}"#]),
        ["message-ended Grüße", "tool-started {}", r#"tool-ended Some("a")"#]
    );
    assert_eq!(hear(&session, &[r#"{"done":true}"#]), ["Event::TurnEnded(TurnEnd::Completed)"]);
}

#[test]
fn a_second_prompt_is_refused_while_a_turn_runs() {
    let session = running(vec![prompt("one", Urgency::WhenIdle)]);
    let second = session.command(2, prompt("two", Urgency::WhenIdle));
    assert_eq!(told(&second), ["settle 2 FailureKind::Busy"]);
    let third = session.command(3, prompt("two", Urgency::Interrupt));
    assert_eq!(told(&third), ["settle 3 FailureKind::Unsupported"]);
}

#[test]
fn an_abort_is_settled_when_the_turn_is_over_and_at_once_when_none_runs() {
    let session = running(vec![prompt("one", Urgency::WhenIdle)]);
    assert_eq!(told(&session.command(2, Command::Abort)), [r#"write {"abort":true}"#]);
    assert_eq!(hear(&session, &[r#"{"say":"too early"}"#]), [""; 0]);
    hear(&session, &[STARTED]);
    assert_eq!(
        hear(&session, &[r#"{"done":true,"aborted":true}"#]),
        ["Event::TurnEnded(TurnEnd::Aborted)", "settle 2 done"]
    );
    assert_eq!(told(&session.command(3, Command::Abort)), ["settle 3 done"]);
}

#[test]
fn the_end_of_the_process_ends_the_turn_and_settles_what_is_open() {
    let asked = running(vec![prompt("one", Urgency::WhenIdle), Command::Abort]);
    assert_eq!(
        told(&asked.exited(Exit::Code(3))),
        ["settle 1 FailureKind::Harness", "settle 2 FailureKind::Harness"]
    );
    let working = running(vec![prompt("one", Urgency::WhenIdle)]);
    hear(&working, &[STARTED]);
    working.diagnostics("out of memory".into());
    let told = told(&working.exited(Exit::Signal(9)));
    assert!(told[0].contains("{{name}} was ended by signal 9 (out of memory)"), "{told:?}");
    assert_eq!(told[1..], ["Event::TurnEnded(TurnEnd::Failed)"]);
}

#[test]
fn lines_that_make_no_sense_are_skipped() {
    let session = running(vec![prompt("one", Urgency::WhenIdle)]);
    hear(&session, &[STARTED]);
    let lines = ["null", "[1]", "{", "", r#"{"say":7}"#, r#"{"new":1}"#, r#"{"tool":1}"#];
    assert_eq!(hear(&session, &lines), [""; 0]);
    assert!(session.output(vec![0xff, b'{']).is_empty());
}
