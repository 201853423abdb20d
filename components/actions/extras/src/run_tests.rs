//! The agent runs the project's tests, and what it says becomes a report.

use rp_sdk::handler::{Outcome, Peer, Progress, Step};
use rp_sdk::session::{Failure, FailureKind};

use crate::answers::text;

const QUESTION: &str = "\
Run this project's own tests and say what came of it.

- Find out from the project how they are run, and run all of them once in that way.
- Change nothing: edit no file, repair nothing, install nothing, commit nothing, write to nobody.
- If they cannot be run, say what is missing.

End your answer with one line for each test that failed, at most 50 of them, and then one line with the \
result, exactly in this form and with nothing behind it:

failing: name of the test
tests: failed

The last line is `tests: passed`, `tests: failed` or `tests: not run`.";

pub(crate) fn run_tests(agent: &Peer, replies: &[Outcome]) -> Result<Progress, Failure> {
    let Some(answer) = replies.get(1) else {
        let notice = format!("{} runs the tests, which can take a while", agent.name);
        return Ok(Progress::Steps(vec![Step::Notify(notice), Step::Ask(QUESTION.to_owned())]));
    };
    let name = &agent.name;
    match Report::read(&text(agent, answer)?) {
        Some(report) => Ok(Progress::Finished(report.for_person(name))),
        None => {
            let message = format!("{name} did not say whether the tests passed");
            let failure = Failure::new(FailureKind::Harness, message);
            Err(failure.with_hint("its last message says what it did"))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    NotRun,
}

/// What the agent said of the tests.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    verdict: Verdict,
    failing: Vec<String>,
    /// The rest of its answer.
    account: String,
}

impl Report {
    /// The last result counts; a test that is named as failing makes passed tests failed ones.
    fn read(answer: &str) -> Option<Report> {
        let (mut verdict, mut failing, mut account) = (None, Vec::new(), Vec::new());
        for line in answer.lines() {
            let plain = line.trim_matches(|letter: char| " \t*`_->".contains(letter));
            if let Some(name) = value(plain, "failing:") {
                failing.push(name.to_owned());
                continue;
            }
            match value(plain, "tests:").map(str::to_ascii_lowercase).as_deref() {
                Some("passed") => verdict = Some(Verdict::Passed),
                Some("failed") => verdict = Some(Verdict::Failed),
                Some("not run") => verdict = Some(Verdict::NotRun),
                _ => account.push(line),
            }
        }
        let verdict = match verdict? {
            Verdict::Passed if !failing.is_empty() => Verdict::Failed,
            verdict => verdict,
        };
        Some(Report { verdict, failing, account: account.join("\n").trim().to_owned() })
    }

    fn for_person(&self, agent: &str) -> String {
        let mut text = match (self.verdict, self.failing.len()) {
            (Verdict::Passed, _) => format!("{agent} says that the tests passed"),
            (Verdict::NotRun, _) => format!("{agent} says that the tests were not run"),
            (Verdict::Failed, 0) => format!("{agent} says that tests failed, but not which"),
            (Verdict::Failed, 1) => format!("{agent} says that this test failed:"),
            (Verdict::Failed, count) => format!("{agent} says that these {count} tests failed:"),
        };
        for name in &self.failing {
            text.push_str("\n- ");
            text.push_str(name);
        }
        if !self.account.is_empty() {
            text.push_str("\n\n");
            text.push_str(&self.account);
        }
        text
    }
}

/// What stands behind the key, which may have capital letters and come in bold.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = line.split_at_checked(key.len())?;
    let value = value.trim_matches([' ', '*', '`', '_']);
    (name.eq_ignore_ascii_case(key) && !value.is_empty()).then_some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_however_it_is_decorated() {
        let cases = [
            ("tests: passed", Verdict::Passed, vec![], ""),
            ("All is well.\n\n**Tests:** passed", Verdict::Passed, vec![], "All is well."),
            ("`tests: not run`", Verdict::NotRun, vec![], ""),
            ("tests: failed", Verdict::Failed, vec![], ""),
            (
                "I ran them.\nfailing: a::b\n- failing: `c d`\nTESTS: FAILED\n",
                Verdict::Failed,
                vec!["a::b", "c d"],
                "I ran them.",
            ),
            ("tests: passed\nfailing: a", Verdict::Failed, vec!["a"], ""),
            ("tests: failed\nonce more\ntests: passed", Verdict::Passed, vec![], "once more"),
            ("tests: 12 ran\ntests: passed", Verdict::Passed, vec![], "tests: 12 ran"),
            ("failing:\ntests: failed", Verdict::Failed, vec![], "failing:"),
        ];
        for (answer, verdict, failing, account) in cases {
            let report = Report::read(answer).unwrap();
            assert_eq!(report.verdict, verdict, "{answer}");
            assert_eq!(report.failing, failing, "{answer}");
            assert_eq!(report.account, account, "{answer}");
        }
        for answer in
            ["", "They passed.", "tests: perhaps", "tests:", "failing: a", "tésts: passed"]
        {
            assert_eq!(Report::read(answer), None, "{answer}");
        }
    }
}
