//! A live run: the real harness in a temporary folder, driven by a daemon of its own that knows
//! nothing of the person's agents. The model it asks is the one the harness is set up for.

mod daemon;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use rp_protocol::session::{
    Ability, Answer, Command, Event, Prompt, Question, QuestionKind, Reply, Urgency,
};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use self::daemon::Daemon;
use super::{
    Measured, Shown, Subject,
    abilities::{Observer, denies, is_mesh_tool},
    report::Checks,
    transcripts::Told,
};
use crate::{
    api,
    client::Client,
    output::note,
    paths::StateRoot,
    problem::{Problem, While},
    render::{duration, safe},
};

/// How long a harness may take for one thing that it is asked for.
const PATIENCE: Duration = Duration::from_secs(120);
/// The prompts. Each says what the model is to do in a way that leaves it little choice.
const GREET: &str = "Reply with the single word: ready";
const COUNT: &str =
    "Write the numbers from 1 to 2000 in words, one on each line. Do not use any tool.";
const PEERS: &str = "Call the tool list_peers once, then reply with the single word: done";
const TOUCH: &str = "Run the shell command `touch rp-host-was-here` once. If that is refused, do \
                     not try again, and reply with the single word: refused";

/// What is to be run.
pub struct Wanted<'a> {
    /// Only this harness.
    pub harness: Option<&'a str>,
    /// The adapter's settings for it.
    pub settings: Map<String, Value>,
}

/// Runs the harnesses of an adapter that are installed, and adds what was seen to what was measured.
pub async fn run(
    root: &StateRoot,
    subject: &Subject,
    wanted: &Wanted<'_>,
    measured: &mut [Measured],
    checks: &mut Checks,
) -> Result<(), Problem> {
    note(
        "--live starts the harness in a temporary folder and gives it five short prompts: it uses \
         your account with its model, and may cost a few cents",
    );
    let daemon = Daemon::start(root).await?;
    let outcome = tokio::select! {
        outcome = in_daemon(&daemon, subject, wanted, measured, checks) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Problem::failed("interrupted")),
    };
    daemon.stop().await;
    outcome
}

async fn in_daemon(
    daemon: &Daemon,
    subject: &Subject,
    wanted: &Wanted<'_>,
    measured: &mut [Measured],
    checks: &mut Checks,
) -> Result<(), Problem> {
    daemon.install(subject).await?;
    let listed: api::Harnesses = daemon.client.get("/v1/harnesses").await?;
    let components: api::Component =
        daemon.client.get(&format!("/v1/components/{}", subject.manifest.id)).await?;
    let own = measured.iter().map(|measured| measured.harness.clone()).collect::<Vec<_>>();
    let is_own = |harness: &api::Harness| own.contains(&harness.description.name);
    let is_wanted = |harness: &api::Harness| {
        wanted.harness.is_none_or(|wanted| wanted == harness.description.name)
    };
    let all: Vec<&api::Harness> = listed.harnesses.iter().filter(|h| is_own(h)).collect();
    let installed = |harness: &&&api::Harness| is_wanted(harness) && harness.installed.is_some();
    let chosen: Vec<&&api::Harness> = all.iter().filter(installed).collect();
    if chosen.is_empty() {
        let hints: Vec<&str> = all.iter().map(|h| h.description.install.as_str()).collect();
        return Err(Problem::failed(format!(
            "no harness of {} is installed that could be run live",
            components.id
        ))
        .hint(hints.join("; or: ")));
    }
    for harness in chosen {
        let name = &harness.description.name;
        note(&format!("running {name} …"));
        let Some(measured) = measured.iter_mut().find(|m| m.harness == *name) else { continue };
        let what = format!("{name} live: it can be started");
        match Agent::create(daemon, name, &wanted.settings).await {
            Ok((mut agent, ready)) => {
                let version = harness.version.as_deref().unwrap_or("no version told");
                checks.ok(what, format!("{}, ready after {ready}", safe(version)));
                agent.measure(measured, checks).await?;
                agent.remove().await;
            }
            Err(problem) => checks.failed(what, "it becomes idle", problem),
        }
    }
    Ok(())
}

/// An agent of the harness, and all it has said so far.
struct Agent<'a> {
    client: &'a Client,
    harness: String,
    id: String,
    folder: PathBuf,
    events: mpsc::Receiver<api::NumberedEvent>,
    observer: Observer,
    /// The native session that it told last.
    session: Option<String>,
}

impl<'a> Agent<'a> {
    async fn create(
        daemon: &'a Daemon,
        harness: &str,
        settings: &Map<String, Value>,
    ) -> Result<(Self, String), Problem> {
        let folder = daemon.folder.path().join("agents").join(harness);
        std::fs::create_dir_all(&folder).doing("make a temporary folder")?;
        let create = api::Create {
            folder: folder.display().to_string(),
            name: None,
            harness: Some(harness.to_owned()),
            model: None,
            settings: settings.clone(),
        };
        let start = Instant::now();
        let created: api::Agent = daemon.client.post("/v1/agents", &create).await?;
        let (sender, events) = mpsc::channel(1024);
        let (begun, has_begun) = oneshot::channel();
        let (client, id) = (daemon.client.clone(), created.id.clone());
        tokio::spawn(async move { client.events(&id, 1_000, sender, begun).await });
        let _ = has_begun.await;
        let agent = Agent {
            client: &daemon.client,
            harness: harness.to_owned(),
            id: created.id,
            folder,
            events,
            observer: Observer::default(),
            session: None,
        };
        agent.until_idle().await?;
        Ok((agent, in_ms(start)))
    }

    async fn remove(self) {
        let path = format!("/v1/agents/{}", self.id);
        let _: Result<Value, Problem> = self.client.delete(&path).await;
    }

    /// A process tells nobody that it is ready, so this asks again and again.
    async fn until_idle(&self) -> Result<(), Problem> {
        let start = Instant::now();
        loop {
            let now: api::Agent = self.client.get(&format!("/v1/agents/{}", self.id)).await?;
            match now.state.as_str() {
                "idle" => return Ok(()),
                "failed" | "backing-off" | "stopped" => {
                    let detail = now.detail.unwrap_or_else(|| now.state.clone());
                    return Err(Problem::failed(detail));
                }
                _ if start.elapsed() > PATIENCE => {
                    let limit = duration(u64::try_from(PATIENCE.as_millis()).unwrap_or(0));
                    return Err(Problem::failed(format!(
                        "it is still {} after {limit}",
                        now.state
                    )));
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn command(&mut self, command: Command) -> Result<Reply, Problem> {
        self.observer.told(&Told::Command(command.clone()), &[]);
        self.client.post(&format!("/v1/agents/{}/commands", self.id), &command).await
    }

    async fn prompt(&mut self, text: &str) -> Result<(), Problem> {
        let (text, urgency) = (text.to_owned(), Urgency::WhenIdle);
        self.command(Command::Prompt(Prompt { text, images: Vec::new(), urgency })).await.map(drop)
    }

    /// The next event that fits; questions on the way are answered as `answers` says.
    async fn until(
        &mut self,
        fits: impl Fn(&Event) -> bool,
        answers: Permission,
    ) -> Result<Event, Problem> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let next = tokio::time::timeout_at(end, self.events.recv()).await;
            let silent = || {
                let limit = duration(u64::try_from(PATIENCE.as_millis()).unwrap_or(0));
                Problem::failed(format!("nothing of that came within {limit}"))
            };
            let event = next.map_err(|_| silent())?.ok_or_else(silent)?.event;
            self.observer.event(&event);
            if let Event::State(state) = &event {
                self.session = state.native_session.clone().or(self.session.take());
            }
            if let Event::Question(question) = &event {
                self.answer(question, answers).await?;
            }
            if fits(&event) {
                return Ok(event);
            }
        }
    }

    async fn answer(&mut self, question: &Question, answers: Permission) -> Result<(), Problem> {
        let chosen = match &question.kind {
            QuestionKind::Permission { options, .. } => {
                options.iter().find(|o| denies(o.effect) == (answers == Permission::Deny))
            }
            _ => None,
        };
        let answer = match chosen {
            Some(option) => Answer::Choice { choice: option.id.clone() },
            None => Answer::Dismiss,
        };
        let question = question.id.clone();
        self.command(Command::Answer { question, answer }).await.map(drop)
    }

    async fn turn_end(&mut self, answers: Permission) -> Result<String, Problem> {
        let end = self.until(|event| matches!(event, Event::TurnEnded { .. }), answers).await?;
        match end {
            Event::TurnEnded { how } => Ok(format!("{how:?}").to_lowercase()),
            _ => Ok(String::new()),
        }
    }

    /// Asks for what can be asked for without harm, and takes down what came.
    async fn measure(
        &mut self,
        measured: &mut Measured,
        checks: &mut Checks,
    ) -> Result<(), Problem> {
        let declared = |ability| {
            measured
                .abilities
                .iter()
                .any(|shown: &Shown| shown.ability == ability && shown.declared)
        };
        let name = self.harness.clone();
        let live = |what: &str| format!("{name} live: {what}");

        let outcome = self.greeting().await;
        checks.result(live("a prompt is answered"), "text, and a turn that is completed", outcome);
        let (lists, aborts) = (declared(Ability::ListModels), declared(Ability::Abort));
        let (resumes, meshes) = (declared(Ability::Resume), declared(Ability::MeshTools));
        if lists {
            let outcome = self.models().await;
            checks.result(live("it lists its models"), "one model at least", outcome);
        }
        if aborts {
            let outcome = self.abort().await;
            checks.result(
                live("a turn is aborted in its middle"),
                "a turn that ends as aborted",
                outcome,
            );
        }
        if meshes {
            let outcome = self.mesh_tool().await;
            checks.result(live("its model reaches the mesh"), "a call of list_peers", outcome);
        }
        let outcome = self.denial().await;
        let expected = "a denied command is not run, and the turn ends";
        checks.result(live("a permission is denied, if it asks"), expected, outcome);
        if resumes {
            let outcome = self.resume().await;
            let expected = "the same native session in a new process";
            checks.result(live("it comes back to its session"), expected, outcome);
        }
        let tried = [Ability::ListModels, Ability::Abort, Ability::MeshTools, Ability::Resume];
        for shown in &mut measured.abilities {
            let seen = self.observer.seen().abilities.contains(&shown.ability);
            let was_tried = tried.contains(&shown.ability) && shown.declared;
            shown.live = match (seen, was_tried) {
                (true, _) => Some("yes".to_owned()),
                (false, true) => Some("no".to_owned()),
                (false, false) => None,
            };
        }
        Ok(())
    }

    async fn greeting(&mut self) -> Result<String, Problem> {
        let start = Instant::now();
        self.prompt(GREET).await?;
        self.until(|event| matches!(event, Event::Text { .. }), Permission::Deny).await?;
        let first = in_ms(start);
        match self.turn_end(Permission::Deny).await?.as_str() {
            "completed" => Ok(format!("the first text after {first}")),
            how => Err(Problem::failed(format!("the turn was {how}"))),
        }
    }

    async fn models(&mut self) -> Result<String, Problem> {
        match self.command(Command::ListModels).await? {
            Reply::Models { models } if !models.is_empty() => {
                self.observer.saw(Ability::ListModels);
                Ok(crate::render::count(models.len(), "model"))
            }
            _ => Err(Problem::failed("none")),
        }
    }

    async fn abort(&mut self) -> Result<String, Problem> {
        self.prompt(COUNT).await?;
        self.until(|event| matches!(event, Event::Text { .. }), Permission::Deny).await?;
        let start = Instant::now();
        self.command(Command::Abort).await?;
        match self.turn_end(Permission::Deny).await?.as_str() {
            "aborted" => Ok(format!("after {}", in_ms(start))),
            how => Err(Problem::failed(format!("the turn was {how}"))),
        }
    }

    async fn mesh_tool(&mut self) -> Result<String, Problem> {
        self.prompt(PEERS).await?;
        let called = |event: &Event| match event {
            Event::ToolEnded(call) => is_mesh_tool(&call.name),
            Event::TurnEnded { .. } => true,
            _ => false,
        };
        match self.until(called, Permission::Allow).await? {
            Event::ToolEnded(call) => {
                self.turn_end(Permission::Allow).await?;
                let failed = Problem::failed(call.output.unwrap_or_else(|| "nothing".to_owned()));
                if call.failed { Err(failed) } else { Ok(call.name) }
            }
            _ => Err(Problem::failed("its model called no tool of the mesh")),
        }
    }

    async fn denial(&mut self) -> Result<String, Problem> {
        self.prompt(TOUCH).await?;
        let how = self.turn_end(Permission::Deny).await?;
        let asked = self.observer.seen().abilities.contains(&Ability::PermissionQuestions);
        let ran = self.folder.join("rp-host-was-here").exists();
        match (asked, ran) {
            (true, false) => Ok(format!("it asked, and the turn was {how}")),
            (true, true) => Err(Problem::failed("the command was run although it was denied")),
            (false, true) => Ok("it did not ask with these settings, and ran it".to_owned()),
            (false, false) => Ok("it neither asked nor ran it".to_owned()),
        }
    }

    async fn resume(&mut self) -> Result<String, Problem> {
        let before = self.session.clone();
        let path = format!("/v1/agents/{}/restart", self.id);
        let start = Instant::now();
        let _: Value = self.client.post(&path, &()).await?;
        self.until_idle().await?;
        let ready = in_ms(start);
        self.prompt(GREET).await?;
        let how = self.turn_end(Permission::Deny).await?;
        let same = before.is_some() && before == self.session;
        match (same, how.as_str()) {
            (true, "completed") => {
                self.observer.saw(Ability::Resume);
                Ok(format!("ready again after {ready}"))
            }
            (true, how) => Err(Problem::failed(format!("the next turn was {how}"))),
            (false, _) => {
                let told = |session: &Option<String>| session.clone().unwrap_or("none".to_owned());
                let (before, now) = (told(&before), told(&self.session));
                Err(Problem::failed(format!("the session {now} after {before}")))
            }
        }
    }
}

/// How permission questions are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Allow,
    Deny,
}

fn in_ms(since: Instant) -> String {
    duration(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
}
