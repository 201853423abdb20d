//! Every recording of a folder at once.

use std::path::Path;

use super::golden;
use super::recording::{Case, Line, cases, read};
use super::run::{Recording, Translator, replay_of};
use crate::Adapter;

/// Replays every recording in a folder and compares what the adapter does with the file of the
/// same name in `golden`, and what the adapter was told with `sessions.jsonl` beside the recordings,
/// from which `rp-host component test` replays them. Gives what is wrong, in words: nothing if all is
/// well.
pub fn replay_folder<A: Adapter, T: Translator>(
    recordings: &Path,
    golden: &Path,
    prepare: impl Fn(&Case, Vec<Line>) -> Recording<T>,
) -> Vec<String> {
    let cases = match cases(recordings) {
        Ok(cases) => cases,
        Err(error) => return vec![error],
    };
    let mut wrong = Vec::new();
    let mut sessions = String::new();
    for (name, case) in cases {
        let lines = match read(&recordings.join(format!("{name}.jsonl"))) {
            Ok(lines) => lines,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let replay = replay_of::<A, T>(&case, prepare(&case, lines.clone()), &lines);
        sessions.push_str(&replay.calls.to_line(&name));
        wrong.extend(golden::compare(&golden.join(format!("{name}.txt")), &replay.text).err());
        wrong.extend(replay.problems.iter().map(|problem| format!("{name}: {problem}")));
    }
    wrong.extend(golden::compare(&recordings.join("sessions.jsonl"), &sessions).err());
    wrong
}
