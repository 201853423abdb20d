//! What a harness adapter promises, with and without recordings of its harness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rp_engine::{Adapter, AdapterSession, CallError, Engine, Limits};
use rp_protocol::{
    component::SETTINGS_COMMAND,
    session::{
        Ability, Answer, Command, Effect, Exit, Framing, Image, LaunchRequest, LaunchSpec,
        ModelRef, Prompt, Thinking, Urgency,
    },
};
use serde_json::json;

use super::{
    Measured, Shown, Subject,
    abilities::{Seen, seen},
    code, loaded,
    promises::Promises,
    replay::{Cut, Played, play, story},
    report::Checks,
    transcripts::{self, Transcript},
};
use crate::{components::check_programs, problem::Problem, render::count};

/// Problems of recordings that are told.
const TOLD: usize = 3;

/// Checks an adapter, and measures what recordings show of its harnesses.
pub async fn check(
    engine: &Engine,
    subject: &Subject,
    recordings: Option<&Path>,
    checks: &mut Checks,
) -> Result<Vec<Measured>, Problem> {
    let adapters = engine.load_adapter(code(subject)).await;
    let imports =
        |adapters: &Vec<Adapter>| adapters.first().map_or(Vec::new(), |a| a.imports().to_vec());
    let Some(adapters) = loaded(adapters, imports, subject, checks) else {
        return Ok(Vec::new());
    };
    let names: Vec<&str> = adapters.iter().map(|a| a.describe().name.as_str()).collect();
    let programs = check_programs(&subject.manifest, &adapters).map(|()| names.join(", "));
    let expected = "every program that it describes stands in the manifest";
    checks.result("it describes harnesses that its manifest lets it start", expected, programs);
    for adapter in &adapters {
        launches(adapter, subject, checks).await;
        sessions(adapter, checks).await;
    }
    let transcripts = match recordings.map(transcripts::read) {
        None => Vec::new(),
        Some(Ok(transcripts)) => transcripts,
        Some(Err(error)) => {
            checks.failed("its recordings can be read", "transcripts, line by line", error);
            Vec::new()
        }
    };
    if transcripts.is_empty() {
        let hint = "there is no transcripts folder; --transcripts names another";
        checks.ok("it has no recordings, so they show none of its abilities", hint);
    }
    let mut measured = Vec::new();
    for (place, adapter) in adapters.iter().enumerate() {
        let is_own = |transcript: &&Transcript| match &transcript.harness {
            Some(harness) => *harness == adapter.describe().name,
            None => place == 0,
        };
        let own: Vec<&Transcript> = transcripts.iter().filter(is_own).collect();
        measured.push(replays(adapter, &own, checks).await);
    }
    let most = adapters.first().map_or(0, Adapter::most_memory);
    let memory = subject.memory(most, Limits::default().adapter_memory);
    checks.ok("each session stays within its memory", memory);
    Ok(measured)
}

async fn launches(adapter: &Adapter, subject: &Subject, checks: &mut Checks) {
    let name = &adapter.describe().name;
    let own = LaunchRequest {
        settings: json!({ "command": ["agent"] }).to_string(),
        ..transcripts::request()
    };
    let rubbish = json!({ "rubbish": [null, { "\u{0}": "\u{202e}".repeat(10_000) }] }).to_string();
    let rubbish = LaunchRequest { settings: rubbish, ..transcripts::request() };
    let outcome = match adapter.launch(&transcripts::request()).await {
        Ok(Ok(spec)) => may_start(subject, &spec, None),
        // A preset that drives whatever program the settings name.
        Ok(Err(refusal)) if adapter.describe().program.is_empty() => {
            match adapter.launch(&own).await {
                Ok(Ok(spec)) => may_start(subject, &spec, Some("agent")),
                Ok(Err(_)) => Err(refusal.message),
                Err(error) => Err(error.to_string()),
            }
        }
        Ok(Err(refusal)) => Err(refusal.message),
        Err(error) => Err(error.to_string()),
    };
    let expected = "a program that its manifest asks to run";
    checks.result(format!("{name}: it says what to start"), expected, outcome);
    let outcome = adapter.launch(&rubbish).await.map(|outcome| match outcome {
        Ok(_) => "it takes them".to_owned(),
        Err(refusal) => format!("it refuses them: {}", refusal.message),
    });
    let expected = "it takes them, or says why not";
    checks.result(format!("{name}: settings that are rubbish do it no harm"), expected, outcome);
}

fn may_start(
    subject: &Subject,
    spec: &LaunchSpec,
    from_settings: Option<&str>,
) -> Result<String, String> {
    let asked = subject.permits().into_iter().any(|permit| {
        let program = match permit.value() {
            Some(SETTINGS_COMMAND) => from_settings,
            program => program,
        };
        permit.name() == "run" && program == Some(spec.program.as_str())
    });
    let line = std::iter::once(&spec.program).chain(&spec.args);
    let line: Vec<&str> = line.map(String::as_str).collect();
    if asked { Ok(line.join(" ")) } else { Err(format!("it starts `{}`", spec.program)) }
}

/// Sessions of a harness that says nothing, and of one that says rubbish.
async fn sessions(adapter: &Adapter, checks: &mut Checks) {
    let name = &adapter.describe().name;
    let mut wrong = BTreeSet::new();
    for command in commands() {
        let outcome = alone(adapter, &command).await;
        if let Err(came) = outcome
            && wrong.insert(command.name())
        {
            let what = format!("{name}: `{}` is settled when the harness is gone", command.name());
            checks.failed(what, "it is settled exactly once", came);
        }
    }
    let outcome = all_at_once(adapter).await;
    let expected = "each is settled exactly once, and nothing is left open";
    let what = format!("{name}: every command is settled, at the latest when the harness is gone");
    checks.result(what, expected, outcome.map(|count| format!("{count} commands")));
    for (what, lines) in rubbish() {
        let what = format!("{name}: {what} does it no harm");
        let outcome = match (babble(adapter, &lines).await, babble(adapter, &lines).await) {
            (Ok(first), Ok(second)) if first == second => Ok(""),
            (Ok(_), Ok(_)) => Err("two instances did different things".to_owned()),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        checks.result(what, "every call returns, the same from two instances", outcome);
    }
}

/// One of each.
fn commands() -> Vec<Command> {
    let prompt = |text: &str, urgency, images| {
        Command::Prompt(Prompt { text: text.to_owned(), images, urgency })
    };
    let image = Image { mime: "image/png".to_owned(), data: vec![0x89, b'P', b'N', b'G', 0, 255] };
    let model = ModelRef { provider: "own".to_owned(), id: "model-1".to_owned() };
    let answer = Answer::DenyWithGuidance { guidance: "no".to_owned() };
    vec![
        prompt("hello", Urgency::WhenIdle, vec![image]),
        prompt("\u{0}\u{1b}[2J\u{202e}\u{2028}", Urgency::AfterTools, Vec::new()),
        prompt("now", Urgency::Interrupt, Vec::new()),
        Command::Abort,
        Command::NewSession,
        Command::Resume { session: "../../etc/passwd".to_owned() },
        Command::Compact { instructions: None },
        Command::SetModel { model },
        Command::SetThinking { level: Thinking::High },
        Command::ListModels,
        Command::History,
        Command::Answer { question: "nobody asked".to_owned(), answer },
        Command::Rename { title: "\u{0}".to_owned() },
        Command::Refresh,
        Command::Other { name: "rubbish".to_owned(), arguments: json!({ "a": null }) },
    ]
}

/// A session that is told things by hand.
struct Hand {
    session: AdapterSession,
    promises: Promises,
    effects: Vec<Vec<Effect>>,
}

impl Hand {
    async fn start(adapter: &Adapter) -> Result<Self, String> {
        let session = adapter.session(&transcripts::request()).await.map_err(in_words)?;
        let mut hand = Hand { session, promises: Promises::default(), effects: Vec::new() };
        let effects = hand.session.started().await.map_err(in_words)?;
        hand.take(effects);
        Ok(hand)
    }

    async fn command(&mut self, number: u64, command: &Command) -> Result<(), String> {
        self.promises.command(number, command);
        let effects = self.session.command(number, command).await.map_err(in_words)?;
        self.take(effects);
        Ok(())
    }

    async fn exit(mut self) -> Result<Vec<Vec<Effect>>, String> {
        self.promises.exiting();
        let how = Exit::Signal { signal: 9 };
        let effects = self.session.exited(&how).await.map_err(in_words)?;
        self.take(effects);
        self.promises.finish();
        match self.promises.broken.first() {
            Some(broken) => Err(broken.clone()),
            None => Ok(self.effects),
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        effects.iter().for_each(|effect| self.promises.effect(effect));
        self.effects.push(effects);
    }
}

fn in_words(error: CallError) -> String {
    error.to_string()
}

async fn alone(adapter: &Adapter, command: &Command) -> Result<(), String> {
    let mut hand = Hand::start(adapter).await?;
    hand.command(1, command).await?;
    hand.exit().await.map(drop)
}

async fn all_at_once(adapter: &Adapter) -> Result<usize, String> {
    let mut hand = Hand::start(adapter).await?;
    let commands = commands();
    for (number, command) in (1..).zip(&commands) {
        hand.command(number, command).await?;
    }
    hand.exit().await?;
    Ok(commands.len())
}

/// What no harness should say.
fn rubbish() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let odd = [
        "",
        " ",
        "{",
        "{}",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{\"id\":null}",
        "{\"type\":7}",
        "{\"type\":\"\",\"id\":{}}",
        "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}",
        "{\"method\":\"no/such/method\",\"params\":[]}",
        "Segmentation fault",
    ];
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let long = format!("{{\"type\":\"text\",\"text\":\"{}\"}}", "x".repeat(1 << 20));
    vec![
        ("a harness that says rubbish", odd.iter().map(|line| line.as_bytes().to_vec()).collect()),
        ("a harness that says bytes", vec![(0..=255).collect(), vec![0xff; 4096]]),
        ("a line that is nested 100 times", vec![nested.into_bytes()]),
        ("a line of 1 MiB", vec![long.into_bytes()]),
    ]
}

async fn babble(adapter: &Adapter, lines: &[Vec<u8>]) -> Result<Vec<Vec<Effect>>, String> {
    let mut hand = Hand::start(adapter).await?;
    let hello = Prompt { text: "hello".into(), images: Vec::new(), urgency: Urgency::WhenIdle };
    hand.command(1, &Command::Prompt(hello)).await?;
    for line in lines {
        let effects = hand.session.output(line).await.map_err(in_words)?;
        hand.take(effects);
        let text = String::from_utf8_lossy(line);
        let end = text.floor_char_boundary(4096);
        let effects = hand.session.diagnostics(text.get(..end).unwrap_or_default()).await;
        hand.take(effects.map_err(in_words)?);
    }
    let effects = hand.session.wake().await.map_err(in_words)?;
    hand.take(effects);
    hand.exit().await
}

/// Replays the recordings of a harness, and measures what they show.
async fn replays(adapter: &Adapter, transcripts: &[&Transcript], checks: &mut Checks) -> Measured {
    let description = adapter.describe();
    let framing = match adapter.launch(&transcripts::request()).await {
        Ok(Ok(spec)) => spec.framing,
        _ => Framing::Lines,
    };
    let mut broken = Vec::new();
    let mut differ = Vec::new();
    let mut cut = Vec::new();
    let mut all: BTreeMap<Ability, Vec<String>> = BTreeMap::new();
    let mut denied: BTreeMap<Ability, String> = BTreeMap::new();
    for transcript in transcripts {
        let name = &transcript.name;
        match replay(adapter, transcript, framing).await {
            Err(error) => broken.push(format!("{name}: {error}")),
            Ok(replayed) => {
                broken.extend(replayed.broken.iter().map(|broken| format!("{name}: {broken}")));
                differ.extend(replayed.differs.then(|| name.clone()));
                cut.extend(replayed.differs_when_cut.then(|| name.clone()));
                for ability in replayed.seen.abilities {
                    all.entry(ability).or_default().push(name.clone());
                }
                for ability in replayed.seen.denied {
                    denied.entry(ability).or_insert_with(|| name.clone());
                }
            }
        }
    }
    let name = &description.name;
    let recordings = count(transcripts.len(), "recording");
    let none = |wrong: &[String]| match wrong {
        [] => Ok(recordings.clone()),
        wrong => Err(few(wrong)),
    };
    if !transcripts.is_empty() {
        let kept = "turns, messages, tools, questions and commands that begin end once";
        checks.result(format!("{name}: replays keep every promise"), kept, none(&broken));
        let expected = "the same effects from two instances";
        checks.result(format!("{name}: replays give the same twice"), expected, none(&differ));
        let what = format!("{name}: replays give the same however the output is cut");
        checks.result(what, "the same effects at any chunk borders", none(&cut));
        // Once may be a matter of the moment, such as a model that cannot think.
        let is_untrue = |ability: &Ability| {
            description.abilities.contains(ability) && !all.contains_key(ability)
        };
        let untrue = denied.iter().filter(|(ability, _)| is_untrue(ability));
        let untrue: Vec<String> =
            untrue.map(|(ability, at)| format!("{} in {at}", ability.name())).collect();
        let expected = "none of them is answered with `unsupported`";
        checks.result(
            format!("{name}: it can do what it declares"),
            expected,
            match untrue.as_slice() {
                [] => Ok(""),
                untrue => Err(few(untrue)),
            },
        );
    }
    let shown = |ability| Shown {
        ability,
        declared: description.abilities.contains(&ability),
        shown_by: all.remove(&ability).unwrap_or_default(),
        live: None,
    };
    Measured {
        harness: name.clone(),
        recordings: transcripts.len(),
        abilities: Ability::ALL.into_iter().map(shown).collect(),
    }
}

/// What came of one recording.
struct Replayed {
    broken: Vec<String>,
    differs: bool,
    differs_when_cut: bool,
    seen: Seen,
}

async fn replay(
    adapter: &Adapter,
    transcript: &Transcript,
    framing: Framing,
) -> Result<Replayed, CallError> {
    let first = play(adapter, transcript, framing, Cut::Whole).await?;
    let second = play(adapter, transcript, framing, Cut::Whole).await?;
    let cut = play(adapter, transcript, framing, Cut::Anywhere).await?;
    let same = |a: &Played, b: &Played| a.calls == b.calls;
    Ok(Replayed {
        differs: !same(&first, &second),
        differs_when_cut: story(&first) != story(&cut),
        seen: seen(transcript, &first.calls),
        broken: first.broken,
    })
}

fn few(wrong: &[String]) -> String {
    let told: Vec<&str> = wrong.iter().take(TOLD).map(String::as_str).collect();
    let rest = wrong.len().saturating_sub(TOLD);
    let rest = if rest > 0 { format!("; and {rest} more") } else { String::new() };
    format!("{}{rest}", told.join("; "))
}
