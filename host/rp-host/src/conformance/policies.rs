//! What a routing policy decides about every sort of envelope.

use std::time::Instant;

use rp_engine::{Engine, Limits, LoadError, Policy};
use rp_protocol::routing::{Decision, Direction, Facts, Peer};

use super::{Subject, code, loaded, memory, report::Checks};
use crate::problem::{Problem, While};

/// Decisions that are timed.
const TIMED: usize = 2_000;

/// Checks a policy with the settings the host would give it.
pub async fn check(engine: &Engine, subject: &Subject, checks: &mut Checks) -> Result<(), Problem> {
    let policy = engine.load_policy(code(subject), &subject.settings, memory::storage(subject));
    let imports = |policy: &Policy| policy.imports().to_vec();
    let Some(policy) = loaded(policy.await, imports, subject, checks) else { return Ok(()) };
    checks.ok("it takes its settings", &subject.settings);
    if policy.wants_bodies() && !subject.asks_for("bodies") {
        let expected = "a policy that wants to read messages asks for bodies";
        checks.failed("it wants only what it asks for", expected, "the manifest does not ask");
    }
    settings(engine, subject, checks).await;
    let mut own = std::mem::take(checks);
    let memory = |most| subject.memory(most, Limits::default().policy_memory);
    // A policy holds up the thread that asks it.
    let stores = subject.asks_for("store");
    let (own, most) = tokio::task::spawn_blocking(move || {
        decisions(&policy, stores, &mut own);
        (own, policy.most_memory())
    })
    .await
    .doing("ask the policy")?;
    *checks = own;
    checks.ok("it stays within its memory", memory(most));
    Ok(())
}

/// Settings that make no sense are refused in words, if at all.
async fn settings(engine: &Engine, subject: &Subject, checks: &mut Checks) {
    let huge = format!("{{\"rubbish\":\"{}\"}}", "x".repeat(256 << 10));
    let rubbish = r#"{"rubbish":[null,{"\u0000":-1e308}],"":{}}"#.to_owned();
    for (name, settings) in [("rubbish", rubbish), ("256 KiB", huge)] {
        let storage = memory::storage(subject);
        let outcome = match engine.load_policy(code(subject), &settings, storage).await {
            Ok(_) => Ok("it takes them".to_owned()),
            Err(LoadError::Settings(reason)) => Ok(format!("it refuses them: {reason}")),
            Err(error) => Err(error),
        };
        let what = format!("settings that are {name} do it no harm");
        checks.result(what, "it takes them, or says why not", outcome);
    }
}

fn decisions(policy: &Policy, stores: bool, checks: &mut Checks) {
    let bodies = policy.wants_bodies();
    for envelope in envelopes() {
        let decided = policy.try_out().and_then(|mut trial| trial.decide(&envelope.facts(bodies)));
        let outcome = decided.map_err(|error| error.to_string()).and_then(|d| allowed(&d));
        checks.result(format!("it decides about {}", envelope.name), EXPECTED, outcome);
    }
    let all = || -> Result<Vec<Decision>, String> {
        let mut trial = policy.try_out().map_err(|error| error.to_string())?;
        let decide = |envelope: &Sample| trial.decide(&envelope.facts(bodies));
        let decided: Result<_, _> = envelopes().iter().map(decide).collect();
        decided.map_err(|error| error.to_string())
    };
    let same = match (all(), all()) {
        (Ok(_), Ok(_)) if stores => Ok("it stores, and may go by that"),
        (Ok(first), Ok(second)) if first == second => Ok(""),
        (Ok(_), Ok(_)) => Err("two instances decided differently".to_owned()),
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    checks.result("the same envelopes get the same decisions", "the same from two instances", same);
    let outcome = timed(policy, bodies).map(|nanos| format!("{:.1} µs", nanos as f64 / 1e3));
    let what = format!("it decides {TIMED} times, half of them faster than");
    checks.result(what, EXPECTED, outcome);
}

const EXPECTED: &str = "deliver, deny, hold, redirect to somebody, or rewrite to JSON";

/// A decision in words, or what the mesh could not do with it.
fn allowed(decision: &Decision) -> Result<String, String> {
    match decision {
        Decision::Deliver => Ok("deliver".to_owned()),
        Decision::Deny(reason) => Ok(format!("deny: {reason}")),
        Decision::Hold(reason) => Ok(format!("hold: {reason}")),
        Decision::Redirect(to) if to.is_empty() => Err("a redirect to nobody".to_owned()),
        Decision::Redirect(to) => Ok(format!("redirect to {}", to.join(", "))),
        Decision::Rewrite(body) => match serde_json::from_str::<serde::de::IgnoredAny>(body) {
            Ok(_) => Ok(format!("rewrite: {body}")),
            Err(error) => Err(format!("a body that is not JSON: {error}")),
        },
    }
}

/// The median of many decisions about one message, in nanoseconds.
fn timed(policy: &Policy, bodies: bool) -> Result<u64, String> {
    let mut trial = policy.try_out().map_err(|error| error.to_string())?;
    let envelopes = envelopes();
    let local = envelopes.first().ok_or("there is no envelope")?;
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let start = Instant::now();
        trial.decide(&local.facts(bodies)).map_err(|error| error.to_string())?;
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    times.get(TIMED / 2).copied().ok_or_else(|| "nothing was timed".to_owned())
}

/// An envelope to be decided about.
struct Sample {
    name: &'static str,
    direction: Direction,
    from: Peer<'static>,
    to: &'static str,
    recipients: Vec<Peer<'static>>,
    re: Option<&'static str>,
    body: String,
}

impl Sample {
    fn facts(&self, bodies: bool) -> Facts<'_> {
        Facts {
            direction: self.direction,
            sender: self.from,
            recipients: &self.recipients,
            to: self.to,
            id: "0199a2b4-0000-7000-8000-000000000000",
            re: self.re,
            body_bytes: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            body_type: self.body.starts_with("{\"type\"").then_some("note"),
            body: Some(self.body.as_str()).filter(|_| bodies),
            sent_last_minute: 3,
            now_ms: 1_763_700_000_000,
        }
    }
}

const API: Peer<'static> = Peer {
    pc: None,
    cwd: "/home/ann/api",
    name: "api",
    address: "/home/ann/api@api",
    harness: Some("demo"),
    person: false,
};
const WEB: Peer<'static> =
    Peer { cwd: "/home/ann/web", name: "web", address: "/home/ann/web@web", ..API };
const AWAY: Peer<'static> = Peer {
    pc: Some("laptop"),
    cwd: "/home/bob/web",
    name: "web",
    address: "laptop:/home/bob/web@web",
    harness: None,
    person: false,
};
const PERSON: Peer<'static> =
    Peer { cwd: "", name: "person", address: "person", harness: None, person: true, ..API };
const HOSTILE: Peer<'static> = Peer {
    cwd: "/tmp/\u{202e}../..\n\u{0}",
    name: "person\u{1b}[2J'; rm -r ~; \"",
    address: "\n* {} %s $(id) 😀@\u{0}",
    ..API
};

fn envelopes() -> Vec<Sample> {
    let local = |name| Sample {
        name,
        direction: Direction::Local,
        from: API,
        to: WEB.address,
        recipients: vec![WEB],
        re: None,
        body: r#""what is 6 * 7?""#.to_owned(),
    };
    let hostile = r#"{"type":"note","a":"\u0000\ud800\u001b[2J\u202e","b":[[[[{"":-1e308}]]]]}"#;
    vec![
        local("a local envelope"),
        Sample {
            direction: Direction::Outbound,
            to: AWAY.address,
            recipients: vec![AWAY],
            ..local("an outbound envelope")
        },
        Sample { direction: Direction::Inbound, from: AWAY, ..local("an inbound envelope") },
        Sample { from: PERSON, ..local("an envelope of the person") },
        Sample { re: Some("0199a2b4-0000-7000-8000-000000000001"), ..local("a reply") },
        Sample {
            to: "/home/ann/web@web\nlaptop:/home/bob/web@web",
            recipients: vec![WEB, AWAY, PERSON],
            ..local("a broadcast")
        },
        Sample { body: "\"\"".to_owned(), ..local("an empty body") },
        Sample { body: format!("\"{}\"", "x".repeat((1 << 20) - 2)), ..local("a body of 1 MiB") },
        Sample {
            from: HOSTILE,
            to: HOSTILE.address,
            recipients: vec![HOSTILE],
            body: hostile.to_owned(),
            ..local("hostile text")
        },
        Sample { to: "nobody", recipients: Vec::new(), ..local("peers that nobody knows") },
    ]
}
