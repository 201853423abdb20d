//! While a process runs: calls into the adapter, what they ask for, and the delivery of
//! messages between turns.

use std::time::Duration;

use rp_protocol::session::{
    Ability, Command, Effect, Event, Failure, FailureKind, Prompt, Reply, Severity, State, Urgency,
};
use tokio::time::Instant;

use super::{Actor, Call};
use crate::{
    commands::{Asker, Open, Outcome, harness_failure},
    delivery::{Todo, refusal_notice},
    framing::Piece,
    history::join_pieces,
    process::{Happening, InputError, now_ms},
    run::Cause,
    status::Phase,
};

impl Actor {
    pub(super) async fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Output(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Data(data) => self.call(Call::Output(&data)).await,
                        Piece::Dropped { bytes } => self.notice(
                            Severity::Warning,
                            format!("a line of {bytes} bytes was left out: it is too long"),
                        ),
                    }
                }
            }
            Happening::Diagnostics(line) => {
                if let Some(run) = &mut self.run {
                    run.heard(&line);
                }
                self.call(Call::Diagnostics(&line)).await;
            }
            Happening::Exited(exit) => self.exited(exit).await,
        }
    }

    /// Calls the adapter and does what it asks for.
    pub(super) async fn call(&mut self, call: Call<'_>) {
        let Some(run) = &mut self.run else { return };
        let Some(adapter) = &mut run.adapter else { return };
        let called = match call {
            Call::Started => adapter.started().await,
            Call::Output(data) => adapter.output(data).await,
            Call::Diagnostics(line) => adapter.diagnostics(line).await,
            Call::Command(number, command) => adapter.command(number, command).await,
            Call::Wake => adapter.wake().await,
            Call::Exited(exit) => adapter.exited(exit).await,
        };
        match called {
            Ok(effects) => self.perform(effects).await,
            Err(error) => {
                run.adapter = None;
                self.break_off(format!("the adapter failed: {error}"));
            }
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Event(event) => self.observe(event),
                Effect::Write(bytes) => self.write(bytes),
                Effect::Settle(number, outcome) => match self.commands.close(number) {
                    Some(open) => {
                        // Nobody hears of an outcome before what led to it.
                        self.publish().await;
                        self.settle(open, outcome);
                    }
                    None => {
                        tracing::debug!(number, "an adapter settled a command that is not open")
                    }
                },
                Effect::WakeAfter(milliseconds) => {
                    if let Some(run) = &mut self.run {
                        let after = Duration::from_millis(milliseconds.into());
                        run.wake = Some(Instant::now() + after);
                    }
                }
                Effect::Relaunch(spec) => self.end(Cause::Relaunch(spec)),
                Effect::Stop => self.end(Cause::Adapter),
            }
        }
    }

    fn write(&mut self, bytes: Vec<u8>) {
        let Some(run) = &self.run else { return };
        if run.gone {
            let length = bytes.len();
            let text = format!("the adapter wrote {length} bytes to a harness that had ended");
            return self.notice(Severity::Warning, text);
        }
        match run.process.write(bytes) {
            // A process that is gone says so by its exit.
            Ok(()) | Err(InputError::Closed) => {}
            Err(error @ InputError::Full) => self.break_off(error.to_string()),
        }
    }

    /// Ends the process, because it cannot go on.
    pub(super) fn break_off(&mut self, reason: String) {
        self.notice(Severity::Error, reason.clone());
        self.end(Cause::Broken(reason));
    }

    pub(super) fn notice(&mut self, severity: Severity, text: String) {
        self.unpublished.push(Event::Notice { severity, text });
    }

    /// Takes note of an event and puts it in line for the clients.
    fn observe(&mut self, event: Event) {
        if let Some(run) = &mut self.run {
            match &event {
                Event::State(state) => {
                    run.ready = true;
                    run.working = state.working;
                    run.knows_session |= state.native_session.is_some();
                }
                Event::TurnStarted => {
                    run.ready = true;
                    run.working = true;
                    run.turns += 1;
                    run.turn_due = None;
                    self.delivery.turn_started();
                }
                Event::TurnEnded { .. } => {
                    run.working = false;
                    run.turn_due = None;
                    // A turn that ended with its process left nobody who remembers it.
                    if !run.gone {
                        self.delivery.turn_ended(&mut self.memory);
                    }
                }
                Event::PromptSeen { number } => {
                    self.delivery.prompt_seen(*number, &mut self.memory);
                }
                Event::PromptsDropped { numbers } => {
                    // The turn that one of them was to begin does not come.
                    run.turn_due = None;
                    self.delivery.prompts_dropped(numbers, &mut self.memory);
                }
                _ => {}
            }
            self.status.state.working = run.working;
        }
        match &event {
            Event::State(state) => self.note_state(state),
            Event::Question(question) => return self.asked(question.clone()),
            Event::QuestionSettled { question, .. } => return self.settled_by_harness(question),
            Event::Usage(usage) => self.status.usage = Some(usage.clone()),
            _ => {}
        }
        self.unpublished.push(event);
    }

    fn note_state(&mut self, state: &State) {
        self.resume_failures = 0;
        self.status.state = state.clone();
        let knows_session = self.run.as_ref().is_some_and(|run| run.knows_session);
        if knows_session && state.native_session != self.memory.native_session {
            self.memory.native_session.clone_from(&state.native_session);
            self.memory.save(&self.host.database, self.agent.id.as_str(), true);
        }
    }

    /// Shows the clients what has happened since the last time.
    pub(super) async fn publish(&mut self) {
        if let Some(run) = &self.run
            && run.cause.is_none()
        {
            // An accepted prompt whose turn is about to begin is work too.
            let working = run.working || run.turn_due.is_some();
            self.status.phase = match (run.ready, working) {
                (false, _) => Phase::Starting,
                (true, false) => Phase::Idle,
                (true, true) => Phase::Working,
            };
        }
        self.keep_changes().await;
        let events = join_pieces(std::mem::take(&mut self.unpublished));
        self.history.append(events, now_ms()).await;
        self.published.send_if_modified(|shown| {
            let changed = *shown != self.status;
            if changed {
                shown.clone_from(&self.status);
            }
            changed
        });
    }

    // ---- commands

    /// Gives the adapter a command; whoever asks hears of its outcome, whatever happens. Tells
    /// its number when the adapter was given it.
    pub(super) async fn give(&mut self, command: &Command, asker: Asker) -> Option<u64> {
        let turns = match &self.run {
            Some(run) if run.is_open() => run.turns,
            _ => {
                self.answer(asker, Err(self.not_running()));
                return None;
            }
        };
        let is_batch = matches!(asker, Asker::Delivery);
        match self.commands.open(command, asker, turns) {
            Ok(number) => {
                if is_batch {
                    self.delivery.offered(number);
                }
                self.call(Call::Command(number, command)).await;
                Some(number)
            }
            Err(asker) => {
                let failure = Failure {
                    kind: FailureKind::Busy,
                    message: "too many commands are waiting for the harness".to_owned(),
                    hint: None,
                };
                self.answer(asker, Err(failure));
                None
            }
        }
    }

    fn not_running(&self) -> Failure {
        let id = self.agent.id.as_str();
        match &self.status.phase {
            Phase::BackingOff { reason, .. } => {
                harness_failure(format!("the session is about to be started again: {reason}"), None)
            }
            Phase::Failed { reason, hint } => {
                harness_failure(format!("the session has failed: {reason}"), hint.as_deref())
            }
            Phase::Stopping => harness_failure("the session is being stopped", None),
            _ => harness_failure(
                "the session is stopped",
                Some(&format!("start it with `rp-host daemon start {id}`")),
            ),
        }
    }

    fn settle(&mut self, open: Open, outcome: Outcome) {
        if let Some(run) = &mut self.run
            && outcome.is_ok()
        {
            run.ready = true;
            if open.is_prompt && !run.working && run.turns == open.turns_before {
                run.turn_due = Some(Instant::now() + self.host.launcher.timing.turn_start);
            }
        }
        self.answer(open.asker, outcome);
    }

    fn answer(&mut self, asker: Asker, outcome: Outcome) {
        // What the end of a process leaves open is found out with the next one.
        let gone = self.run.as_ref().is_none_or(|run| run.gone);
        match (asker, outcome) {
            (Asker::Client(client), outcome) => drop(client.send(outcome)),
            (Asker::Answer(question, client), outcome) => {
                self.answer_came_out(&question, outcome.is_ok());
                drop(client.send(outcome));
            }
            (Asker::Delivery, Ok(_)) => self.delivery.accepted(&mut self.memory),
            (Asker::Delivery | Asker::Doubt, Err(_)) if gone => {}
            (Asker::Delivery, Err(failure)) => {
                if self.delivery.refused(&mut self.memory) {
                    self.notice(Severity::Warning, refusal_notice(&failure));
                }
            }
            (Asker::Doubt, Ok(Reply::History { messages })) => {
                self.delivery.history_read(&messages, &mut self.memory);
            }
            (Asker::Doubt, _) => self.delivery.give_up_reading(&mut self.memory),
        }
    }

    /// Fails commands that nobody will settle any more.
    pub(super) fn fail_commands(&mut self, reason: &str) {
        for open in self.commands.close_all() {
            self.answer(open.asker, Err(harness_failure(reason, None)));
        }
    }

    // ---- messages

    /// At a turn edge, does the next thing that brings messages to the model. Tells whether
    /// there was one.
    pub(super) async fn deliver(&mut self) -> bool {
        let at_edge = self.run.as_ref().is_some_and(|run| {
            run.is_open() && run.ready && !run.working && run.turn_due.is_none()
        });
        if !at_edge || self.commands.may_start_turn() {
            return false;
        }
        match self.delivery.at_edge(&mut self.memory, Instant::now()) {
            None => false,
            Some(Todo::ReadHistory) => {
                self.give(&Command::History, Asker::Doubt).await;
                true
            }
            Some(Todo::Prompt(text)) => {
                let prompt = Prompt { text, images: Vec::new(), urgency: Urgency::WhenIdle };
                self.give(&Command::Prompt(prompt), Asker::Delivery).await;
                true
            }
        }
    }

    // ---- time

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let run = self.run.as_ref().map(|run| {
            let ready_by = (!run.ready).then_some(run.ready_by);
            [run.wake, ready_by, run.turn_due, self.delivery.next_deadline()]
        });
        run.unwrap_or_default()
            .into_iter()
            .chain([self.commands.next_deadline(), self.restart_at, self.next_expiry()])
            .flatten()
            .min()
    }

    pub(super) async fn on_time(&mut self) {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for open in self.commands.close_overdue(now) {
            self.overdue(open);
        }
        if is_due(self.restart_at) {
            self.status.restarts += 1;
            // The outcome shows in the phase.
            let _ = self.launch().await;
            return;
        }
        self.expire_questions(now);
        if is_due(self.delivery.next_deadline()) {
            self.delivery.wait_is_over();
        }
        let Some(run) = &mut self.run else { return };
        if is_due(run.turn_due) {
            run.turn_due = None;
        }
        if !run.ready && run.ready_by <= now {
            run.ready = true;
            self.notice(
                Severity::Warning,
                "the harness was started and has not said anything yet".to_owned(),
            );
        }
        if let Some(run) = &mut self.run
            && is_due(run.wake)
        {
            run.wake = None;
            self.call(Call::Wake).await;
        }
    }

    fn overdue(&mut self, open: Open) {
        let seconds = self.host.launcher.timing.command.as_secs();
        match open.asker {
            Asker::Delivery => {
                let can_read = self.can(Ability::History);
                self.delivery.lost(&mut self.memory, can_read);
            }
            asker => {
                let message = format!("the harness has not answered for {seconds} s");
                self.answer(asker, Err(harness_failure(message, None)));
            }
        }
    }
}
