//! Dialogs that extensions of Pi open, and what they only tell.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::json::read;
use rp_sdk::session::{Answer, FailureKind, Question, QuestionKind, Severity};
use serde_json::{Value, json};

use crate::decode::{Dialog, ExtensionError};
use crate::session::{Pi, Wait};

/// How many questions can be open; one more is cancelled.
const OPEN_AT_MOST: usize = 64;

/// The longest line that is passed on as it is, in bytes.
const PASSED_ON_AT_MOST: usize = 64 * 1024;

#[derive(Debug)]
enum Wanted {
    OneOf(Vec<String>),
    YesOrNo,
    Text,
}

#[derive(Debug)]
struct Open {
    wanted: Wanted,
    /// It was asked during a turn, and goes with it.
    in_turn: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Questions(BTreeMap<String, Open>);

impl Questions {
    fn open(&self, which: impl Fn(&Open) -> bool) -> Vec<String> {
        self.0.iter().filter(|(_, open)| which(open)).map(|(id, _)| id.clone()).collect()
    }
}

impl Pi {
    /// `extension_ui_request`
    pub(crate) fn dialog(&mut self, line: &str) {
        let Some(dialog) = read::<Dialog>(line) else {
            return;
        };
        let (wanted, kind) = match dialog.method.as_str() {
            "select" => (
                Wanted::OneOf(dialog.options.clone()),
                QuestionKind::Choose(dialog.options.clone()),
            ),
            "confirm" => (Wanted::YesOrNo, QuestionKind::Confirm),
            "input" | "editor" => (Wanted::Text, QuestionKind::Text(dialog.prefill.clone())),
            "notify" => return self.notify(&dialog),
            _ => return self.pass_on(dialog.method, line),
        };
        if self.questions.0.len() >= OPEN_AT_MOST {
            return self.write_answer(&dialog.id, json!({"cancelled": true}));
        }
        self.ask_clients(dialog, wanted, kind);
    }

    fn ask_clients(&mut self, dialog: Dialog, wanted: Wanted, kind: QuestionKind) {
        let in_turn = self.turn.is_open();
        self.questions.0.insert(dialog.id.clone(), Open { wanted, in_turn });
        let detail = if dialog.message.is_empty() {
            dialog.placeholder.unwrap_or_default()
        } else {
            dialog.message
        };
        self.effects.event(Event::Question(Question {
            id: dialog.id.clone(),
            title: dialog.title,
            detail,
            kind,
            expires_ms: dialog.timeout,
        }));
        // Pi answers itself after that time and says nothing about it.
        if let Some(ms) = dialog.timeout {
            self.wait(Wait::Question(dialog.id), ms);
        }
    }

    fn notify(&mut self, dialog: &Dialog) {
        let severity = match dialog.notify_type.as_deref() {
            Some("error") => Severity::Error,
            Some("warning") => Severity::Warning,
            _ => Severity::Info,
        };
        self.effects.notice(severity, dialog.message.clone());
    }

    /// What an extension wants shown: a status, a widget, a title.
    fn pass_on(&mut self, method: String, line: &str) {
        if line.len() <= PASSED_ON_AT_MOST {
            self.effects.event(Event::Other((method, line.to_owned())));
        }
    }

    pub(crate) fn extension_failed(&mut self, error: ExtensionError) {
        let ExtensionError { extension_path, error } = error;
        self.effects.notice(
            Severity::Warning,
            format!("an extension of Pi failed ({extension_path}): {error}"),
        );
    }

    pub(crate) fn answer(&mut self, number: u64, id: &str, answer: Answer) {
        let Some(question) = self.questions.0.get(id) else {
            return self.effects.refuse(
                number,
                FailureKind::NotFound,
                "the question is not open, or no longer",
            );
        };
        let fields = match (&question.wanted, answer) {
            (Wanted::OneOf(options), Answer::Choice(choice)) if options.contains(&choice) => {
                json!({"value": choice})
            }
            (Wanted::YesOrNo, Answer::Confirm(yes)) => json!({"confirmed": yes}),
            (Wanted::Text, Answer::Text(text)) => json!({"value": text}),
            (_, Answer::Dismiss) => json!({"cancelled": true}),
            (_, Answer::DenyWithGuidance(_)) => {
                return self.effects.refuse(
                    number,
                    FailureKind::Unsupported,
                    "dialogs of Pi take no guidance",
                );
            }
            (Wanted::OneOf(options), _) => {
                let message = format!("the question takes one of: {}", options.join(", "));
                return self.effects.refuse(number, FailureKind::Invalid, message);
            }
            (Wanted::YesOrNo, _) => {
                return self.effects.refuse(
                    number,
                    FailureKind::Invalid,
                    "the question takes yes or no",
                );
            }
            (Wanted::Text, _) => {
                return self.effects.refuse(
                    number,
                    FailureKind::Invalid,
                    "the question takes text",
                );
            }
        };
        self.write_answer(id, fields);
        self.close_question(id);
        self.effects.done(number);
    }

    /// Cancels every open question, so that Pi goes on.
    pub(crate) fn cancel_questions(&mut self) {
        for id in self.questions.open(|_| true) {
            self.write_answer(&id, json!({"cancelled": true}));
            self.close_question(&id);
        }
    }

    /// Cancels the questions that hold up the running turn, so that it can be ended.
    pub(crate) fn cancel_questions_of_turn(&mut self) {
        for id in self.questions.open(|open| open.in_turn) {
            self.write_answer(&id, json!({"cancelled": true}));
            self.close_question(&id);
        }
    }

    /// Nobody waits for these answers any more.
    pub(crate) fn withdraw_questions(&mut self) {
        for id in self.questions.open(|_| true) {
            self.close_question(&id);
        }
    }

    pub(crate) fn withdraw_questions_of_turn(&mut self) {
        for id in self.questions.open(|open| open.in_turn) {
            self.close_question(&id);
        }
    }

    pub(crate) fn question_expired(&mut self, id: &str) {
        self.close_question(id);
    }

    fn close_question(&mut self, id: &str) {
        if self.questions.0.remove(id).is_some() {
            self.timers.cancel(&Wait::Question(id.to_owned()));
            self.effects.event(Event::QuestionSettled(id.to_owned()));
        }
    }

    fn write_answer(&mut self, id: &str, fields: Value) {
        let mut line = json!({"type": "extension_ui_response", "id": id});
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        self.effects.write_line(&line);
    }
}
