//! Minutes of ordinary work under random kills of the host and of its agents. `RP_SOAK_SECONDS`
//! makes it longer or shorter, `RP_SOAK_SEED` repeats the choices of an earlier run.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that fails panics, and says what it did"
)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rp_tests::host::Host;
use serde_json::{Value, json};

/// Reading the person's mailbox after so many messages keeps it below what one listing shows.
const READ_EVERY: usize = 200;

/// A generator that repeats its choices.
struct Chance(u64);

impl Chance {
    /// A number below `limit` (xorshift, Marsaglia 2003).
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Kills an agent's process if it runs right now.
async fn kill_agent(host: &Host, id: &str) {
    let agent = host.get(&format!("/v1/agents/{id}")).await.unwrap();
    let pid = agent["pid"].as_u64().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The answers a person got: what they say, by their ids, by the message they answer.
type Answers = BTreeMap<String, BTreeMap<String, Value>>;

async fn read_answers(host: &Host, answers: &mut Answers) {
    let inbox = host.get("/v1/agents/person/inbox").await.unwrap();
    for message in inbox["messages"].as_array().unwrap() {
        if let (Some(re), Some(id)) = (message["re"].as_str(), message["id"].as_str()) {
            let body = message["body"].clone();
            answers.entry(re.to_owned()).or_default().insert(id.to_owned(), body);
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test]
async fn every_acknowledged_message_is_answered_whatever_is_killed() {
    let seconds = number_from("RP_SOAK_SECONDS").unwrap_or(300);
    let end = Instant::now() + Duration::from_secs(seconds);
    let seed = number_from("RP_SOAK_SEED").unwrap_or(u64::from(std::process::id())) | 1;
    eprintln!("seed {seed}");
    let mut chance = Chance(seed);

    let mut host = Host::start(Vec::new()).await.unwrap();
    let agents = [host.create("one").await.unwrap(), host.create("two").await.unwrap()];
    let (mut asked, mut answers) = (BTreeMap::new(), Answers::new());
    // An agent that dies often waits minutes before it is started again; a new host knows
    // nothing of that.
    let (mut kills, mut in_this_life) = (0, 0);
    while Instant::now() < end {
        let agent = &agents[usize::try_from(chance.below(2)).unwrap()];
        let number = asked.len();
        let message = json!({ "to": agent["address"], "body": format!("{number} + 1") });
        let sent = host.post("/v1/messages", &message).await.unwrap();
        if sent["outcomes"][0]["status"] == "received" {
            asked.insert(sent["id"].as_str().unwrap().to_owned(), number);
        }
        if asked.len() % READ_EVERY == 0 {
            read_answers(&host, &mut answers).await;
        }
        match chance.below(100) {
            0..3 => {
                host.kill().unwrap();
                host.start_again().await.unwrap();
                (kills, in_this_life) = (kills + 1, 0);
            }
            3 if in_this_life < 2 => {
                kill_agent(&host, agent["id"].as_str().unwrap()).await;
                (kills, in_this_life) = (kills + 1, in_this_life + 1);
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(chance.below(500))).await;
    }

    for id in asked.keys() {
        let path = format!("/v1/messages/{id}/trace?until=answered&wait_ms=60000");
        host.get(&path).await.unwrap();
    }
    read_answers(&host, &mut answers).await;
    for (id, number) in &asked {
        let got: Vec<_> = answers.get(id).into_iter().flat_map(BTreeMap::values).collect();
        assert!(!got.is_empty(), "message {number} has no answer (seed {seed})");
        let right = (number + 1).to_string();
        assert!(got.iter().all(|body| **body == right.as_str()), "{number}: {got:?}");
    }
    // This harness has no memory of its own: a message whose turn was killed in the moment
    // between handing over its answer and that being on disk is told again, and answered again.
    let twice = answers.values().filter(|answers| answers.len() > 1).count();
    eprintln!("{} messages, {kills} kills, {twice} answered twice", asked.len());
    assert!(
        twice <= kills / 8,
        "{twice} messages were answered twice in {kills} kills (seed {seed})"
    );
}
