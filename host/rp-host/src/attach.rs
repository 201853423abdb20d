//! A live session in the terminal: streamed text, tool calls folded to a line, lines typed
//! are prompts, Ctrl-C aborts the turn, Ctrl-D leaves.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rp_protocol::session::{
    Command, Event, Prompt, Question, QuestionKind, Reply, Role, Severity, ToolCall, TurnEnd,
    Urgency,
};
use rp_session::answers::Said;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::{mpsc, oneshot},
};

use crate::{
    api,
    client::Client,
    output,
    problem::{Problem, While},
    render::{safe, settled_in_words},
};

/// Who answers here, for those who would have answered too.
const BY: &str = "attach";

/// An agent that has said nothing for so long, and is not working, has nothing more to say to
/// input that has ended.
const QUIET: Duration = Duration::from_millis(300);

/// Runs until the person leaves or the daemon ends. Input from a file or a pipe ends with the
/// work that it asked for.
pub async fn attach(
    client: &Client,
    agent: &api::Agent,
    last: u64,
    json: bool,
) -> Result<(), Problem> {
    let (sender, mut events) = mpsc::channel(256);
    let (follower, id) = (client.clone(), agent.id.clone());
    let (begun, has_begun) = oneshot::channel();
    let following = tokio::spawn(async move { follower.events(&id, last, sender, begun).await });
    if json {
        while let Some(event) = events.recv().await {
            output::answer(true, &event, |_| String::new())?;
        }
        return finished(client, agent, following).await;
    }

    output::note(&format!(
        "{} in {} — type to prompt, Ctrl-C aborts the turn, Ctrl-D leaves",
        safe(&agent.name),
        safe(&agent.cwd)
    ));
    let mut view = View::default();
    let mut typed = BufReader::new(tokio::io::stdin()).split(b'\n');
    let mut has_ended = false;
    let given = Arc::new(Given::default());
    let commands = commands(client, agent, Arc::clone(&given));
    // What a prompt leads to is shown, so nothing is said before the events are followed.
    let _ = has_begun.await;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => output::raw(view.show(&event.event).as_bytes())?,
                None => {
                    output::raw(view.end_line().as_bytes())?;
                    return finished(client, agent, following).await;
                }
            },
            line = typed.next_segment(), if !has_ended => {
                match line.doing("read what you typed")? {
                    Some(line) => {
                        let line = String::from_utf8_lossy(&line).into_owned();
                        if !line.trim().is_empty() {
                            given.open.fetch_add(1, Ordering::Relaxed);
                            let _ = commands.send(view.typed(line)).await;
                        }
                    }
                    None if std::io::stdin().is_terminal() => return Ok(()),
                    None => has_ended = true,
                }
            },
            () = tokio::time::sleep(QUIET), if has_ended => {
                let now: api::Agent = client.get(&format!("/v1/agents/{}", agent.id)).await?;
                let is_done = given.open.load(Ordering::Relaxed) == 0;
                if is_done && now.state != "working" && now.state != "starting" {
                    output::raw(view.end_line().as_bytes())?;
                    return given.outcome();
                }
            },
            _ = tokio::signal::ctrl_c() => abort(client.clone(), agent.id.clone()),
        }
    }
}

/// What became of what was typed.
#[derive(Default)]
struct Given {
    /// Commands that are not done yet.
    open: AtomicUsize,
    /// The first that failed.
    failed: Mutex<Option<Problem>>,
}

impl Given {
    /// For input that has ended: nobody is there to read the errors between the lines.
    fn outcome(&self) -> Result<(), Problem> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.map_or(Ok(()), Err)
    }

    /// A person at the terminal is told at once, and goes on.
    fn failed(&self, problem: Problem) {
        if std::io::stdin().is_terminal() {
            return output::problem(&problem, false);
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(problem);
    }
}

/// What a typed line means.
#[derive(Debug, PartialEq)]
enum Typed {
    Prompt(Prompt),
    /// The answer to the question with this id.
    Answer(String, String),
}

/// Gives the session what is sent here, in order; typing goes on meanwhile.
fn commands(client: &Client, agent: &api::Agent, given: Arc<Given>) -> mpsc::Sender<Typed> {
    const WAITING: usize = 64;
    let (sender, mut commands) = mpsc::channel::<Typed>(WAITING);
    let (client, id) = (client.clone(), agent.id.clone());
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let outcome = match command {
                Typed::Prompt(prompt) => {
                    give(&client, &id, &Command::Prompt(prompt)).await.map(drop)
                }
                Typed::Answer(question, words) => answer(&client, &question, words).await,
            };
            if let Err(problem) = outcome {
                given.failed(problem);
            }
            given.open.fetch_sub(1, Ordering::Relaxed);
        }
    });
    sender
}

/// Ends the running turn without waiting for what is before it in line.
fn abort(client: Client, id: String) {
    tokio::spawn(async move {
        if let Err(problem) = give(&client, &id, &Command::Abort).await {
            output::problem(&problem, false);
        }
    });
}

async fn give(client: &Client, id: &str, command: &Command) -> Result<Reply, Problem> {
    client.post(&format!("/v1/agents/{id}/commands"), command).await
}

async fn answer(client: &Client, question: &str, words: String) -> Result<(), Problem> {
    let request = api::AnswerQuestion { answer: Said::Words(words), by: Some(BY.to_owned()) };
    let path = format!("/v1/questions/{question}/answer");
    client.post::<api::AskedQuestion>(&path, &request).await.map(drop)
}

/// Why there are no more events.
async fn finished(
    client: &Client,
    agent: &api::Agent,
    following: tokio::task::JoinHandle<Result<(), Problem>>,
) -> Result<(), Problem> {
    following.await.doing("follow the session")??;
    if client.is_up().await {
        return Err(Problem::failed(format!("{} was removed", safe(&agent.name))));
    }
    Err(Problem::unreachable("the daemon ended").hint("start it with `rp-host serve`"))
}

/// What has been shown so far, as far as the next event depends on it.
#[derive(Default)]
struct View {
    /// The message whose text is being streamed; its line is not ended yet.
    streaming: Option<String>,
    /// Questions that wait for an answer, oldest first.
    open: Vec<Question>,
}

impl View {
    /// What a typed line means: the answer to the oldest open question, or a prompt.
    fn typed(&self, line: String) -> Typed {
        match self.open.first() {
            Some(question) => Typed::Answer(question.id.clone(), line.trim().to_owned()),
            None => Typed::Prompt(Prompt {
                text: line,
                images: Vec::new(),
                urgency: Urgency::AfterTools,
            }),
        }
    }

    fn show(&mut self, event: &Event) -> String {
        if let Event::Text { message, piece } = event {
            let start = if self.streaming.as_ref() == Some(message) { "" } else { self.end_line() };
            let text = format!("{start}{}", safe(piece));
            self.streaming = Some(message.clone());
            return text;
        }
        let shown = self.line(event);
        match shown {
            Some(line) => format!("{}{line}\n", self.end_line()),
            None => String::new(),
        }
    }

    /// Ends the line of a streamed message.
    fn end_line(&mut self) -> &'static str {
        if self.streaming.take().is_some() { "\n" } else { "" }
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::MessageEnded(message) if message.role == Role::User => {
                Some(format!("> {}", safe(&message.text).replace('\n', "\n> ")))
            }
            Event::ToolStarted(call) => Some(tool_line("▸", call)),
            Event::ToolEnded(call) if call.failed => Some(failed_line(call)),
            Event::Question(question) => {
                self.open.push(question.clone());
                Some(question_lines(question))
            }
            Event::QuestionSettled { question, how } => {
                self.open.retain(|open| open.id != *question);
                how.as_ref().map(|how| format!("— {}", safe(&settled_in_words(how))))
            }
            Event::TurnEnded { how } => Some(
                match how {
                    TurnEnd::Completed => "— done",
                    TurnEnd::Aborted => "— aborted",
                    TurnEnd::Failed => "— failed",
                    TurnEnd::Limit => "— ended by a limit",
                }
                .to_owned(),
            ),
            Event::Notice { severity: Severity::Info, .. } => None,
            Event::Notice { text, .. } => Some(format!("! {}", safe(text))),
            _ => None,
        }
    }
}

fn tool_line(mark: &str, call: &ToolCall) -> String {
    let input: String = call.input.to_string().chars().take(120).collect();
    format!("{mark} {} {}", safe(&call.name), safe(&input))
}

/// A tool that failed, with the beginning of what it said.
fn failed_line(call: &ToolCall) -> String {
    let said: String = call.output.iter().flat_map(|output| output.chars()).take(400).collect();
    format!("✗ {}: {}", safe(&call.name), safe(said.trim()).replace('\n', "\n  "))
}

fn question_lines(question: &Question) -> String {
    let mut text = format!("? {} {}", question.id, safe(&question.title));
    if !question.detail.is_empty() {
        text.push_str(&format!("\n  {}", safe(&question.detail)));
    }
    if let QuestionKind::Permission { tool, input, .. } = &question.kind {
        let input: String = input.to_string().chars().take(400).collect();
        text.push_str(&format!("\n  {} {}", safe(tool), safe(&input)));
    }
    let choices: Vec<&str> = match &question.kind {
        QuestionKind::Permission { options, .. } => {
            options.iter().map(|option| option.label.as_str()).collect()
        }
        QuestionKind::Choose { options } => options.iter().map(String::as_str).collect(),
        QuestionKind::Confirm => vec!["yes", "no"],
        QuestionKind::Text { .. } => {
            text.push_str("\n  type the answer");
            Vec::new()
        }
    };
    for (number, choice) in choices.iter().enumerate() {
        text.push_str(&format!("\n  {} {}", number + 1, safe(choice)));
    }
    text
}

#[cfg(test)]
mod tests {
    use rp_protocol::session::{Answer, QuestionEnd};

    use super::*;

    fn text(message: &str, piece: &str) -> Event {
        Event::Text { message: message.to_owned(), piece: piece.to_owned() }
    }

    #[test]
    fn streamed_text_stays_on_its_line_until_something_else_happens() {
        let mut view = View::default();
        let events =
            [text("m1", "Hel"), text("m1", "lo"), Event::TurnEnded { how: TurnEnd::Completed }];
        let shown: String = events.iter().map(|event| view.show(event)).collect();
        assert_eq!(shown, "Hello\n— done\n");
    }

    #[test]
    fn a_line_answers_the_oldest_open_question() {
        let mut view = View::default();
        view.show(&Event::Question(Question {
            id: "q1".to_owned(),
            title: "Allow?".to_owned(),
            detail: String::new(),
            kind: QuestionKind::Choose { options: vec!["Allow".to_owned(), "Deny".to_owned()] },
            expires_ms: None,
        }));
        assert_eq!(view.typed(" 2".to_owned()), Typed::Answer("q1".to_owned(), "2".to_owned()));
        let answer = Answer::Choice { choice: "Deny".to_owned() };
        let how = QuestionEnd::Answered {
            by: "the command line".to_owned(),
            answer,
            words: "Deny".to_owned(),
        };
        let settled = Event::QuestionSettled { question: "q1".to_owned(), how: Some(how) };
        assert_eq!(view.show(&settled), "— answered by the command line: Deny\n");
        assert!(matches!(view.typed("2".to_owned()), Typed::Prompt(_)));
    }
}
