//! A session in the terminal: what is typed is a prompt, Ctrl-C aborts the turn, Ctrl-D leaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::process::Stdio;

use rp_tests::{PATIENCE, host::Host, target};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// `rp-host attach` as a person has it on the screen.
struct Terminal {
    child: Child,
    output: ChildStdout,
    shown: String,
}

impl Terminal {
    fn attach(host: &Host, agent: &str) -> Self {
        let program = target::program("rp-host", "RP_HOST_BIN").unwrap();
        let home = host.root().ancestors().nth(2).unwrap().to_owned();
        let mut child = Command::new(program)
            .args(["attach", agent])
            .env("REMOTE_PI_HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        Self { child, output, shown: String::new() }
    }

    async fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Reads until this is on the screen.
    async fn until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        while !self.shown.contains(text) {
            let read = timeout(PATIENCE, self.output.read(&mut buffer)).await.unwrap().unwrap();
            assert!(read > 0, "it ended before {text:?}: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
}

#[tokio::test]
async fn a_person_prompts_aborts_and_leaves() {
    let host = Host::start(Vec::new()).await.unwrap();
    let agent = host.create("api").await.unwrap();
    let mut terminal = Terminal::attach(&host, "api");

    terminal.type_line("say hello there").await;
    terminal.until("hello there\n— done\n").await;

    terminal.type_line("slow 1000000 1").await;
    terminal.until("w3 ").await;
    let pid = i32::try_from(terminal.child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
    terminal.until("— aborted\n").await;

    terminal.type_line(&format!("ask {} are you there?", agent["address"].as_str().unwrap())).await;
    terminal.until("✗ agent_send").await;

    drop(terminal.child.stdin.take());
    let status = timeout(PATIENCE, terminal.child.wait()).await.unwrap().unwrap();
    assert!(status.success());
    let agent = host.get(&format!("/v1/agents/{}", agent["id"].as_str().unwrap())).await.unwrap();
    assert_eq!(agent["state"], "idle");
}

#[tokio::test]
async fn questions_are_answered_by_typing_and_who_answered_elsewhere_is_shown() {
    let host = Host::start(Vec::new()).await.unwrap();
    host.create("api").await.unwrap();
    let mut one = Terminal::attach(&host, "api");
    let mut other = Terminal::attach(&host, "api");

    one.type_line("permit bash ls").await;
    let question = "? q1 May I use bash?\n  bash {\"text\":\"ls\"}\n  1 Allow once\n  2 Always allow\n  \
                    3 Deny\n";
    one.until(question).await;
    other.until(question).await;
    host.run_json(&["answer", "q1", "allow"]).await.unwrap();
    one.until("— answered by the command line: Allow once\n").await;
    other.until("— answered by the command line: Allow once\n").await;

    one.type_line("confirm Go on?").await;
    other.until("? q2 Go on?\n  1 yes\n  2 no\n").await;
    other.type_line("2").await;
    one.until("— answered by attach: no\nno\n— done\n").await;

    one.type_line("confirm Really?").await;
    one.until("? q3 Really?").await;
    host.run_json(&["daemon", "stop", "api"]).await.unwrap();
    one.until("— lost: what asked it ended\n").await;
}

#[tokio::test]
async fn input_from_a_pipe_is_worked_off_and_a_crash_hides_no_history() {
    let mut host = Host::start(Vec::new()).await.unwrap();
    let agent = host.create("api").await.unwrap();
    let mut terminal = Terminal::attach(&host, "api");
    terminal.type_line("say one").await;
    terminal.type_line("say two").await;
    drop(terminal.child.stdin.take());
    terminal.until("one").await;
    terminal.until("two\n— done\n").await;
    let status = timeout(PATIENCE, terminal.child.wait()).await.unwrap().unwrap();
    assert!(status.success());
    // The end of a turn is on its way to the disk when it is shown, and is there before this is.
    host.run_json(&["send", agent["address"].as_str().unwrap(), "1+1"]).await.unwrap();

    host.run_json(&["daemon", "stop", "api"]).await.unwrap();
    let mut terminal = Terminal::attach(&host, "api");
    terminal.type_line("say three").await;
    drop(terminal.child.stdin.take());
    let status = timeout(PATIENCE, terminal.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1), "a prompt that was not taken is a failure");

    host.kill().unwrap();
    host.start_again().await.unwrap();
    let mut terminal = Terminal::attach(&host, "api");
    terminal.until("one").await;
    terminal.until("two\n— done\n").await;

    host.run_json(&["remove", "api"]).await.unwrap();
    let status = timeout(PATIENCE, terminal.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1), "it was removed; the daemon is well");
}
