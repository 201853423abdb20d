//! What the harness asks a person: each question is answered once, and ends once.

use std::time::Duration;

use rp_protocol::session::{Answer, Command, Event, Failure, FailureKind, Question, QuestionEnd};
use tokio::{sync::oneshot, time::Instant};

use super::Actor;
use crate::{
    answers,
    commands::{Asker, Outcome, harness_failure},
    process::now_ms,
    questions::{AskedQuestion, Change, Settled, is_over},
    session::Given,
};

/// Questions that can be open in one session. A harness that asks more does not wait for answers,
/// and is ended.
const QUESTIONS: usize = 256;

/// A harness may say a little early or late that a question expired; after this long its host
/// says it.
const EXPIRY_GRACE: Duration = Duration::from_secs(1);

/// A question that is not over.
pub(super) struct Asked {
    /// What is on disk. Settled in it means that somebody has answered and the harness is being
    /// told.
    record: AskedQuestion,
    /// When the harness stops waiting.
    expires: Option<Instant>,
    /// The harness has taken the answer.
    taken: bool,
}

impl Asked {
    fn has_expired(&self, now: Instant) -> bool {
        // No earlier than a tenth before its time, and never more than 100 ms.
        let whole = Duration::from_millis(self.record.question.expires_ms.unwrap_or_default());
        let early = (whole / 10).min(Duration::from_millis(100));
        self.expires.is_some_and(|at| at <= now + early)
    }
}

impl Actor {
    /// Tells clients of the questions that the host before this one left open.
    pub(super) fn tell_left_open(&mut self) {
        for question in self.host.questions.left_open(&self.agent.id) {
            let how = Some(QuestionEnd::Lost);
            self.unpublished.push(Event::QuestionSettled { question, how });
        }
    }

    /// The harness asks.
    pub(super) fn asked(&mut self, question: Question) {
        // The same question again is another one.
        self.settled_by_harness(&question.id);
        if self.asked.len() >= QUESTIONS {
            return self.break_off(format!("the harness asked more than {QUESTIONS} questions"));
        }
        let wait = question.expires_ms.map(Duration::from_millis);
        let record = self.host.questions.number(&self.agent.id, question);
        self.changes.push(Change::Open(record.clone()));
        self.status.questions.push(record.question.clone());
        self.unpublished.push(Event::Question(record.question.clone()));
        let expires = wait.and_then(|wait| Instant::now().checked_add(wait));
        self.asked.push(Asked { record, expires, taken: false });
    }

    /// The harness does not wait any more.
    pub(super) fn settled_by_harness(&mut self, native: &str) {
        let Some(place) = self.asked.iter().position(|asked| asked.record.native == native) else {
            return;
        };
        let asked = self.asked.remove(place);
        // What is being ended does not mean anything by it.
        let ends = self.run.as_ref().is_none_or(|run| run.cause.is_some());
        let how = match (ends, asked.has_expired(Instant::now())) {
            (true, _) => QuestionEnd::Lost,
            (false, true) => QuestionEnd::Expired,
            (false, false) => QuestionEnd::Withdrawn,
        };
        self.question_over(asked, how);
    }

    /// The process that asked is gone.
    pub(super) fn lose_questions(&mut self) {
        for asked in std::mem::take(&mut self.asked) {
            self.question_over(asked, QuestionEnd::Lost);
        }
    }

    /// A question is over: with its answer if it has one, else like this.
    fn question_over(&mut self, asked: Asked, otherwise: QuestionEnd) {
        let Asked { mut record, taken, .. } = asked;
        let lost = otherwise == QuestionEnd::Lost && !taken;
        let settled = match record.settled.take() {
            Some(answered) if !lost => answered,
            _ => Settled { at_ms: now_ms(), how: otherwise },
        };
        let question = record.question.id.clone();
        self.status.questions.retain(|open| open.id != question);
        self.unpublished.push(Event::QuestionSettled { question, how: Some(settled.how.clone()) });
        record.settled = Some(settled);
        self.changes.push(Change::Settle(record));
    }

    // ---- answering

    /// Gives the harness an answer, unless another one was first.
    pub(super) async fn answer_question(&mut self, given: Given, reply: oneshot::Sender<Outcome>) {
        match self.claim(&given).await {
            Ok((native, answer)) => {
                let command = Command::Answer { question: native, answer };
                self.give(&command, Asker::Answer(given.question, reply)).await;
            }
            Err(failure) => drop(reply.send(Err(failure))),
        }
    }

    /// Notes on disk that this is the answer. Gives it with the harness's own name of the question.
    async fn claim(&mut self, given: &Given) -> Result<(String, Answer), Failure> {
        let id = &given.question;
        let Some(asked) = self.asked.iter_mut().find(|asked| asked.record.question.id == *id)
        else {
            return Err(self.host.questions.refusal(id));
        };
        if let Some(settled) = &asked.record.settled {
            return Err(is_over(id, settled));
        }
        let kind = &asked.record.question.kind;
        let answer = given.said.as_answer(kind).ok_or_else(|| unfit(given, &asked.record))?;
        let words = answers::in_words(kind, &answer);
        let how = QuestionEnd::Answered { by: given.by.clone(), answer: answer.clone(), words };
        asked.record.settled = Some(Settled { at_ms: now_ms(), how });
        let record = asked.record.clone();
        let native = record.native.clone();
        // Behind what could not be written before.
        self.changes.push(Change::Open(record));
        if let Err(error) = self.host.questions.write_out(&mut self.changes).await {
            self.answer_came_out(id, false);
            return Err(harness_failure(format!("the answer was not given: {error}"), None));
        }
        Ok((native, answer))
    }

    /// The harness took an answer, or it did not: then the question is as open as before.
    pub(super) fn answer_came_out(&mut self, id: &str, taken: bool) {
        let asked = self.asked.iter_mut().find(|asked| asked.record.question.id == id);
        if let Some(asked) = asked {
            asked.taken = taken;
            if !taken {
                asked.record.settled = None;
                self.changes.push(Change::Open(asked.record.clone()));
            }
        }
    }

    // ---- time

    /// When the next question expires that nobody has answered.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let waiting = self.asked.iter().filter(|asked| asked.record.settled.is_none());
        waiting.filter_map(|asked| asked.expires?.checked_add(EXPIRY_GRACE)).min()
    }

    /// Settles what has expired without a word of the harness.
    pub(super) fn expire_questions(&mut self, now: Instant) {
        while let Some(place) = self.asked.iter().position(|asked| {
            let at = asked.expires.and_then(|at| at.checked_add(EXPIRY_GRACE));
            asked.record.settled.is_none() && at.is_some_and(|at| at <= now)
        }) {
            let asked = self.asked.remove(place);
            self.question_over(asked, QuestionEnd::Expired);
        }
    }

    // ---- disk

    /// Puts what happened to questions on disk, so that nobody sees what could be forgotten.
    pub(super) async fn keep_changes(&mut self) {
        // Even when the disk is full, the session goes on, and this is tried again.
        if let Err(error) = self.host.questions.write_out(&mut self.changes).await {
            tracing::warn!(%error, "questions of a session were not written");
        }
    }
}

/// The question takes no such answer.
fn unfit(given: &Given, asked: &AskedQuestion) -> Failure {
    let possible: Vec<_> = answers::possible(&asked.question.kind)
        .into_iter()
        .map(|(word, meaning)| meaning.map_or(word.clone(), |text| format!("{word} ({text})")))
        .collect();
    let takes = match possible.as_slice() {
        [] => "it takes a text".to_owned(),
        possible => format!("its answers are {}", possible.join(", ")),
    };
    Failure {
        kind: FailureKind::Invalid,
        message: format!("{:?} does not answer question {}", given.said.in_words(), given.question),
        hint: Some(takes),
    }
}
