//! Questions of the agent and the answers to them.

use rp_sdk::interface::Event;
use rp_sdk::session::{
    Answer, FailureKind, PermissionEffect, PermissionOption, PermissionRequest, Question,
    QuestionKind,
};

use crate::session::Demo;
use crate::wire::{Answered, Asked, Choice, Effect, Kind, ToAgent};

impl Demo {
    pub(crate) fn asked(&mut self, asked: Asked) {
        let Asked { question, title, kind, expires_ms } = asked;
        self.settled(&question);
        self.questions.insert(question.clone());
        self.effects.event(Event::Question(Question {
            id: question,
            title,
            detail: String::new(),
            kind: kind.into(),
            expires_ms,
        }));
    }

    pub(crate) fn settled(&mut self, question: &str) {
        if self.questions.remove(question) {
            self.effects.event(Event::QuestionSettled(question.to_owned()));
        }
    }

    /// Nobody waits for these answers any more.
    pub(crate) fn withdraw_questions(&mut self) {
        for question in std::mem::take(&mut self.questions) {
            self.effects.event(Event::QuestionSettled(question));
        }
    }

    pub(crate) fn answer(&mut self, number: u64, question: &str, answer: &Answer) {
        if !self.questions.contains(question) {
            let message = "the question is not open";
            return self.effects.refuse(number, FailureKind::NotFound, message);
        }
        let answer = match answer {
            Answer::Choice(choice) => Answered::Choice(choice),
            Answer::Confirm(yes) => Answered::Yes(*yes),
            Answer::Text(text) => Answered::Text(text),
            Answer::DenyWithGuidance(guidance) => Answered::Guidance(guidance),
            Answer::Dismiss => Answered::Dismissed(true),
        };
        self.open.insert(number);
        self.effects.write_line(&ToAgent::Answer { id: number.to_string(), question, answer });
    }
}

impl From<Kind> for QuestionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Permission { tool, input, options } => Self::Permission(PermissionRequest {
                tool,
                input: input.to_string(),
                options: options.into_iter().map(PermissionOption::from).collect(),
            }),
            Kind::Choose { options } => Self::Choose(options),
            Kind::Confirm => Self::Confirm,
            Kind::Text => Self::Text(None),
        }
    }
}

impl From<Choice> for PermissionOption {
    fn from(choice: Choice) -> Self {
        let effect = match choice.effect {
            Effect::AllowOnce => PermissionEffect::AllowOnce,
            Effect::AllowAlways => PermissionEffect::AllowAlways,
            Effect::DenyOnce => PermissionEffect::DenyOnce,
            Effect::DenyAlways => PermissionEffect::DenyAlways,
        };
        Self { id: choice.id, label: choice.label, effect }
    }
}
