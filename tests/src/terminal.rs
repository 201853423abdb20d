//! A program in a terminal of its own, as a person has it: keys go in, a screen comes out.

use std::{ffi::OsStr, process::Stdio};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::PATIENCE;

/// What a program asks a terminal where its cursor is with, and an answer.
const CURSOR: (&[u8], &[u8]) = (b"\x1b[6n", b"\x1b[1;1R");

/// What was written to the screen is remembered so far back, in bytes.
const REMEMBERED: usize = 1 << 20;

/// A terminal. What runs in it ends when this is dropped.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
}

impl Terminal {
    /// Runs a program in a new terminal, with `script` of util-linux between the two.
    ///
    /// # Errors
    /// When `script` is missing.
    pub fn run<S: AsRef<OsStr>>(
        program: &[S],
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut line = String::from("stty rows 50 columns 160; exec");
        for word in program {
            let word = word.as_ref().to_str().context("a word is not UTF-8")?;
            line.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
        }
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
            .envs(environment)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start `script`\nhint: it is in the package util-linux or bsdutils")?;
        let keys = child.stdin.take().context("no keys")?;
        let screen = child.stdout.take().context("no screen")?;
        Ok(Self { child, keys, screen, shown: Vec::new() })
    }

    /// Presses keys.
    pub async fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).await?;
        Ok(self.keys.flush().await?)
    }

    /// Reads until this text is on the screen, gives what is there up to its end, and forgets that.
    pub async fn until(&mut self, text: &str) -> Result<String> {
        let reading = async {
            loop {
                if let Some(end) = end_of(&self.shown, text) {
                    let passed: Vec<u8> = self.shown.drain(..end).collect();
                    return Ok(plain(&passed));
                }
                if !self.read().await? {
                    bail!("it ended");
                }
            }
        };
        let read = timeout(PATIENCE, reading).await.context("it does not come").and_then(|r| r);
        let shown = || plain(&self.shown);
        read.with_context(|| format!("waiting for {text:?}, this was on the screen:\n{}", shown()))
    }

    /// Reads until that is true, for what does not show on the screen.
    pub async fn while_waiting_for<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = std::pin::pin!(wanted);
        loop {
            tokio::select! {
                wanted = &mut wanted => return wanted,
                read = self.read() => if !matches!(read, Ok(true)) {
                    return wanted.await;
                },
            }
        }
    }

    /// Reads to the end of the program and gives its exit code.
    pub async fn ended(mut self) -> Result<Option<i32>> {
        let ending = async {
            while self.read().await? {}
            Ok(self.child.wait().await?.code())
        };
        timeout(PATIENCE, ending).await.context("it does not end")?
    }

    /// What is on the screen, without what only moves and colours it.
    pub fn shown(&self) -> String {
        plain(&self.shown)
    }

    async fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 8192];
        let read = self.screen.read(&mut buffer).await?;
        let new = buffer.get(..read).unwrap_or_default();
        if new.windows(CURSOR.0.len()).any(|part| part == CURSOR.0) {
            self.keys.write_all(CURSOR.1).await?;
        }
        self.shown.extend_from_slice(new);
        let surplus = self.shown.len().saturating_sub(REMEMBERED);
        self.shown.drain(..surplus);
        Ok(read > 0)
    }
}

/// Where this text ends among the bytes of a screen. Programs draw a line in pieces and move the
/// cursor over blanks, so neither blanks nor what only moves counts.
fn end_of(shown: &[u8], text: &str) -> Option<usize> {
    let wanted: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let drawn: Vec<(usize, u8)> = drawn(shown).filter(|(_, b)| !b.is_ascii_whitespace()).collect();
    let found = drawn
        .windows(wanted.len())
        .find(|window| window.iter().map(|(_, byte)| byte).eq(wanted.iter()))?;
    found.last().map(|(place, _)| place + 1)
}

/// The bytes that draw something, with their places.
fn drawn(shown: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    #[derive(Clone, Copy, PartialEq)]
    enum In {
        Text,
        Escape,
        Control,
        Title,
    }
    let mut state = In::Text;
    shown.iter().enumerate().filter_map(move |(place, byte)| {
        let (next, is_drawn) = match (state, byte) {
            (In::Text, 0x1b) => (In::Escape, false),
            (In::Text, byte) => (In::Text, *byte >= b' ' || *byte == b'\n'),
            (In::Escape, b'[') => (In::Control, false),
            (In::Escape, b']' | b'P' | b'_') => (In::Title, false),
            (In::Escape, b'(' | b')' | b' ' | b'#') => (In::Escape, false),
            (In::Escape, _) => (In::Text, false),
            (In::Control, 0x40..=0x7e) => (In::Text, false),
            (In::Control, _) => (In::Control, false),
            (In::Title, 0x07) => (In::Text, false),
            (In::Title, 0x1b) => (In::Escape, false),
            (In::Title, _) => (In::Title, false),
        };
        state = next;
        is_drawn.then_some((place, *byte))
    })
}

fn plain(shown: &[u8]) -> String {
    let drawn: Vec<u8> = drawn(shown).map(|(_, byte)| byte).collect();
    String::from_utf8_lossy(&drawn).into_owned()
}
