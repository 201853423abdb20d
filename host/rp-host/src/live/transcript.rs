//! Which messages of the mesh the conversation of a harness holds, as its own file tells.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use serde_json::Value;

/// The most that is read of a conversation.
const LARGEST_FILE: u64 = 1 << 30;

/// The longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// Those of these messages that the conversation in this file holds. A file that is not there is a
/// conversation that has not begun.
pub fn holds(file: &Path, ids: &[String]) -> Vec<String> {
    let mut held = Vec::new();
    let Ok(file) = File::open(file) else { return held };
    let mut file = BufReader::new(file.take(LARGEST_FILE));
    let mut line = Vec::new();
    while held.len() < ids.len() {
        line.clear();
        match (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let named: Vec<_> = ids.iter().filter(|id| text.contains(id.as_str())).collect();
        if named.is_empty() {
            continue;
        }
        let Ok(entry) = serde_json::from_str::<Value>(&text) else { continue };
        for id in named {
            if shows(&entry, id) && !held.contains(id) {
                held.push(id.clone());
            }
        }
    }
    held
}

/// Whether a text in this entry shows the message. What the model wrote and what tools gave it do
/// not count: there, a message can quote another.
fn shows(entry: &Value, id: &str) -> bool {
    match entry {
        Value::String(text) => rp_session::message_ids(text).any(|shown| shown == id),
        Value::Array(entries) => entries.iter().any(|entry| shows(entry, id)),
        Value::Object(fields) => {
            let is =
                |key: &str, value: &str| fields.get(key).and_then(Value::as_str) == Some(value);
            let is_quoted = is("role", "assistant")
                || ["tool_use", "tool_result", "function_call", "function_call_output"]
                    .into_iter()
                    .any(|kind| is("type", kind));
            !is_quoted
                && fields.iter().any(|(key, entry)| key != "toolUseResult" && shows(entry, id))
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

    fn header() -> String {
        format!("[mesh] message from \"/srv/a@a\" (agent, id={ID})\nhello")
    }

    #[test]
    fn a_message_counts_where_the_model_was_told_it_and_nowhere_else() {
        let told = json!({ "type": "user", "message": { "role": "user", "content": header() } });
        let context = json!({ "type": "attachment", "attachment": { "content": [header()] } });
        assert!(shows(&told, ID) && shows(&context, ID));
        let said = json!({ "message": { "role": "assistant", "content": header() } });
        let read = json!({ "message": { "role": "user", "content": [
            { "type": "tool_result", "content": header() },
        ] }, "toolUseResult": header() });
        let quoted = json!(format!("as in {}", header()));
        assert!(!shows(&said, ID) && !shows(&read, ID) && !shows(&quoted, ID));
    }

    #[test]
    fn a_conversation_that_has_not_begun_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("conversation.jsonl");
        assert!(holds(&file, &[ID.to_owned()]).is_empty());
        let lines = format!("{{}}\nnot JSON {ID}\n{}\n", json!({ "content": header() }));
        std::fs::write(&file, lines).unwrap();
        assert_eq!(holds(&file, &["another".to_owned(), ID.to_owned()]), [ID]);
    }
}
