//! When a process has ended: what is told, and what comes next.

use std::time::Duration;

use rp_protocol::session::{Event, Exit, LaunchSpec, Severity, TurnEnd};
use tokio::time::Instant;

use super::{Actor, Call};
use crate::{
    process::now_ms,
    restart::{Ended, Next},
    run::{Cause, Run},
    status::Phase,
};

/// Relaunches an adapter may ask for within a minute.
const RELAUNCHES: usize = 10;

impl Actor {
    /// The process is gone.
    pub(super) async fn exited(&mut self, exit: Exit) {
        if let Some(run) = &mut self.run {
            run.gone = true;
            // Whatever else the adapter wishes for now comes too late.
            run.cause.get_or_insert(Cause::Exited);
        }
        self.call(Call::Exited(&exit)).await;
        let Some(mut run) = self.run.take() else { return };
        self.close_turn(&run);
        self.status.pid = None;
        self.status.started_at_ms = None;
        self.status.last_exit = Some(exit.clone());
        if let Some(Cause::Relaunch(spec)) = run.cause {
            run.cause = None;
            self.relaunch(run, spec).await;
            return;
        }
        if run.resumes && !run.ready && !run.is_asked_to_end() {
            self.resume_failures += 1;
        }
        let reason = end_in_words(&exit, &run);
        self.fail_commands(&reason);
        let how = match (&run.cause, &exit) {
            (Some(Cause::Asked), _) => Ended::Asked,
            (Some(Cause::Broken(_)), _) => Ended::Crashed,
            (Some(Cause::Adapter), _) | (_, Exit::Code { code: 0 }) => Ended::Finished,
            _ => Ended::Crashed,
        };
        self.ended(how, reason);
        if how == Ended::Asked && !self.start_waiters.is_empty() {
            self.start_again().await;
        }
    }

    /// Settles what clients would otherwise see open for ever.
    fn close_turn(&mut self, run: &Run) {
        self.lose_questions();
        if run.working {
            self.unpublished.push(Event::TurnEnded { how: TurnEnd::Failed });
        }
        self.status.state.working = false;
    }

    /// There is no process any more: decides what comes next.
    pub(super) fn ended(&mut self, how: Ended, reason: String) {
        match self.restarts.ended(how, self.agent.keep_running, self.born.elapsed()) {
            Next::Stop => self.status.phase = Phase::Stopped,
            Next::Restart { attempt, after } => {
                self.notice(
                    Severity::Warning,
                    format!("{reason}\nIt is started again in {}.", in_words(after)),
                );
                self.restart_at = Some(Instant::now() + after);
                let until_ms = now_ms() + after.as_millis() as u64;
                self.status.phase = Phase::BackingOff { until_ms, attempt, reason };
            }
            Next::GiveUp => self.fail(format!("it ended too often; last: {reason}"), None),
        }
    }

    /// It will not run until a person starts it.
    pub(super) fn fail(&mut self, reason: String, hint: Option<String>) {
        self.notice(Severity::Error, reason.clone());
        self.status.phase = Phase::Failed { reason, hint };
    }

    async fn start_again(&mut self) {
        self.publish().await;
        self.tell_stopped();
        self.restarts.reset();
        self.resume_failures = 0;
        let started = self.launch().await;
        self.publish().await;
        for waiter in self.start_waiters.drain(..) {
            let _ = waiter.send(started.clone());
        }
    }

    /// Starts another process for the same adapter session.
    async fn relaunch(&mut self, run: Run, spec: LaunchSpec) {
        let now = Instant::now();
        self.relaunches.retain(|at| now.duration_since(*at) < Duration::from_secs(60));
        self.relaunches.push(now);
        let Some(adapter) = run.adapter else { return };
        let started = match self.relaunches.len() > RELAUNCHES {
            true => Err("the adapter starts its harness again and again".to_owned()),
            false => {
                self.host.launcher.start(&spec, self.place()).map_err(|error| error.to_string())
            }
        };
        match started {
            Ok(process) => {
                self.begin(Run::new(process, adapter, run.resumes, self.ready_by())).await;
            }
            Err(reason) => {
                // The adapter goes with the process it did not get; the next try makes both.
                drop(adapter);
                self.fail_commands(&reason);
                self.ended(Ended::Crashed, reason);
            }
        }
    }
}

fn end_in_words(exit: &Exit, run: &Run) -> String {
    if let Some(Cause::Broken(reason)) = &run.cause {
        return reason.clone();
    }
    let words = match exit {
        Exit::Code { code } => format!("the harness ended with exit code {code}"),
        Exit::Signal { signal } => format!("the harness was ended by signal {signal}"),
        Exit::FailedToStart { reason } => format!("the harness could not be started: {reason}"),
    };
    match run.last_words() {
        last if last.is_empty() => words,
        last => format!("{words}:\n{last}"),
    }
}

fn in_words(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    }
}
