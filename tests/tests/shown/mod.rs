//! What a person sees at the terminal, as a snapshot.

use rp_tests::host::{Host, Output};

/// A command as it was typed, and everything that came of it; what differs between machines
/// and runs is replaced.
pub async fn show(host: &Host, arguments: &[&str]) -> String {
    let output = host.run(arguments).await.unwrap();
    let Output { stdout, stderr, code } = output;
    let mut text = format!("$ rp-host {}\n{stdout}", arguments.join(" "));
    if !stderr.is_empty() {
        text.push_str(&format!("--- stderr\n{stderr}"));
    }
    if code != Some(0) {
        text.push_str(&format!("--- exit code {}\n", code.unwrap()));
    }
    text.replace(&host.root().ancestors().nth(2).unwrap().display().to_string(), "ROOT")
}

/// Several, one after the other.
#[allow(dead_code, reason = "not every test shows several")]
pub async fn transcript(host: &Host, commands: &[&[&str]]) -> String {
    let mut text = String::new();
    for command in commands {
        text.push_str(&show(host, command).await);
        text.push('\n');
    }
    text
}

/// What differs between machines and runs is replaced.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    for (pattern, replacement) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\b67108864\b", "[64 MiB]"),
        (r"\b[0-9a-f]{8}\b", "[id]"),
        (r"(demo +|agents/\S+ +)(starting|idle|working)\b", "${1}[running]"),
        // Whether an id is like a name is chance.
        (r"did you mean \[id\]\? ", ""),
        (r"process \d+", "process [pid]"),
        (r"\d{2}:\d{2}:\d{2}\.\d{3}", "[time]"),
        (r"\+?\d+ (ms|s|min)\b", "[duration]"),
        (r"size +\d+ bytes", "size [n] bytes"),
        (r"(demo +)\d+( +)", "${1}[pid]${2}"),
        (r" +\n", "\n"),
        // How wide a column is depends on what was replaced.
        (r"(\[(?:pid|duration|id)\]|PID|UP|AFTER|ID)  +", "${1}  "),
    ] {
        settings.add_filter(pattern, replacement);
    }
    settings
}

macro_rules! assert_shown {
    ($name:literal, $text:expr) => {
        let text = $text;
        $crate::shown::settings().bind(|| insta::assert_snapshot!($name, text));
    };
}
