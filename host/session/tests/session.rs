//! Sessions driven through real adapter components, with shell scripts as harnesses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use rp_engine::{Adapter, Code, Engine, EngineConfig, Limits};
use rp_mesh::{AgentId, Incoming, MailboxLimits, Mailboxes, Origin, Stage};
use rp_protocol::session::{
    Answer, Command, Event, Exit, FailureKind, Prompt, QuestionEnd, QuestionKind, Reply, TurnEnd,
    Urgency,
};
use rp_session::{
    AgentConfig, AskedQuestion, HistoryItem, HistoryLimits, HistoryReader, Phase, Session,
    Sessions, SessionsConfig, Status, Timing, answers::Said, restart::RestartPolicy,
};
use rp_store::Database;
use serde_json::value::RawValue;

/// What every script of a demo agent begins with. Each line it gets is noted in `heard`.
const PRELUDE: &str = r#"
say() { printf '%s\n' "$1"; }
next() {
    IFS= read -r line || exit 0
    printf '%s\n' "$line" >> heard
    rest=${line#*\"id\":\"}
    id=${rest%%\"*}
}
accept() { say "{\"type\":\"accepted\",\"id\":\"$id\"}"; }
refuse() { say "{\"type\":\"refused\",\"id\":\"$id\",\"error\":\"not now\"}"; }
begin() { say '{"type":"turn-started"}'; say "{\"type\":\"prompt-seen\",\"id\":\"$id\"}"; }
end() { say '{"type":"turn-ended","how":"completed"}'; }
settled() { say '{"type":"question-settled","question":"k1"}'; }
ready() { say '{"type":"ready","protocol":1}'; }
touch heard
echo $$ >> started
"#;

/// A demo agent that takes every prompt and does nothing in its turns.
const OBEDIENT: &str = "ready; while next; do accept; begin; end; done";

/// Long enough for everything, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    root: tempfile::TempDir,
    database: Database,
    mailboxes: Mailboxes,
    sessions: Sessions,
    session: Session,
    agent: AgentConfig,
}

impl Bench {
    /// A session of the demo harness whose program is this script.
    async fn demo(script: &str) -> Self {
        Self::new("demo", script, |_, _| {}).await
    }

    /// A session of Pi whose program is the stand-in of these tests.
    async fn pi() -> Self {
        Self::new("pi", "", |_, _| {}).await
    }

    async fn new(
        harness: &'static str,
        script: &str,
        change: impl FnOnce(&mut AgentConfig, &mut Timing),
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let database = Database::open(&root.path().join("host.redb")).unwrap();
        let mailboxes = Mailboxes::open(database.clone(), MailboxLimits::default()).unwrap();
        let adapter = adapter(harness).await;
        let cwd = root.path().join("project");
        fs::create_dir(&cwd).unwrap();
        // The demo harness runs `rp-host demo-agent`, and `rp-host` is a shell here.
        fs::write(cwd.join("demo-agent"), format!("{PRELUDE}{script}\n")).unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bin");
        let mut agent = AgentConfig {
            id: "0123abcd".parse().unwrap(),
            name: "tester".to_owned(),
            cwd,
            programs: vec![adapter.describe().program.clone()],
            variables: Vec::new(),
            adapter,
            model: None,
            mesh: None,
            settings: "{}".to_owned(),
            environment: vec![("PATH".to_owned(), format!("{}:/usr/bin:/bin", fixtures.display()))],
            keep_running: false,
        };
        let mut timing = timing();
        change(&mut agent, &mut timing);
        let config = SessionsConfig {
            database: database.clone(),
            mailboxes: mailboxes.clone(),
            run_dir: root.path().join("run"),
            host_program: "/bin/sh".into(),
            timing,
            history: HistoryLimits::default(),
        };
        let (sessions, _) = Sessions::new(config).await.unwrap();
        let session = sessions.add(agent.clone()).await.unwrap();
        Self { root, database, mailboxes, sessions, session, agent }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.agent.cwd.join(name)
    }

    /// How many processes were started.
    fn starts(&self) -> usize {
        fs::read_to_string(self.file("started")).unwrap_or_default().lines().count()
    }

    /// Puts a message into the mailbox and waits until it is there.
    async fn post(&self, number: u64) {
        let incoming = Incoming {
            id: id(number),
            from: "/home/u/api#api".to_owned(),
            to: "/home/u/tester#tester".to_owned(),
            re: None,
            body: RawValue::from_string(format!("\"body {number}\"")).unwrap(),
            origin: Origin::Agent,
            sender: None,
            expires_at_ms: None,
        };
        let (done, stored) = tokio::sync::oneshot::channel();
        let told = move |outcome| drop(done.send(outcome));
        self.mailboxes.accept(&self.agent.id, incoming, 1, told);
        stored.await.unwrap().unwrap();
    }

    /// The numbers of the messages in every prompt the harness was given.
    fn heard(&self) -> Vec<Vec<u64>> {
        let heard = fs::read_to_string(self.file("heard")).unwrap_or_default();
        heard.lines().map(numbers_in).collect()
    }

    async fn stages(&self, number: u64) -> Vec<Stage> {
        self.mailboxes.settled().await.unwrap();
        let steps = self.mailboxes.trace(&id(number)).unwrap();
        steps.into_iter().map(|step| step.stage).collect()
    }

    /// Waits until the message has come to this stage.
    async fn reaches(&self, number: u64, stage: Stage) {
        tokio::time::timeout(PATIENCE, async {
            while !self.stages(number).await.contains(&stage) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("message {number} never came to {stage}"));
    }

    async fn phase(&self, wanted: impl Fn(&Phase) -> bool) -> Status {
        let mut watch = self.session.watch();
        let status = tokio::time::timeout(PATIENCE, watch.wait_for(|status| wanted(&status.phase)));
        status
            .await
            .unwrap_or_else(|_| panic!("it is {:?}", self.session.status()))
            .unwrap()
            .clone()
    }

    async fn idle(&self) -> Status {
        self.phase(|phase| *phase == Phase::Idle).await
    }
}

fn timing() -> Timing {
    let milliseconds = Duration::from_millis;
    Timing {
        close_grace: milliseconds(200),
        term_grace: milliseconds(500),
        offer_again: milliseconds(20),
        restarts: RestartPolicy {
            delays: [10, 20, 30, 40].map(milliseconds).to_vec(),
            healthy_after: Duration::from_secs(60),
        },
        ..Timing::default()
    }
}

fn id(number: u64) -> String {
    format!("0199aaaa-0000-7000-8000-{number:012}")
}

/// The numbers of the messages that a line of the harness's input holds, in order.
fn numbers_in(line: &str) -> Vec<u64> {
    let headers = line.split("[mesh] message from").skip(1);
    let ids = headers.filter_map(|rest| rest.split_once("id=0199aaaa-0000-7000-8000-"));
    ids.map(|(_, rest)| rest[..12].parse().unwrap()).collect()
}

/// Loads a first-party adapter, built once per run of these tests.
async fn adapter(id: &str) -> Adapter {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
        let guests = target.join("guests");
        rp_guests::build(&root, &guests, &mut |_| {}).unwrap();
        guests.join("components")
    });
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("session-tests");
    let engine = Engine::new(EngineConfig {
        cache_dir: scratch.join("cache"),
        cache_key: [7; 32],
        log_dir: scratch.join("logs"),
        limits: Limits::default(),
    });
    let wasm = fs::read(folder.join(format!("{id}.wasm"))).unwrap();
    engine.unwrap().load_adapter(Code::new(id, wasm)).await.unwrap().remove(0)
}

fn prompt(text: &str) -> Command {
    Command::Prompt(Prompt {
        text: text.to_owned(),
        images: Vec::new(),
        urgency: Urgency::WhenIdle,
    })
}

/// The next event that is wanted; the numbers of all must rise by one.
async fn find(reader: &mut HistoryReader, wanted: impl Fn(&Event) -> bool) -> Event {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match reader.next().await.unwrap() {
                HistoryItem::Event(recorded) if wanted(&recorded.event) => {
                    return recorded.event.clone();
                }
                HistoryItem::Event(_) => {}
                HistoryItem::Dropped { first } => panic!("dropped up to {first}"),
            }
        }
    })
    .await
    .expect("the event never came")
}

async fn notice(reader: &mut HistoryReader, words: &str) -> String {
    let is_it = |event: &Event| matches!(event, Event::Notice { text, .. } if text.contains(words));
    match find(reader, is_it).await {
        Event::Notice { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

// ---- commands and events

#[tokio::test]
async fn a_prompt_makes_a_turn_that_can_be_followed() {
    let bench = Bench::demo(
        r#"ready; next; accept; begin
        say '{"type":"text","message":"m1","text":"hello "}'
        say '{"type":"text","message":"m1","text":"there"}'
        say '{"type":"message","message":"m1","text":"hello there"}'
        end; next"#,
    )
    .await;
    assert_eq!(bench.session.status().phase, Phase::Stopped);
    bench.session.start().await.unwrap();
    let status = bench.idle().await;
    assert!(status.pid.is_some() && status.started_at_ms.is_some());
    let reply = bench.session.command(prompt("say hello there")).await;
    assert_eq!(reply, Ok(Reply::Done));

    let mut reader = bench.session.events_after(0);
    let mut events = Vec::new();
    let mut sequence = 0;
    while !matches!(events.last(), Some(Event::TurnEnded { how: TurnEnd::Completed })) {
        let Some(HistoryItem::Event(recorded)) = reader.next().await else { panic!("no event") };
        sequence += 1;
        assert_eq!(recorded.sequence, sequence);
        events.push(recorded.event.clone());
    }
    assert!(matches!(events[0], Event::State(_)));
    let turn: Vec<&Event> =
        events.iter().skip_while(|event| **event != Event::TurnStarted).collect();
    assert!(matches!(turn[1], Event::PromptSeen { number: 1 }));
    let said: String = events
        .iter()
        .filter_map(|event| match event {
            Event::Text { message, piece } if message == "m1" => Some(piece.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(said, "hello there");
    bench.session.stop().await.unwrap();
    let status = bench.session.status();
    assert_eq!((status.phase, status.pid), (Phase::Stopped, None));
}

#[tokio::test]
async fn an_answer_is_what_the_agent_says_in_the_turn_of_the_prompt() {
    let bench = Bench::demo(
        r#"ready; next; accept; next; accept
        say '{"type":"turn-started"}'
        say '{"type":"prompt-seen","id":"1"}'
        say '{"type":"message","message":"m1","text":"to another prompt"}'
        end; begin
        say '{"type":"message","message":"m2","text":"let me see"}'
        say '{"type":"message","message":"m3","text":"it is done"}'
        end; next"#,
    )
    .await;
    bench.session.start().await.unwrap();
    bench.session.command(prompt("earlier")).await.unwrap();
    let answer = bench.session.answer_to("is it done?".to_owned()).await;
    assert_eq!(answer, Ok("it is done".to_owned()));
}

#[tokio::test]
async fn an_answer_that_cannot_come_any_more_is_not_waited_for() {
    let bench = Bench::demo("ready; next; accept; exit 3").await;
    bench.session.start().await.unwrap();
    let failure = bench.session.answer_to("hello?".to_owned()).await.unwrap_err();
    assert_eq!(failure.message, "the agent's process ended before it answered");

    let bench = Bench::demo("ready; next; accept; begin; kill -9 $$").await;
    bench.session.start().await.unwrap();
    let failure = bench.session.answer_to("hello?".to_owned()).await.unwrap_err();
    assert!(failure.message.starts_with("the agent's turn failed"), "{failure}");

    let bench = Bench::demo("ready; next; refuse; next").await;
    bench.session.start().await.unwrap();
    let failure = bench.session.answer_to("hello?".to_owned()).await.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Refused, "not now"));
}

#[tokio::test]
async fn who_commands_a_stopped_session_is_told_how_to_start_it() {
    let bench = Bench::demo(OBEDIENT).await;
    let failure = bench.session.command(prompt("x")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Harness);
    assert_eq!(failure.message, "the session is stopped");
    assert!(failure.hint.unwrap().contains("daemon start 0123abcd"));
}

#[tokio::test]
async fn a_command_that_is_never_answered_fails_in_the_end() {
    let bench = Bench::new("demo", "ready; while next; do :; done", |_, timing| {
        timing.command = Duration::from_millis(50);
    })
    .await;
    bench.session.start().await.unwrap();
    let failure = bench.session.command(prompt("x")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Harness);
    assert!(failure.message.contains("has not answered"), "{failure}");
}

#[tokio::test]
async fn commands_fail_when_the_process_dies() {
    let bench = Bench::demo("ready; next; exit 3").await;
    bench.session.start().await.unwrap();
    let failure = bench.session.command(prompt("x")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Harness);
}

#[tokio::test]
async fn a_turn_that_dies_with_its_process_is_closed() {
    let bench = Bench::demo("ready; next; accept; begin; kill -9 $$").await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    bench.session.command(prompt("x")).await.unwrap();
    let ended = find(&mut reader, |event| matches!(event, Event::TurnEnded { .. })).await;
    assert_eq!(ended, Event::TurnEnded { how: TurnEnd::Failed });
    let status = bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    assert_eq!(status.last_exit, Some(Exit::Signal { signal: 9 }));
    assert!(!status.state.working);
}

#[tokio::test]
async fn a_question_is_open_until_somebody_answers_it() {
    let bench = Bench::pi().await;
    fs::write(bench.file("ask"), "").unwrap();
    bench.session.start().await.unwrap();
    bench.idle().await;
    bench.session.command(prompt("go")).await.unwrap();
    let mut watch = bench.session.watch();
    let asked = watch.wait_for(|status| !status.questions.is_empty());
    let asked = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap().clone();
    assert_eq!(asked.phase, Phase::Working);
    let question = &asked.questions[0];
    let options = vec!["Allow".to_owned(), "Deny".to_owned()];
    assert_eq!(
        (question.title.as_str(), &question.kind),
        ("Allow?", &QuestionKind::Choose { options })
    );

    let answer = |choice: &str| Command::Answer {
        question: question.id.clone(),
        answer: Answer::Choice { choice: choice.to_owned() },
    };
    assert_eq!(bench.session.command(answer("Deny")).await, Ok(Reply::Done));
    let settled = watch.wait_for(|status| status.questions.is_empty());
    tokio::time::timeout(PATIENCE, settled).await.unwrap().unwrap();
    bench.idle().await;
    let answered = fs::read_to_string(bench.file("answered")).unwrap();
    assert!(answered.contains("Deny") && answered.lines().count() == 1, "{answered}");
    let late = bench.session.command(answer("Allow")).await.unwrap_err();
    assert_eq!(late.kind, FailureKind::Refused, "the first answer counts: {late}");
}

/// The one question that is open.
async fn open_question(bench: &Bench) -> String {
    let mut watch = bench.session.watch();
    let asked = watch.wait_for(|status| !status.questions.is_empty());
    let asked = tokio::time::timeout(PATIENCE, asked).await.unwrap().unwrap();
    asked.questions[0].id.clone()
}

/// A session of Pi in which `Allow?` is open, and the id of that question.
async fn pi_asks() -> (Bench, String) {
    let bench = Bench::pi().await;
    fs::write(bench.file("ask"), "").unwrap();
    bench.session.start().await.unwrap();
    bench.idle().await;
    bench.session.command(prompt("go")).await.unwrap();
    let id = open_question(&bench).await;
    (bench, id)
}

/// A demo agent that asks this, and what it does then.
fn asking(question: &str, then: &str) -> String {
    format!("ready; next; accept; begin; say '{question}'; {then}")
}

const MAY_I: &str =
    r#"{"type":"question","question":"k1","title":"May I?","kind":{"type":"confirm"}}"#;

#[tokio::test]
async fn of_many_answers_given_at_once_one_counts_and_the_others_are_told_whose() {
    let (bench, id) = pi_asks().await;
    let mut answering = tokio::task::JoinSet::new();
    for client in 0..16 {
        let (session, id) = (bench.session.clone(), id.clone());
        answering.spawn(async move {
            let said = Said::Words(if client % 2 == 0 { "allow" } else { "2" }.to_owned());
            (client, session.answer(&id, said, &format!("client {client}")).await)
        });
    }
    let (won, lost): (Vec<_>, Vec<_>) =
        answering.join_all().await.into_iter().partition(|(_, outcome)| outcome.is_ok());
    assert_eq!((won.len(), lost.len()), (1, 15));
    let winner = format!("question {id} was already answered by client {} at ", won[0].0);
    for (_, outcome) in lost {
        let refused = outcome.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Refused);
        assert!(refused.message.starts_with(&winner), "{refused}");
    }
    bench.idle().await;
    assert_eq!(fs::read_to_string(bench.file("answered")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused_and_the_question_stays_open() {
    let (bench, id) = pi_asks().await;
    for (said, shown) in [
        (Said::Words("maybe".to_owned()), "maybe"),
        (Said::Exact(Answer::Confirm { yes: true }), "yes"),
        (Said::Exact(Answer::Choice { choice: "allow".to_owned() }), "allow"),
    ] {
        let refused = bench.session.answer(&id, said, "a test").await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Invalid);
        assert_eq!(refused.message, format!("\"{shown}\" does not answer question {id}"));
        assert_eq!(refused.hint.unwrap(), "its answers are 1 (Allow), 2 (Deny)");
    }
    let said = Said::Words("allow".to_owned());
    bench.session.answer(&id, said, "a test").await.unwrap();
    bench.idle().await;
}

#[tokio::test]
async fn a_question_is_lost_with_its_process_and_withdrawn_by_an_abort() {
    let bench = Bench::demo(&asking(MAY_I, "next; exit 3")).await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    bench.session.command(prompt("x")).await.unwrap();
    let id = open_question(&bench).await;
    // Its own next line, whatever it is, ends it.
    let _ = bench.session.command(Command::Abort).await;
    let settled = find(&mut reader, |event| matches!(event, Event::QuestionSettled { .. })).await;
    let lost = Event::QuestionSettled { question: id.clone(), how: Some(QuestionEnd::Lost) };
    assert_eq!(settled, lost);
    let late = bench.sessions.answer(&id, Said::Words("yes".to_owned()), "a test").await;
    let late = late.unwrap_err().message;
    assert!(late.starts_with(&format!("question {id} was lost at ")), "{late}");
    bench.sessions.remove(&bench.agent.id, true).await.unwrap();
    assert_eq!(bench.sessions.questions().list(true).unwrap(), [], "they go with their agent");

    let (bench, _) = pi_asks().await;
    let mut reader = bench.session.events_after(0);
    let _ = bench.session.command(Command::Abort).await;
    let settled = find(&mut reader, |event| matches!(event, Event::QuestionSettled { .. })).await;
    let Event::QuestionSettled { how, .. } = settled else { panic!("{settled:?}") };
    assert_eq!(how, Some(QuestionEnd::Withdrawn));
}

#[tokio::test]
async fn an_answer_that_the_harness_refuses_leaves_the_question_open() {
    let bench = Bench::demo(&asking(MAY_I, "next; refuse; next; settled; accept; end; next")).await;
    bench.session.start().await.unwrap();
    bench.session.command(prompt("x")).await.unwrap();
    let id = open_question(&bench).await;
    let yes = || Said::Words("yes".to_owned());
    let refused = bench.session.answer(&id, yes(), "one").await.unwrap_err();
    assert_eq!(refused.message, "not now");
    bench.session.answer(&id, yes(), "another").await.unwrap();
    let asked = bench.sessions.questions().get(&id).unwrap().unwrap();
    let Some(QuestionEnd::Answered { by, .. }) = asked.settled.map(|settled| settled.how) else {
        panic!("not answered")
    };
    assert_eq!(by, "another");
}

#[tokio::test]
async fn a_question_that_expires_is_settled_also_when_the_harness_says_nothing() {
    // It expires as it is asked: how long anything takes here does not matter.
    let question = MAY_I.replace("\"kind\"", "\"expires_ms\":0,\"kind\"");
    for then in ["settled; end; next", "next"] {
        let bench = Bench::demo(&asking(&question, then)).await;
        let mut reader = bench.session.events_after(0);
        bench.session.start().await.unwrap();
        bench.session.command(prompt("x")).await.unwrap();
        let asked = find(&mut reader, |event| matches!(event, Event::Question(_))).await;
        let Event::Question(asked) = asked else { panic!("{asked:?}") };
        let settled = find(&mut reader, |event| matches!(event, Event::QuestionSettled { .. }));
        let expired =
            Event::QuestionSettled { question: asked.id.clone(), how: Some(QuestionEnd::Expired) };
        assert_eq!(settled.await, expired, "{then}");
        let late = bench.sessions.answer(&asked.id, Said::Words("yes".to_owned()), "a test").await;
        let late = late.unwrap_err().message;
        assert!(late.starts_with(&format!("question {} expired at ", asked.id)), "{late}");
    }
}

#[tokio::test]
async fn a_harness_that_asks_and_asks_is_ended() {
    let questions: Vec<_> = (0..300).map(|n| MAY_I.replace("k1", &format!("k{n}"))).collect();
    let bench = Bench::demo(&asking(&questions.join("\n"), "next")).await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    bench.session.command(prompt("x")).await.unwrap();
    let notice = find(&mut reader, |event| matches!(event, Event::Notice { .. })).await;
    let Event::Notice { text, .. } = notice else { panic!("{notice:?}") };
    assert_eq!(text, "the harness asked more than 256 questions");
    find(&mut reader, |event| matches!(event, Event::TurnEnded { .. })).await;
    let ends = bench.sessions.questions().list(true).unwrap();
    assert_eq!(ends.len(), 256);
    let is_lost = |asked: &AskedQuestion| {
        asked.settled.as_ref().is_some_and(|settled| settled.how == QuestionEnd::Lost)
    };
    assert!(ends.iter().all(is_lost));
}

// ---- starting and starting again

#[tokio::test]
async fn a_harness_that_is_not_installed_fails_with_the_way_to_install_it() {
    let bench = Bench::new("pi", "", |agent, _| {
        agent.environment = vec![("PATH".to_owned(), "/nowhere".to_owned())];
    })
    .await;
    let failure = bench.session.start().await.unwrap_err();
    assert_eq!(failure.message, "the program `pi` was not found on PATH");
    assert!(failure.hint.as_ref().unwrap().contains("npm install"));
    let Phase::Failed { reason, hint } = bench.session.status().phase else { panic!("not failed") };
    assert_eq!((reason, hint), (failure.message, failure.hint));
}

#[tokio::test]
async fn settings_the_adapter_refuses_are_a_failure_that_is_not_tried_again() {
    let bench = Bench::new("demo", OBEDIENT, |agent, _| {
        agent.settings = r#"{"nonsense":1}"#.to_owned();
    })
    .await;
    let failure = bench.session.start().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    assert!(matches!(bench.session.status().phase, Phase::Failed { .. }));
}

#[tokio::test]
async fn a_harness_that_ends_at_once_is_started_four_times_more() {
    let bench = Bench::demo("echo bad luck >&2; exit 7").await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    let status = bench.phase(|phase| matches!(phase, Phase::Failed { .. })).await;
    assert_eq!(bench.starts(), 5);
    assert_eq!(status.last_exit, Some(Exit::Code { code: 7 }));
    let Phase::Failed { reason, .. } = status.phase else { panic!("not failed") };
    assert!(reason.contains("exit code 7") && reason.contains("bad luck"), "{reason}");
    for wait in ["10 ms", "20 ms", "30 ms", "40 ms"] {
        notice(&mut reader, &format!("started again in {wait}")).await;
    }

    // A person's start gives all the restarts back.
    bench.session.start().await.unwrap();
    bench.phase(|phase| !matches!(phase, Phase::Failed { .. })).await;
    bench.phase(|phase| matches!(phase, Phase::Failed { .. })).await;
    assert_eq!(bench.starts(), 10);
}

#[tokio::test]
async fn a_stop_cancels_the_restart_that_is_due() {
    let bench = Bench::new("demo", "exit 1", |_, timing| {
        timing.restarts.delays = vec![Duration::from_secs(1000)];
    })
    .await;
    bench.session.start().await.unwrap();
    let status = bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    assert!(matches!(status.phase, Phase::BackingOff { attempt: 1, .. }));
    bench.session.stop().await.unwrap();
    assert_eq!(bench.session.status().phase, Phase::Stopped);
    assert_eq!(bench.starts(), 1);
}

#[tokio::test]
async fn a_harness_that_ends_well_stays_ended_unless_it_is_to_be_kept() {
    let script = "ready; if [ $(wc -l < started) = 2 ]; then next; fi; exit 0";
    let bench = Bench::demo(script).await;
    bench.session.start().await.unwrap();
    let status = bench.phase(|phase| *phase == Phase::Stopped).await;
    assert_eq!(status.last_exit, Some(Exit::Code { code: 0 }));
    assert_eq!(bench.starts(), 1);

    let bench = Bench::new("demo", script, |agent, _| agent.keep_running = true).await;
    bench.session.start().await.unwrap();
    bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    bench.idle().await;
    assert_eq!(bench.starts(), 2);
}

#[tokio::test]
async fn a_restart_ends_one_process_and_starts_another() {
    let bench = Bench::demo(OBEDIENT).await;
    bench.session.start().await.unwrap();
    let first = bench.idle().await.pid;
    bench.session.restart().await.unwrap();
    let second = bench.idle().await.pid;
    assert_ne!(first, second);
    assert_eq!(bench.starts(), 2);
}

// ---- harnesses that misbehave

#[tokio::test]
async fn garbage_is_noticed_and_survived() {
    let bench = Bench::demo(
        r#"printf 'this is no JSON\n\nnull\n{"type":"nonsense"}\n\377\376\n'; ready
        while next; do accept; begin; end; done"#,
    )
    .await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    notice(&mut reader, "is no message").await;
    bench.idle().await;
    assert_eq!(bench.session.command(prompt("x")).await, Ok(Reply::Done));
}

#[tokio::test]
async fn a_harness_that_says_nothing_is_noticed_and_taken_as_it_is() {
    let bench = Bench::new("demo", "cat > /dev/null", |_, timing| {
        timing.ready = Duration::from_millis(50);
    })
    .await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    assert_eq!(bench.session.status().phase, Phase::Starting);
    notice(&mut reader, "has not said anything yet").await;
    bench.idle().await;
}

#[tokio::test]
async fn an_adapter_that_fails_takes_its_process_with_it_and_both_are_started_again() {
    // A line of almost 64 MiB is more than the adapter's memory can take apart.
    let bench = Bench::demo(
        r#"if [ $(wc -l < started) = 1 ]; then
            printf '{"type":"'; head -c 67108000 /dev/zero | tr '\0' x; echo '"}'
            exec sleep 1000
        fi
        ready; while next; do accept; begin; end; done"#,
    )
    .await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    let text = notice(&mut reader, "the adapter failed").await;
    assert!(text.contains("memory"), "{text}");
    bench.idle().await;
    assert_eq!(bench.starts(), 2);
    assert_eq!(bench.session.command(prompt("x")).await, Ok(Reply::Done));
}

#[tokio::test]
async fn a_harness_that_does_not_read_is_ended_before_the_memory_is_full() {
    let bench = Bench::demo("ready; exec sleep 1000").await;
    let mut reader = bench.session.events_after(0);
    bench.session.start().await.unwrap();
    bench.idle().await;
    let text = "x".repeat(7 << 20);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (session, command) = (bench.session.clone(), prompt(&text));
        asking.spawn(async move { session.command(command).await });
    }
    notice(&mut reader, "does not read its input").await;
    for outcome in asking.join_all().await {
        assert_eq!(outcome.unwrap_err().kind, FailureKind::Harness);
    }
}

#[tokio::test]
async fn all_sessions_end_at_the_same_time() {
    let bench = Bench::demo(r#"trap "" TERM; ready; while :; do sleep 0.05; done"#).await;
    let mut pids = Vec::new();
    for number in 0..4 {
        let agent =
            AgentConfig { id: format!("0000000{number}").parse().unwrap(), ..bench.agent.clone() };
        let session = bench.sessions.add(agent).await.unwrap();
        session.start().await.unwrap();
        pids.push(session.status().pid.unwrap());
    }
    assert!(bench.sessions.add(bench.agent.clone()).await.is_err(), "it is there already");
    assert!(bench.sessions.shutdown(PATIENCE).await);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    assert_eq!(fs::read_dir(bench.root.path().join("run")).unwrap().count(), 0);
    assert!(bench.session.start().await.is_err(), "it is gone");
}

// ---- messages

#[tokio::test]
async fn messages_that_waited_for_the_start_go_in_together_and_in_order() {
    let bench = Bench::demo(OBEDIENT).await;
    for number in 1..=3 {
        bench.post(number).await;
    }
    bench.session.start().await.unwrap();
    bench.reaches(3, Stage::TurnSeen).await;
    assert_eq!(bench.heard(), [[1, 2, 3]]);
    let way = [Stage::Offered, Stage::Injected, Stage::TurnSeen];
    assert!(bench.stages(1).await.ends_with(&way), "{:?}", bench.stages(1).await);
}

#[tokio::test]
async fn a_message_that_comes_in_a_turn_waits_for_its_end() {
    let bench = Bench::demo(
        "ready; next; accept; begin
        while [ ! -e go ]; do sleep 0.02; done; end
        while next; do accept; begin; end; done",
    )
    .await;
    bench.session.start().await.unwrap();
    bench.session.command(prompt("work")).await.unwrap();
    bench.phase(|phase| *phase == Phase::Working).await;
    bench.post(1).await;
    bench.post(2).await;
    assert_eq!(bench.session.command(Command::Refresh).await, Ok(Reply::Done));
    assert_eq!(bench.heard(), [[0; 0]], "only the prompt was heard");
    fs::write(bench.file("go"), "").unwrap();
    bench.reaches(2, Stage::TurnSeen).await;
    assert_eq!(bench.heard(), [vec![], vec![1, 2]]);
}

#[tokio::test]
async fn a_message_wakes_an_idle_session() {
    let bench = Bench::demo(OBEDIENT).await;
    bench.session.start().await.unwrap();
    bench.idle().await;
    for number in 1..=5 {
        bench.post(number).await;
        bench.reaches(number, Stage::TurnSeen).await;
    }
    assert_eq!(bench.heard(), [[1], [2], [3], [4], [5]]);
}

#[tokio::test]
async fn messages_that_are_refused_are_offered_again() {
    let bench =
        Bench::demo("ready; next; refuse; next; refuse; while next; do accept; begin; end; done")
            .await;
    let mut reader = bench.session.events_after(0);
    bench.post(1).await;
    bench.session.start().await.unwrap();
    notice(&mut reader, "messages wait").await;
    bench.reaches(1, Stage::TurnSeen).await;
    assert_eq!(bench.heard(), [[1], [1], [1]]);
}

#[tokio::test]
async fn messages_whose_prompt_the_harness_drops_are_offered_again() {
    let bench = Bench::demo(
        r#"ready; next; dropped=$id; accept
        next; say "{\"type\":\"aborted\",\"id\":\"$id\",\"dropped\":[\"$dropped\"]}"
        while next; do accept; begin; end; done"#,
    )
    .await;
    bench.post(1).await;
    bench.session.start().await.unwrap();
    bench.reaches(1, Stage::Injected).await;
    assert_eq!(bench.session.command(Command::Abort).await, Ok(Reply::Done));
    bench.reaches(1, Stage::TurnSeen).await;
    assert_eq!(bench.heard(), [vec![1], vec![], vec![1]]);
}

#[tokio::test]
async fn a_thousand_messages_to_a_busy_agent_arrive_once_and_in_order() {
    let bench = Bench::demo(
        "ready; next; accept; begin; sleep 0.3; end; while next; do accept; begin; end; done",
    )
    .await;
    bench.session.start().await.unwrap();
    bench.session.command(prompt("work")).await.unwrap();
    for number in 1..=1000 {
        bench.post(number).await;
    }
    bench.reaches(1000, Stage::TurnSeen).await;
    let heard = bench.heard();
    assert!(heard.iter().all(|batch| batch.len() <= 20));
    assert_eq!(heard.concat(), (1..=1000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn what_a_model_without_memory_was_told_when_it_died_is_told_again() {
    let bench = Bench::demo(
        "ready; next; accept; begin
        if [ $(wc -l < started) = 1 ]; then kill -9 $$; fi
        end; while next; do accept; begin; end; done",
    )
    .await;
    bench.post(1).await;
    bench.session.start().await.unwrap();
    bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    bench.post(2).await;
    bench.reaches(2, Stage::TurnSeen).await;
    assert_eq!(bench.heard().concat(), [1, 1, 2]);
}

// ---- a harness that remembers

/// What the conversation of the stand-in for Pi holds.
fn remembered(bench: &Bench) -> Vec<u64> {
    let kept = fs::read_to_string(bench.file("conversation")).unwrap_or_default();
    kept.lines().flat_map(numbers_in).collect()
}

/// Waits until it holds these; it is written a moment after the turn has seen them.
async fn remembers(bench: &Bench, numbers: &[u64], moment: &str) {
    let saved = async {
        while remembered(bench).len() < numbers.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, saved).await;
    assert_eq!(remembered(bench), numbers, "{moment}");
}

/// A session of Pi that has a conversation to come back to.
async fn pi_with_a_past() -> Bench {
    let bench = Bench::pi().await;
    bench.post(1).await;
    bench.session.start().await.unwrap();
    bench.reaches(1, Stage::TurnSeen).await;
    let mut watch = bench.session.watch();
    watch.wait_for(|status| status.state.native_session.is_some()).await.unwrap();
    bench.idle().await;
    bench
}

#[tokio::test]
async fn a_conversation_is_resumed_and_its_messages_are_not_told_again() {
    let bench = pi_with_a_past().await;
    fs::write(bench.file("die-when-saved"), "").unwrap();
    bench.post(2).await;
    bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
    bench.post(3).await;
    bench.reaches(3, Stage::TurnSeen).await;
    remembers(&bench, &[1, 2, 3], "die-when-saved").await;
    assert_eq!(bench.heard().concat(), [1, 2, 3]);
    let started = fs::read_to_string(bench.file("started")).unwrap();
    assert!(started.lines().last().unwrap().contains("--session"), "{started}");
}

#[tokio::test]
async fn a_message_that_was_taken_and_forgotten_is_told_again() {
    for moment in ["die-when-taken", "die-when-seen"] {
        let bench = pi_with_a_past().await;
        fs::write(bench.file(moment), "").unwrap();
        bench.post(2).await;
        bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
        bench.post(3).await;
        bench.reaches(3, Stage::TurnSeen).await;
        remembers(&bench, &[1, 2, 3], moment).await;
    }
}

#[tokio::test]
async fn a_host_that_dies_at_any_moment_tells_each_message_once() {
    for moment in ["die-when-taken", "die-when-seen", "die-when-saved"] {
        let bench = pi_with_a_past().await;
        // The process dies with the host: no restart is tried by this one.
        let agent = bench.agent.clone();
        fs::write(bench.file(moment), "").unwrap();
        bench.post(2).await;
        bench.phase(|phase| matches!(phase, Phase::BackingOff { .. })).await;
        assert!(bench.sessions.remove(&agent.id, false).await.unwrap());

        let mailboxes = Mailboxes::open(bench.database.clone(), MailboxLimits::default()).unwrap();
        let (sessions, _) = Sessions::new(SessionsConfig {
            database: bench.database.clone(),
            mailboxes: mailboxes.clone(),
            run_dir: bench.root.path().join("run"),
            host_program: "/bin/sh".into(),
            timing: timing(),
            history: HistoryLimits::default(),
        })
        .await
        .unwrap();
        let session = sessions.add(agent).await.unwrap();
        session.start().await.unwrap();
        let bench = Bench { sessions, session, mailboxes, ..bench };
        bench.post(3).await;
        bench.reaches(3, Stage::TurnSeen).await;
        remembers(&bench, &[1, 2, 3], moment).await;
    }
}

#[tokio::test]
async fn a_removed_agent_is_forgotten_only_when_asked() {
    let bench = pi_with_a_past().await;
    let id: AgentId = bench.agent.id.clone();
    let last = bench.session.last_event();
    assert!(last > 0);
    assert!(bench.sessions.remove(&id, false).await.unwrap());
    assert!(!bench.sessions.remove(&id, false).await.unwrap());
    let again = bench.sessions.add(bench.agent.clone()).await.unwrap();
    assert!(again.last_event() >= last);
    assert!(bench.sessions.remove(&id, true).await.unwrap());
    let anew = bench.sessions.add(bench.agent.clone()).await.unwrap();
    assert_eq!(anew.last_event(), 0);
}
