//! What the scripted model does, decided by the last text the user said.
//!
//! A prompt holds instructions after `script:`, up to the end of its line, separated by ` ;; `:
//!
//! | instruction | the model |
//! |---|---|
//! | `say TEXT` | says it; `$result` in the text is what the last tool returned |
//! | `think TEXT` | thinks it |
//! | `slow N MS` | says N words, one every MS milliseconds |
//! | `shell COMMAND` | runs it with the tool that the harness has for that |
//! | `tool NAME JSON` | calls that tool, whatever its harness puts before the name; `$id` in the JSON is the last id that a tool returned, `$result` the last thing |
//! | `relay ADDRESS… :: TEXT` | asks the first address to relay it to the others, waits for the answer and gives it to whoever asked |
//! | `fail CODE [TIMES]` | answers with this HTTP status, every time or so many times |
//! | `cut [TIMES]` | breaks its answer off in the middle |
//! | `endless` | talks until nobody listens |
//!
//! A tool call ends a model call; the model call after the tool's result goes on behind it.
//! What `rp-host component test --live` asks a model for in plain words is done, too.
//! A message from the mesh is answered with `agent_send`, once; an answer is repeated and not
//! answered. A script inside a message goes before that.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Say this, where `$result` stands for what the last tool returned.
    Say(String),
    /// Think this.
    Think(String),
    /// Say so many words with so many milliseconds after each.
    Slow {
        /// How many words.
        words: u32,
        /// Milliseconds after each.
        gap_ms: u64,
    },
    /// Answer with an HTTP status.
    Fail {
        /// The status.
        status: u16,
        /// How often, before the instruction counts as done.
        times: u32,
    },
    /// Break off in the middle of the answer.
    Cut {
        /// How often, before the instruction counts as done.
        times: u32,
    },
    /// Talk until the client hangs up.
    Endless,
    /// Run this command.
    Shell(String),
    /// Call a tool; the arguments are JSON text.
    Tool {
        /// The tool's name, without what a harness puts before it.
        name: String,
        /// Its arguments, where `$id` stands for the last id a tool returned and `$result` for
        /// the last thing.
        arguments: String,
    },
}

/// What to do about a text: all its instructions, in order.
///
/// # Errors
/// When an instruction is not one of those above.
pub fn steps(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut before = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(header) = Header::parse(line) else {
            before.push_str(line);
            before.push('\n');
            continue;
        };
        let mut body = Vec::new();
        while let Some(line) =
            lines.next_if(|line| !line.is_empty() && Header::parse(line).is_none())
        {
            body.push(line);
        }
        steps.extend(header.steps(&body.join("\n"))?);
    }
    if let Some(script) = script_in(&before) {
        let own = instructions(script, None)?;
        steps.splice(0..0, own);
    }
    if steps.is_empty() {
        steps.extend(plainly_asked(&before));
    }
    if steps.is_empty() {
        steps.push(Step::Say("There was no script in that.".to_owned()));
    }
    Ok(steps)
}

/// The steps of one model call: those behind `done` tool calls, up to the next tool call.
pub fn call(steps: &[Step], done: usize) -> &[Step] {
    let is_tool = |step: &Step| matches!(step, Step::Tool { .. } | Step::Shell(_));
    steps.split_inclusive(is_tool).nth(done).unwrap_or_default()
}

/// What the conformance kit's prompts ask for.
fn plainly_asked(text: &str) -> Vec<Step> {
    let say = |text: &str| Step::Say(text.to_owned());
    let quoted = || text.split('`').nth(1).unwrap_or_default().to_owned();
    let last_word = || say(text.trim().rsplit(' ').next().unwrap_or_default());
    if text.starts_with("Write the numbers from 1 to ") {
        vec![Step::Endless]
    } else if text.starts_with("Call the tool list_peers once") {
        let call = Step::Tool { name: "list_peers".to_owned(), arguments: "{}".to_owned() };
        vec![call, last_word()]
    } else if text.starts_with("Run the shell command `") {
        vec![Step::Shell(quoted()), last_word()]
    } else if text.starts_with("Reply with the single word: ") {
        vec![last_word()]
    } else {
        Vec::new()
    }
}

fn script_in(text: &str) -> Option<&str> {
    let (_, script) = text.split_once("script:")?;
    script.lines().next()
}

/// The steps of a script that a message may have brought.
fn instructions(script: &str, message: Option<&Header<'_>>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for text in script.split(" ;; ") {
        match text.trim().strip_prefix("relay ") {
            Some(relay) => steps.extend(relayed(relay, message)?),
            None => steps.push(instruction(text)?),
        }
    }
    Ok(steps)
}

fn relayed(relay: &str, message: Option<&Header<'_>>) -> Result<Vec<Step>> {
    let (addresses, text) = relay.split_once(" :: ").context("a relay has a text behind `::`")?;
    let (next, others) = addresses.split_once(' ').unwrap_or((addresses, ""));
    let body = if others.is_empty() {
        text.to_owned()
    } else {
        format!("script: relay {others} :: {text}")
    };
    let tool = |name: &str, arguments: Value| Step::Tool {
        name: name.to_owned(),
        arguments: arguments.to_string(),
    };
    let mut steps = vec![
        tool("agent_send", json!({ "to": next, "body": body })),
        tool("agent_wait", json!({ "id": "$id" })),
    ];
    match message {
        Some(message) => steps.extend(message.answer("$result")),
        None => steps.push(Step::Say("$result".to_owned())),
    }
    Ok(steps)
}

fn instruction(text: &str) -> Result<Step> {
    let text = text.trim();
    let text = text.strip_prefix("script:").unwrap_or(text).trim();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let wrong = || format!("this instruction is not understood: {text}");
    let mut numbers = rest.split_whitespace().map(str::parse::<u32>);
    let mut number = || numbers.next().transpose().with_context(wrong);
    Ok(match word {
        "say" => Step::Say(rest.to_owned()),
        "think" => Step::Think(rest.to_owned()),
        "slow" => {
            let (words, gap) = (number()?, number()?);
            Step::Slow {
                words: words.with_context(wrong)?,
                gap_ms: gap.with_context(wrong)?.into(),
            }
        }
        "fail" => {
            let status = number()?.and_then(|status| u16::try_from(status).ok());
            Step::Fail { status: status.with_context(wrong)?, times: number()?.unwrap_or(u32::MAX) }
        }
        "cut" => Step::Cut { times: number()?.unwrap_or(u32::MAX) },
        "endless" => Step::Endless,
        "shell" => Step::Shell(rest.to_owned()),
        "tool" => {
            let (name, arguments) = rest.split_once(' ').unwrap_or((rest, "{}"));
            serde_json::from_str::<Value>(arguments).with_context(wrong)?;
            Step::Tool { name: name.to_owned(), arguments: arguments.to_owned() }
        }
        _ => bail!(wrong()),
    })
}

/// The first line of an injected message: `[mesh] message from "ADDRESS" (agent, id=ID, re=ID)`.
struct Header<'a> {
    from: &'a str,
    id: &'a str,
    is_answer: bool,
}

impl<'a> Header<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let rest = line.strip_prefix("[mesh] message from \"")?;
        let (from, rest) = rest.split_once("\" (")?;
        let (facts, _) = rest.split_once(')')?;
        let fact = |key| facts.split(',').find_map(|fact| fact.trim().strip_prefix(key));
        Some(Self { from, id: fact("id=")?, is_answer: fact("re=").is_some() })
    }

    fn steps(&self, body: &str) -> Result<Vec<Step>> {
        if let Some(script) = script_in(body) {
            return instructions(script, Some(self));
        }
        if self.is_answer {
            return Ok(vec![Step::Say(format!("got answer: {body}"))]);
        }
        Ok(self.answer(&format!("answer to: {body}")).into())
    }

    fn answer(&self, body: &str) -> [Step; 2] {
        let answer = json!({ "to": self.from, "body": body, "re": self.id });
        let send = Step::Tool { name: "agent_send".to_owned(), arguments: answer.to_string() };
        [send, Step::Say("answered".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

    use super::*;

    fn say(text: &str) -> Step {
        Step::Say(text.to_owned())
    }

    #[test]
    fn a_tool_call_ends_a_model_call_and_the_next_goes_on_behind_it() {
        let steps = steps("please\nscript: think hm ;; shell ls -l ;; say a ;; say b").unwrap();
        let shell = Step::Shell("ls -l".to_owned());
        assert_eq!(call(&steps, 0), [Step::Think("hm".to_owned()), shell]);
        assert_eq!(call(&steps, 1), [say("a"), say("b")]);
        assert_eq!(call(&steps, 2), []);
    }

    #[test]
    fn a_message_from_the_mesh_is_answered_and_an_answer_is_not() {
        let question = "[mesh] message from \"/srv/a@a\" (agent, id=7)\nhow\nmany?\n\nAnswer it.";
        let [Step::Tool { name, arguments }, last] = &steps(question).unwrap()[..] else {
            panic!("a call and a word");
        };
        assert_eq!((name.as_str(), last), ("agent_send", &say("answered")));
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let expected = json!({ "to": "/srv/a@a", "body": "answer to: how\nmany?", "re": "7" });
        assert_eq!(arguments, expected);

        let answer = "[mesh] message from \"/srv/a@a\" (person, id=8, re=7)\nthree";
        assert_eq!(steps(answer).unwrap(), [say("got answer: three")]);
    }

    #[test]
    fn a_question_is_relayed_from_one_to_the_next_and_answered_backwards() {
        let tools = |text: &str| -> Vec<(String, Value)> {
            let steps = steps(text).unwrap();
            let tools = steps.into_iter().filter_map(|step| match step {
                Step::Tool { name, arguments } => Some((name, arguments)),
                _ => None,
            });
            tools.map(|(name, json)| (name, serde_json::from_str(&json).unwrap())).collect()
        };
        let send = |arguments: Value| ("agent_send".to_owned(), arguments);
        let wait = ("agent_wait".to_owned(), json!({ "id": "$id" }));
        let first = tools("script: relay /b@b /c@c :: which colour?");
        let body = "script: relay /c@c :: which colour?";
        assert_eq!(first, [send(json!({ "to": "/b@b", "body": body })), wait.clone()]);
        let second = tools(&format!("[mesh] message from \"/a@a\" (agent, id=7)\n{body}\n"));
        let asks = send(json!({ "to": "/c@c", "body": "which colour?" }));
        let answers = send(json!({ "to": "/a@a", "body": "$result", "re": "7" }));
        assert_eq!(second, [asks, wait, answers]);
    }

    #[test]
    fn every_message_of_a_batch_is_dealt_with() {
        let batch = "[mesh] message from \"a\" (agent, id=1, re=9)\none\n\n\
                     [mesh] message from \"a\" (agent, id=2)\nscript: say two\n";
        assert_eq!(steps(batch).unwrap(), [say("got answer: one"), say("two")]);
    }

    #[test]
    fn an_unknown_instruction_is_an_error() {
        assert!(steps("script: dance").is_err());
        assert!(steps("script: tool list_peers {").is_err());
        assert!(steps("script: slow 5").is_err());
    }
}
