//! What the actions of a component do, with replies that a session could give.

use rp_engine::{Actions, Engine, Limits};
use rp_protocol::{
    actions::{Action, Context, MAX_STEPS, Peer, Progress, Step},
    session::{Command, Failure, FailureKind, Model, ModelRef, Reply, State},
};
use serde_json::{Map, Value, json};

use super::{Subject, code, loaded, memory, report::Checks};
use crate::host::{check_parameters, permit_step};

/// A text that fits most parameters: the name and the address of an agent, and the name of a model.
const PEER: &str = "own/web";

/// What a run came to: every step in its order, and the text in the end.
type Run = Result<(Vec<Step>, String), String>;

/// Checks a handler of actions.
pub async fn check(engine: &Engine, subject: &Subject, checks: &mut Checks) {
    let actions = engine.load_actions(code(subject), memory::storage(subject));
    let imports = |actions: &Actions| actions.imports().to_vec();
    let Some(actions) = loaded(actions.await, imports, subject, checks) else { return };
    let names: Vec<&str> = actions.list().iter().map(|action| action.name.as_str()).collect();
    checks.ok("the parameters of every action are a JSON Schema", names.join(", "));
    for action in actions.list() {
        let Action { name, parameters: schema, .. } = action;
        let expected = "each is refused by the schema";
        checks.result(format!("{name}: wrong parameters are refused"), expected, misfits(schema));
        let fitting = Value::Object(sample(schema, PEER));
        let fits = fitting.as_object().map_or(Ok(()), |map| check_parameters(schema, map, ""));
        if let Err(problem) = fits {
            // A schema can say what no sample can guess; then there is nothing to run.
            checks.ok(
                format!("{name}: it cannot be run with parameters made from its schema"),
                format!("{problem} in {fitting}"),
            );
            continue;
        }
        for (replies, well) in [("succeeds", true), ("fails", false)] {
            let run = run(&actions, subject, name, sample(schema, PEER), well).await;
            // One that stores may go by what it stored.
            let same = subject.asks_for("store")
                || run == self::run(&actions, subject, name, sample(schema, PEER), well).await;
            let what = format!("{name}: it ends where every step {replies}");
            let expected = format!("it ends within {MAX_STEPS} steps, each of which it asks for");
            checks.result(what, expected, run.map(|(steps, text)| told(&steps, &text)));
            if !same {
                let what = format!("{name}: the same replies give the same steps");
                checks.failed(what, "the same from fresh instances", "other steps");
            }
        }
        let long = run(&actions, subject, name, sample(schema, &hostile()), true).await;
        let what = format!("{name}: hostile and long text does it no harm");
        checks.result(what, "it ends as with any text", long.map(|_| ""));
    }
    let unknown = actions.run("no-such-action", &context(Map::new()), &[]).await;
    let outcome = unknown.map(|outcome| match outcome {
        Ok(_) => "it does something all the same".to_owned(),
        Err(failure) => failure.message,
    });
    checks.result("an action that it has not does it no harm", "a failure in words", outcome);
    let memory = subject.memory(actions.most_memory(), Limits::default().actions_memory);
    checks.ok("it stays within its memory", memory);
}

/// A step in a word each, and the text.
fn told(steps: &[Step], text: &str) -> String {
    let word = |step: &Step| match step {
        Step::Command { command } => command.name().to_owned(),
        Step::Ask { .. } => "ask".to_owned(),
        Step::Send { to, .. } => format!("send to {to}"),
        Step::Notify { .. } => "notify".to_owned(),
    };
    let steps: Vec<String> = steps.iter().map(word).collect();
    let steps = if steps.is_empty() { "no step".to_owned() } else { steps.join(", ") };
    if text.is_empty() { steps } else { format!("{steps}; {text}") }
}

async fn run(
    actions: &Actions,
    subject: &Subject,
    name: &str,
    parameters: Map<String, Value>,
    well: bool,
) -> Run {
    let (context, permits) = (context(parameters), subject.permits());
    let (mut steps, mut replies) = (Vec::new(), Vec::new());
    // Every call but the last gives a step at least.
    for _ in 0..=MAX_STEPS {
        let progress = actions.run(name, &context, &replies).await;
        match progress.map_err(|error| error.to_string())? {
            Ok(Progress::Finished { text }) => return Ok((steps, text)),
            Err(failure) => return Ok((steps, format!("it says that it failed: {failure}"))),
            Ok(Progress::Steps { steps: next }) if next.is_empty() => {
                return Err("it waits for nothing: no steps, and it is not finished".to_owned());
            }
            Ok(Progress::Steps { steps: next }) => {
                for step in next {
                    permit_step(subject.manifest.id.as_str(), &permits, &step).map_err(
                        |failure| format!("{}, and its manifest does not ask for it", failure),
                    )?;
                    replies.push(if well { Ok(reply(&step)) } else { Err(refusal()) });
                    steps.push(step);
                }
            }
        }
        if steps.len() > MAX_STEPS {
            break;
        }
    }
    Err(format!("more than {MAX_STEPS} steps, and no end"))
}

fn reply(step: &Step) -> Reply {
    match step {
        Step::Ask { .. } => Reply::Data { data: json!("all is done") },
        Step::Command { command: Command::ListModels } => Reply::Models {
            models: vec![Model {
                reference: ModelRef { provider: "own".to_owned(), id: "model-1".to_owned() },
                name: "Model 1".to_owned(),
                reasoning: true,
                vision: false,
                context_window: Some(200_000),
            }],
        },
        Step::Command { command: Command::History } => Reply::History { messages: Vec::new() },
        _ => Reply::Done,
    }
}

fn refusal() -> Failure {
    Failure { kind: FailureKind::Refused, message: "it was refused".to_owned(), hint: None }
}

fn context(parameters: Map<String, Value>) -> Context {
    let peer = |name: &str| Peer {
        pc: None,
        address: name.to_owned(),
        name: name.to_owned(),
        cwd: "/home/ann/api".to_owned(),
        harness: Some("demo".to_owned()),
    };
    Context {
        agent: peer("api"),
        state: State { native_session: Some("s1".to_owned()), ..State::default() },
        parameters,
        peers: vec![peer(PEER), peer("docs")],
    }
}

fn hostile() -> String {
    format!("\u{1b}[2J\u{202e}\u{0}'; rm -r ~ {}", "long ".repeat(20_000))
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Parameters that fit the schema, as far as it says so plainly.
fn sample(schema: &Value, text: &str) -> Map<String, Value> {
    let value = |schema: &Value| sample_value(schema, text);
    properties(schema).into_iter().map(|(name, schema)| (name, value(&schema))).collect()
}

fn sample_value(schema: &Value, text: &str) -> Value {
    let first = |key: &str| schema.get(key).and_then(|list| list.get(0)).cloned();
    if let Some(value) = schema.get("const").cloned().or_else(|| first("enum")) {
        return value;
    }
    if let Some(value) = schema.get("default").cloned().or_else(|| first("examples")) {
        return value;
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_u64);
    let kind = schema.get("type");
    match kind.and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str())) {
        Some("integer" | "number") => json!(number("minimum").or(number("maximum")).unwrap_or(1)),
        Some("boolean") => json!(true),
        Some("array") => {
            let item = sample_value(schema.get("items").unwrap_or(&Value::Null), text);
            let items = number("minItems").unwrap_or(1).min(100);
            (0..items).map(|_| item.clone()).collect()
        }
        Some("object") => Value::Object(sample(schema, text)),
        Some("null") => Value::Null,
        _ => {
            let (least, most) = (number("minLength").unwrap_or(0), number("maxLength"));
            let mut text = text.to_owned();
            while (text.chars().count() as u64) < least.min(10_000) {
                text.push('x');
            }
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
            json!(text.chars().take(most).collect::<String>())
        }
    }
}

/// Tries parameters that must not fit, and says what is said of them.
fn misfits(schema: &Value) -> Result<String, String> {
    let good = sample(schema, PEER);
    let mut wrong: Vec<Map<String, Value>> = Vec::new();
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        let mut without = good.clone();
        without.remove(name);
        wrong.push(without);
    }
    for (name, of) in properties(schema) {
        let mut other = good.clone();
        let is_list = of.get("type").is_some_and(|kind| kind == "array");
        let odd = if is_list { json!("text") } else { json!([["odd"]]) };
        if of.get("type").is_some() || of.get("enum").is_some() || of.get("const").is_some() {
            other.insert(name, odd);
            wrong.push(other);
        }
    }
    let mut unknown = good.clone();
    unknown.insert("no-such-parameter".to_owned(), json!(1));
    let takes_unknown = check_parameters(schema, &unknown, "").is_ok();
    let mut said = Vec::new();
    for parameters in wrong {
        match check_parameters(schema, &parameters, "") {
            Err(problem) => said.push(problem.to_string()),
            Ok(()) => return Err(format!("these fit: {}", Value::Object(parameters))),
        }
    }
    said.dedup();
    if takes_unknown {
        said.push("parameters that nobody knows are taken, and perhaps misspelt".to_owned());
    }
    Ok(said.join("; "))
}
