//! What the agents ask a person, and the answers.

use super::{Host, agents::problem};
use crate::{
    api,
    problem::{Problem, While},
};

/// Who answers when the request does not say.
const SOMEBODY: &str = "an API client";

/// Characters of the name of who answers.
const LONGEST_NAME: usize = 64;

impl Host {
    /// The questions that are open, or all that are kept; the oldest first.
    pub async fn questions(&self, all: bool) -> Result<api::Questions, Problem> {
        let asked = self.sessions.questions().list(all).doing("read the questions")?;
        let names = self.agent_names().await;
        Ok(api::Questions {
            questions: asked.into_iter().map(|asked| question(asked, &names)).collect(),
        })
    }

    /// One question.
    pub async fn question(&self, id: &str) -> Result<api::AskedQuestion, Problem> {
        let found = self.sessions.questions().get(id).doing("read the questions")?;
        let asked = found.ok_or_else(|| {
            Problem::failed(format!("no question has the id {id}"))
                .hint("`rp-host questions --all` lists those that are kept")
        })?;
        Ok(question(asked, &self.agent_names().await))
    }

    /// Answers a question, once; gives what became of it.
    pub async fn answer_question(
        &self,
        id: &str,
        answer: api::AnswerQuestion,
    ) -> Result<api::AskedQuestion, Problem> {
        let by = match &answer.by {
            Some(name) => checked_name(name)?,
            None => SOMEBODY,
        };
        self.sessions.answer(id, answer.answer, by).await.map_err(problem)?;
        self.question(id).await
    }

    async fn agent_names(&self) -> Vec<(String, String)> {
        let registry = self.registry.lock().await;
        registry.daemons.iter().map(|entry| (entry.id(), entry.name())).collect()
    }
}

/// A name that fits into a line.
fn checked_name(name: &str) -> Result<&str, Problem> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Problem::usage(format!(
            "`by` must have 1 to {LONGEST_NAME} characters and no control characters"
        )));
    }
    Ok(name)
}

fn question(asked: rp_session::AskedQuestion, names: &[(String, String)]) -> api::AskedQuestion {
    let agent = asked.agent.as_str().to_owned();
    let known = names.iter().find(|(id, _)| *id == agent);
    api::AskedQuestion {
        question: asked.question,
        agent_name: known.map_or_else(|| agent.clone(), |(_, name)| name.clone()),
        agent,
        asked_at_ms: asked.asked_at_ms,
        expires_at_ms: asked.expires_at_ms,
        settled: asked.settled,
    }
}
