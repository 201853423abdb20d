//! Tools that run.

use std::collections::BTreeMap;

use rp_sdk::interface::Event;
use rp_sdk::session::ToolCall;

use crate::decode::ToolLine;
use crate::messages::text;
use crate::session::Pi;

/// How much of the end of an output is looked for in the next, in characters.
const OVERLAP: usize = 64;

#[derive(Debug)]
struct Tool {
    call: ToolCall,
    /// All its output so far, as Pi gave it last.
    output: String,
}

#[derive(Debug, Default)]
pub(crate) struct Tools(BTreeMap<String, Tool>);

impl Pi {
    pub(crate) fn tool_started(&mut self, line: ToolLine<'_>) {
        if !self.turn.is_open() {
            return;
        }
        let id = line.tool_call_id.into_owned();
        let input = line.args.map_or("{}", |args| args.get());
        let call = ToolCall::new(id.clone(), line.tool_name.into_owned(), input);
        self.tools.0.insert(id, Tool { call: call.clone(), output: String::new() });
        self.effects.event(Event::ToolStarted(call));
    }

    /// Pi gives all output so far each time; clients get what is new in it.
    pub(crate) fn tool_updated(&mut self, line: ToolLine<'_>) {
        let Some(tool) = self.tools.0.get_mut(&*line.tool_call_id) else {
            return;
        };
        let output = text(line.partial_result.and_then(|result| result.content));
        let piece = added(&tool.output, &output).to_owned();
        tool.output = output;
        if !piece.is_empty() {
            self.effects.event(Event::ToolProgress((line.tool_call_id.into_owned(), piece)));
        }
    }

    pub(crate) fn tool_ended(&mut self, line: ToolLine<'_>) {
        let Some(tool) = self.tools.0.remove(&*line.tool_call_id) else {
            return;
        };
        let output = text(line.result.and_then(|result| result.content));
        self.effects.event(Event::ToolEnded(ToolCall {
            output: Some(output),
            failed: line.is_error,
            ..tool.call
        }));
    }

    /// The turn ended without a word about these.
    pub(crate) fn end_open_tools(&mut self) {
        for (_, tool) in std::mem::take(&mut self.tools.0) {
            let output = (!tool.output.is_empty()).then_some(tool.output);
            self.effects.event(Event::ToolEnded(ToolCall { output, failed: true, ..tool.call }));
        }
    }
}

/// What is new in an output. Pi cuts long output at its beginning, so what came before may
/// be gone from it; then the end of the old output is looked for in the new.
fn added<'a>(before: &str, now: &'a str) -> &'a str {
    if let Some(piece) = now.strip_prefix(before) {
        return piece;
    }
    let end = before.char_indices().rev().take(OVERLAP).last().map_or(0, |(at, _)| at);
    let Some(end) = before.get(end..).filter(|end| !end.is_empty()) else {
        return now;
    };
    match now.rsplit_once(end) {
        Some((_, piece)) => piece,
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::added;

    #[test]
    fn growing_output_gives_its_new_end() {
        assert_eq!(added("", "one\n"), "one\n");
        assert_eq!(added("one\n", "one\ntwo\n"), "two\n");
        assert_eq!(added("one\n", "one\n"), "");
    }

    #[test]
    fn output_that_was_cut_at_its_beginning_gives_what_follows_the_old_end() {
        let before: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let now: String = (20..53).map(|n| format!("line {n}\n")).collect();
        assert_eq!(added(&before, &now), "line 50\nline 51\nline 52\n");
    }

    #[test]
    fn output_that_was_replaced_is_given_whole() {
        assert_eq!(added("first try", "second"), "second");
    }
}
