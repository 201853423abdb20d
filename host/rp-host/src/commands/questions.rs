//! Commands about what agents ask a person.

use std::time::{SystemTime, UNIX_EPOCH};

use rp_protocol::session::{Answer, PermissionEffect, QuestionKind};
use rp_session::{
    Settled,
    answers::{Said, effect_word, possible},
};

use super::{Asking, url_part};
use crate::{
    api,
    cli::{AnswerQuestions, Questions},
    client::Client,
    problem::Problem,
    render::{clock, count, duration, safe, settled_in_words, table},
};

/// Who answers here, for those who would have answered too.
const BY: &str = "the command line";

/// Characters of a question and of its answers in a line of the table.
const LINE: usize = 60;

const SEE_QUESTIONS: &str = "`rp-host questions` lists those that wait";

impl Asking<'_> {
    pub(super) async fn questions(&self, wanted: Questions) -> Result<(), Problem> {
        let client = self.daemon_running().await?;
        let mut found: api::Questions = match wanted.all {
            true => client.get("/v1/questions?state=all").await?,
            false => client.get("/v1/questions").await?,
        };
        if let Some(agent) = &wanted.agent {
            let agent = self.find(&client, agent).await?;
            found.questions.retain(|asked| asked.agent == agent.id);
        }
        self.show(&found, |found| match found.questions.as_slice() {
            [] if wanted.all => "no questions".to_owned(),
            [] => "no questions are open".to_owned(),
            questions => questions_table(questions, wanted.all),
        })
    }

    pub(super) async fn question(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v1/questions/{}", url_part(id)?);
        self.show(&self.daemon_running().await?.get(&path).await?, question_block)
    }

    pub(super) async fn answer(&self, wanted: AnswerQuestions) -> Result<(), Problem> {
        let said = said(&wanted)?;
        let is_for_all = wanted.questions == "all";
        if !is_for_all && (wanted.agent.is_some() || wanted.tool.is_some()) {
            return Err(Problem::usage("--agent and --tool choose among all questions")
                .hint("write `rp-host answer all …`, or leave them out"));
        }
        if is_for_all {
            check_for_all(&said)?;
        }
        let client = self.daemon_running().await?;
        let ids = match is_for_all {
            true => self.all_that(&client, &wanted).await?,
            false => wanted.questions.split(',').map(|id| id.trim().to_owned()).collect(),
        };
        self.answer_each(&client, &ids, said, is_for_all).await
    }

    /// The open questions that `all` means.
    async fn all_that(
        &self,
        client: &Client,
        wanted: &AnswerQuestions,
    ) -> Result<Vec<String>, Problem> {
        let open: api::Questions = client.get("/v1/questions").await?;
        let agent = match &wanted.agent {
            Some(agent) => Some(self.find(client, agent).await?.id),
            None => None,
        };
        let is_meant = |asked: &&api::AskedQuestion| {
            let tool = match &asked.question.kind {
                QuestionKind::Permission { tool, .. } => Some(tool),
                _ => None,
            };
            let is_of_kind = tool.is_some() || wanted.dismiss;
            let is_of_tool = wanted.tool.is_none() || wanted.tool.as_ref() == tool;
            is_of_kind && is_of_tool && agent.as_ref().is_none_or(|agent| *agent == asked.agent)
        };
        let ids: Vec<_> = open.questions.iter().filter(is_meant).map(id_of).collect();
        if ids.is_empty() {
            return Err(none_is_meant(wanted));
        }
        Ok(ids)
    }

    /// Gives each question the answer; what fails with one does not keep the others from it.
    async fn answer_each(
        &self,
        client: &Client,
        ids: &[String],
        answer: Said,
        is_for_all: bool,
    ) -> Result<(), Problem> {
        let request = api::AnswerQuestion { answer, by: Some(BY.to_owned()) };
        let (mut answered, mut failed) = (Vec::<api::AskedQuestion>::new(), Vec::new());
        for id in ids {
            let path = format!("/v1/questions/{}/answer", url_part(id)?);
            match self.patiently("waiting for the harness", client.post(&path, &request)).await {
                Ok(asked) => answered.push(asked),
                Err(problem) => failed.push(problem),
            }
        }
        if !answered.is_empty() {
            self.show(&serde_json::json!({ "answered": answered }), |_| {
                let mut text: String = answered.iter().map(answered_line).collect();
                if ids.len() > 1 || is_for_all {
                    text.push_str(&format!("{} answered\n", count(answered.len(), "question")));
                }
                text
            })?;
        }
        match failed.as_slice() {
            [] => Ok(()),
            [problem] => Err(problem.clone()),
            several => {
                let reasons: Vec<_> = several.iter().map(Problem::message).collect();
                Err(Problem::failed(format!(
                    "{} were not answered: {}",
                    count(several.len(), "question"),
                    reasons.join("; ")
                ))
                .hint(SEE_QUESTIONS))
            }
        }
    }
}

/// The answer that was typed.
fn said(wanted: &AnswerQuestions) -> Result<Said, Problem> {
    if wanted.dismiss {
        return Ok(Said::Exact(Answer::Dismiss));
    }
    let words = wanted.answer.join(" ");
    match &wanted.guidance {
        None => Ok(Said::Words(words)),
        Some(guidance) if guidance.trim().is_empty() => {
            Err(Problem::usage("the guidance is empty").hint("without guidance, answer `deny`"))
        }
        Some(guidance) if words.is_empty() || words == deny() => {
            Ok(Said::Exact(Answer::DenyWithGuidance { guidance: guidance.clone() }))
        }
        Some(_) => Err(Problem::usage("guidance goes with `deny` and no other answer")),
    }
}

fn none_is_meant(wanted: &AnswerQuestions) -> Problem {
    let of = wanted.agent.as_ref().map(|agent| format!(" of {agent}")).unwrap_or_default();
    Problem::failed(match &wanted.tool {
        Some(tool) => format!("no open question{of} asks for permission to use {tool}"),
        None if wanted.dismiss => format!("no question{of} is open"),
        None => format!("no open question{of} asks for permission"),
    })
    .hint(SEE_QUESTIONS)
}

fn deny() -> &'static str {
    effect_word(PermissionEffect::DenyOnce)
}

/// What is said to every question must mean the same to each.
fn check_for_all(said: &Said) -> Result<(), Problem> {
    use PermissionEffect::{AllowAlways, AllowOnce, DenyAlways, DenyOnce};

    let words = [AllowOnce, AllowAlways, DenyOnce, DenyAlways].map(effect_word);
    match said {
        Said::Words(word) if !words.contains(&word.as_str()) => {
            Err(Problem::usage(format!("`all` takes {}, not {word:?}", words.join(", ")))
                .hint("other questions are answered one by one: `rp-host questions` lists them"))
        }
        _ => Ok(()),
    }
}

fn id_of(asked: &api::AskedQuestion) -> String {
    asked.question.id.clone()
}

fn answered_line(asked: &api::AskedQuestion) -> String {
    let how = asked.settled.as_ref().map_or("open", |settled| match &settled.how {
        rp_protocol::session::QuestionEnd::Answered { words, .. } => words.as_str(),
        _ => "over",
    });
    format!("{} of {}: {}\n", asked.question.id, safe(&asked.agent_name), safe(how))
}

fn questions_table(questions: &[api::AskedQuestion], with_state: bool) -> String {
    let now = now_ms();
    let rows: Vec<_> = questions
        .iter()
        .map(|asked| {
            let mut row = vec![
                asked.question.id.clone(),
                safe(&asked.agent_name),
                duration(now.saturating_sub(asked.asked_at_ms)),
                safe(&cut(&in_one_line(asked))),
                safe(&cut(&answers_in_one_line(&asked.question.kind))),
            ];
            if with_state {
                row.push(safe(&cut(&state(asked.settled.as_ref()))));
            }
            row
        })
        .collect();
    let header = ["id", "agent", "age", "question", "answers", "state"];
    let columns = if with_state { 6 } else { 5 };
    table(header.get(..columns).unwrap_or(&header), &rows)
}

fn state(settled: Option<&Settled>) -> String {
    settled.map_or_else(|| "open".to_owned(), |settled| settled_in_words(&settled.how))
}

fn in_one_line(asked: &api::AskedQuestion) -> String {
    let title = &asked.question.title;
    match &asked.question.kind {
        QuestionKind::Permission { tool, input, .. } => format!("{title} {tool} {input}"),
        _ => title.clone(),
    }
}

fn answers_in_one_line(kind: &QuestionKind) -> String {
    let answers: Vec<_> = possible(kind)
        .into_iter()
        .map(|(word, meaning)| match meaning {
            Some(meaning) if word.parse::<usize>().is_ok() => format!("{word} {meaning}"),
            _ => word,
        })
        .collect();
    if answers.is_empty() { "a text".to_owned() } else { answers.join(", ") }
}

/// The beginning of a text, in one line.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LINE {
        return line;
    }
    line.chars().take(LINE - 1).chain(['…']).collect()
}

fn question_block(asked: &api::AskedQuestion) -> String {
    let question = &asked.question;
    let indented = |text: &str| safe(text.trim_end()).replace('\n', "\n  ");
    let mut text = format!(
        "{} of {} ({}), asked at {} UTC\n  {}\n",
        question.id,
        safe(&asked.agent_name),
        asked.agent,
        clock(asked.asked_at_ms),
        indented(&question.title)
    );
    if !question.detail.trim().is_empty() {
        text.push_str(&format!("  {}\n", indented(&question.detail)));
    }
    if let QuestionKind::Permission { tool, input, .. } = &question.kind {
        let input = serde_json::to_string_pretty(input).unwrap_or_default();
        text.push_str(&format!("tool {}\n  {}\n", safe(tool), indented(&input)));
    }
    text.push_str("answers\n");
    let answers = possible(&question.kind);
    if answers.is_empty() {
        text.push_str("  a text\n");
    }
    for (word, meaning) in answers {
        let line = format!("  {word:14}{}", indented(&meaning.unwrap_or_default()));
        text.push_str(&format!("{}\n", line.trim_end()));
    }
    match (&asked.settled, asked.expires_at_ms) {
        (Some(settled), _) => {
            let (at, how) = (clock(settled.at_ms), settled_in_words(&settled.how));
            text.push_str(&format!("since {at} UTC {}\n", safe(&how)));
        }
        (None, Some(at_ms)) => {
            let left = duration(at_ms.saturating_sub(now_ms()));
            text.push_str(&format!("open, expires in {left}\n"));
        }
        (None, None) => text.push_str("open\n"),
    }
    text
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
