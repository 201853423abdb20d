//! The first-party components, built as for a release and driven for one turn.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rp_engine::{Adapter, AdapterSession, Code, NoStore};
use rp_protocol::{
    actions::{Progress, Step},
    routing::Decision,
    session::{
        Command, Effect, Event, Exit, Failure, FailureKind, Framing, Model, ModelRef, Prompt,
        Reply, State, TurnEnd, Urgency,
    },
};
use serde::Deserialize;
use serde_json::json;

use crate::fixture::{FACTS, Place, context, request};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The `.wasm` of a first-party component. All are built once, in the folder of the builds.
fn wasm(id: &str) -> Vec<u8> {
    static BUILT: OnceLock<HashMap<&str, PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let guests = rp_guests::build(&root(), &target.join("guests"), &mut |_| {}).unwrap();
        guests.into_iter().map(|guest| (guest.id, guest.component)).collect()
    });
    fs::read(&built[id]).unwrap()
}

async fn adapter(place: &Place, id: &str) -> Adapter {
    let wasm = tokio::task::block_in_place(|| wasm(id));
    place.engine.load_adapter(Code::new(id, wasm)).await.unwrap().remove(0)
}

/// What the harness wrote in a recorded run.
fn recorded(path: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Line {
        dir: String,
        #[serde(default)]
        line: String,
    }
    fs::read_to_string(root().join(path))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).unwrap())
        .filter(|line| line.dir == "out")
        .map(|line| line.line)
        .collect()
}

fn prompt(text: &str) -> Command {
    Command::Prompt(Prompt { text: text.into(), images: Vec::new(), urgency: Urgency::WhenIdle })
}

async fn feed(session: &mut AdapterSession, lines: &[String]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for line in lines {
        effects.extend(session.output(line.as_bytes()).await.unwrap());
    }
    effects
}

/// The text of the turn in these effects, which must have begun and ended well.
fn text_of_turn(effects: &[Effect]) -> String {
    let events: Vec<&Event> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Event(event) => Some(event),
            _ => None,
        })
        .collect();
    assert!(events.contains(&&Event::TurnStarted), "{events:?}");
    assert!(events.contains(&&Event::TurnEnded { how: TurnEnd::Completed }), "{events:?}");
    events
        .iter()
        .filter_map(|event| match event {
            Event::Text { piece, .. } => Some(piece.as_str()),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_adapter_runs_a_turn() {
    let place = Place::new();
    let adapter = adapter(&place, "demo").await;
    assert_eq!(adapter.describe().name, "demo");
    assert!(adapter.imports().iter().all(|name| name.starts_with("rp:")), "no WASI");
    let spec = adapter.launch(&request()).await.unwrap().unwrap();
    assert_eq!((spec.program.as_str(), spec.framing), ("rp-host", Framing::Lines));

    let lines = recorded("adapters/demo/transcripts/say.jsonl");
    let end = lines.iter().position(|line| line.contains("turn-ended")).unwrap();
    let mut session = adapter.session(&request()).await.unwrap();
    let mut effects = session.started().await.unwrap();
    effects.extend(feed(&mut session, &lines[..1]).await);
    effects.extend(session.command(1, &prompt("say hello there\n\nsay again")).await.unwrap());
    let write = effects.iter().find_map(|effect| match effect {
        Effect::Write(bytes) => Some(String::from_utf8(bytes.clone()).unwrap()),
        _ => None,
    });
    assert!(write.unwrap().contains("say hello there"));
    effects.extend(feed(&mut session, &lines[1..=end]).await);
    assert_eq!(text_of_turn(&effects), "hello thereagain");
    assert!(effects.contains(&Effect::Settle(1, Ok(Reply::Done))), "{effects:?}");
    assert!(effects.contains(&Effect::Event(Event::PromptSeen { number: 1 })), "{effects:?}");
    session.exited(&Exit::Code { code: 0 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pi_adapter_runs_a_turn() {
    let place = Place::new();
    let adapter = adapter(&place, "pi").await;
    assert_eq!(adapter.describe().name, "pi");
    let spec = adapter.launch(&request()).await.unwrap().unwrap();
    assert_eq!(spec.program, "pi");

    let mut session = adapter.session(&request()).await.unwrap();
    session.started().await.unwrap();
    session.command(1, &prompt("hello")).await.unwrap();
    let lines = recorded("adapters/pi/transcripts/0.87.1/text.jsonl");
    let effects = feed(&mut session, &lines).await;
    assert!(!text_of_turn(&effects).is_empty());
    session.exited(&Exit::Code { code: 0 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_16_mib_passes_the_pi_adapter() {
    let place = Place::new();
    let adapter = adapter(&place, "pi").await;
    let mut session = adapter.session(&request()).await.unwrap();
    session.started().await.unwrap();
    session.command(1, &prompt("hello")).await.unwrap();
    let lines = recorded("adapters/pi/transcripts/0.87.1/text.jsonl");
    let is_begun = |line: &String| {
        line.contains(r#""type":"message_start""#) && line.contains(r#""role":"assistant""#)
    };
    let begun = lines.iter().position(is_begun).unwrap();
    let long = "x".repeat(16 << 20);
    let update = format!(
        r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","delta":"{long}"}}}}"#
    );
    let mut effects = feed(&mut session, &lines[..=begun]).await;
    effects.extend(feed(&mut session, &[update]).await);
    effects.extend(feed(&mut session, &lines[begun + 1..]).await);
    assert!(text_of_turn(&effects).len() >= long.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_policy_delivers() {
    let place = Place::new();
    let wasm = tokio::task::block_in_place(|| wasm("default"));
    let policy = place
        .engine
        .load_policy(Code::new("default", wasm), "{}", Arc::new(NoStore))
        .await
        .unwrap();
    assert_eq!(policy.decide(&FACTS), Ok(Decision::Deliver));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_core_actions_give_commands_and_say_what_came_of_it() {
    let place = Place::new();
    let wasm = tokio::task::block_in_place(|| wasm("core"));
    let core = place.engine.load_actions(Code::new("core", wasm), Arc::new(NoStore)).await.unwrap();
    let names: Vec<_> = core.list().iter().map(|action| action.name.as_str()).collect();
    assert_eq!(names, ["compact", "new-session", "set-model", "set-thinking", "list-models"]);
    assert!(core.imports().iter().all(|name| name.starts_with("rp:")), "no WASI");

    let mut context = context();
    context.parameters.insert("instructions".into(), json!("keep the plan"));
    let command = Command::Compact { instructions: Some("keep the plan".into()) };
    let steps = Progress::Steps { steps: vec![Step::Command { command }] };
    assert_eq!(core.run("compact", &context, &[]).await.unwrap(), Ok(steps));
    let finished = Progress::Finished { text: "scout has a shorter context now".into() };
    assert_eq!(core.run("compact", &context, &[Ok(Reply::Done)]).await.unwrap(), Ok(finished));
    let refused = Failure {
        kind: FailureKind::Unsupported,
        message: "it cannot do that".into(),
        hint: Some("use another harness".into()),
    };
    let failed = core.run("compact", &context, &[Err(refused.clone())]).await.unwrap();
    assert_eq!(failed, Err(refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_core_actions_see_the_state_and_the_models() {
    let place = Place::new();
    let wasm = tokio::task::block_in_place(|| wasm("core"));
    let core = place.engine.load_actions(Code::new("core", wasm), Arc::new(NoStore)).await.unwrap();
    let model = Model {
        reference: ModelRef { provider: "local".into(), id: "small".into() },
        name: "Small".into(),
        reasoning: true,
        vision: false,
        context_window: Some(4096),
    };
    let mut context = context();
    context.state = State { model: Some(model.clone()), ..State::default() };
    let replies = [Ok(Reply::Models { models: vec![model] })];
    let text = "models of scout:\n* local/small  Small, thinks, 4096 tokens".to_owned();
    assert_eq!(
        core.run("list-models", &context, &replies).await.unwrap(),
        Ok(Progress::Finished { text })
    );
}
