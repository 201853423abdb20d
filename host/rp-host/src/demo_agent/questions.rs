//! What the agent asks a person, and how it waits for the answer.

use std::{pin::pin, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Agent, Cut, Step, tell};

/// A question, before it is asked.
pub(super) struct Inquiry {
    title: String,
    kind: Value,
    expires: Option<Duration>,
}

/// What came of waiting for an answer.
enum Heard {
    /// The answer, and the id of the line it came in.
    Answer(Value, String),
    Expired,
}

impl Inquiry {
    /// The question of an instruction.
    pub(super) fn read(word: &str, rest: &str) -> Self {
        if word != "within" {
            return Self::without_limit(word, rest);
        }
        let (limit, instruction) = rest.split_once(' ').unwrap_or((rest, ""));
        let (word, rest) = instruction.split_once(' ').unwrap_or((instruction, ""));
        let expires = limit.parse().map(Duration::from_millis).ok();
        Self { expires, ..Self::without_limit(word, rest.trim()) }
    }

    fn without_limit(word: &str, rest: &str) -> Self {
        let asked = |title: &str, kind| Self { title: title.to_owned(), kind, expires: None };
        match word {
            "permit" => {
                let (tool, input) = rest.split_once(' ').unwrap_or((rest, ""));
                let options = json!([
                    { "id": "once", "label": "Allow once", "effect": "allow-once" },
                    { "id": "always", "label": "Always allow", "effect": "allow-always" },
                    { "id": "no", "label": "Deny", "effect": "deny-once" },
                ]);
                let input = json!({ "text": input.trim() });
                let kind = json!({
                    "type": "permission", "tool": tool, "input": input, "options": options
                });
                asked(&format!("May I use {tool}?"), kind)
            }
            "choose" => {
                let end = rest.find('?').map_or(0, |mark| mark + 1);
                let (title, options) = rest.split_at_checked(end).unwrap_or(("", rest));
                let options: Vec<_> = options.split(',').map(str::trim).collect();
                asked(title, json!({ "type": "choose", "options": options }))
            }
            "text" => asked(rest, json!({ "type": "text" })),
            _ => asked(rest, json!({ "type": "confirm" })),
        }
    }
}

impl Agent {
    /// Asks, waits, and says what was answered; the desk stays open meanwhile.
    pub(super) async fn inquire(&mut self, inquiry: Inquiry) -> Result<(), Cut> {
        self.voice.questions += 1;
        let id = format!("k{}", self.voice.questions);
        let mut line = json!({
            "type": "question", "question": id, "title": inquiry.title, "kind": inquiry.kind
        });
        if let (Some(expires), Some(line)) = (inquiry.expires, line.as_object_mut()) {
            line.insert("expires_ms".to_owned(), json!(expires.as_millis()));
        }
        tell(&line);
        let heard = self.wait_for_answer(&id, inquiry.expires).await;
        if matches!(heard, Err(Cut::Over)) {
            return Err(Cut::Over);
        }
        tell(&json!({ "type": "question-settled", "question": id }));
        let said = match heard? {
            Heard::Expired => "nobody answered".to_owned(),
            Heard::Answer(command, said) => {
                tell(&json!({ "type": "accepted", "id": command }));
                said
            }
        };
        self.voice.perform(Step::Say(said)).await;
        Ok(())
    }

    async fn wait_for_answer(&mut self, id: &str, expires: Option<Duration>) -> Result<Heard, Cut> {
        let mut expiry = pin!(async {
            match expires {
                Some(expires) => sleep(expires).await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                biased;
                line = self.input.next_line() => {
                    let Ok(Some(line)) = line else { return Err(Cut::Over) };
                    if let Some(heard) = answer(&line, id) {
                        return Ok(heard);
                    }
                    if let Some(abort) = self.desk.take(&line, true) {
                        return Err(Cut::Aborted(abort));
                    }
                }
                () = &mut expiry => return Ok(Heard::Expired),
            }
        }
    }
}

/// The answer to this question, if the line is one.
fn answer(line: &str, question: &str) -> Option<Heard> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| line.get(key).and_then(Value::as_str);
    if text("type") != Some("answer") || text("question") != Some(question) {
        return None;
    }
    let said = match (line.get("yes").and_then(Value::as_bool), text("guidance")) {
        (Some(true), _) => "yes".to_owned(),
        (Some(false), _) => "no".to_owned(),
        (_, Some(guidance)) => format!("denied: {guidance}"),
        _ => text("choice").or_else(|| text("text")).unwrap_or("dismissed").to_owned(),
    };
    Some(Heard::Answer(line.get("id").cloned()?, said))
}
