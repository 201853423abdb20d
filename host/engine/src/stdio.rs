//! Standard output and standard error of a component: lines of its log.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::log::{ComponentLog, LINE_BYTES, Level};

/// Bytes one write may carry.
const WRITE_BYTES: usize = 64 << 10;

/// A stream that cuts what it gets into lines and logs them. Clones write to one stream.
#[derive(Clone)]
pub(crate) struct LineStream(Arc<Mutex<Lines>>);

struct Lines {
    log: Arc<ComponentLog>,
    session: Arc<str>,
    level: Level,
    partial: Vec<u8>,
}

impl LineStream {
    pub(crate) fn new(log: Arc<ComponentLog>, session: Arc<str>, level: Level) -> Self {
        LineStream(Arc::new(Mutex::new(Lines { log, session, level, partial: Vec::new() })))
    }

    fn push(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            // What does not fit a line of the log would be cut off there anyway.
            let room = LINE_BYTES.saturating_sub(self.partial.len());
            self.partial.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        let line = std::mem::take(&mut self.partial);
        self.log.write(self.level, &self.session, String::from_utf8_lossy(&line).trim_end());
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.finish();
        }
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;
    use crate::log::Logs;

    #[test]
    fn output_is_logged_by_line_and_long_lines_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let log = Logs::new(folder.path().to_owned()).component("demo");
        let stream = LineStream::new(log, "scout".into(), Level::Warn);
        stream.push(b"one\ntw");
        stream.push(b"o\n");
        stream.push(&vec![b'x'; 3 * LINE_BYTES]);
        stream.push(b"\nlast");
        drop(stream);
        let text = std::fs::read_to_string(folder.path().join("demo.log")).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        let long = format!("WARN scout {}", "x".repeat(LINE_BYTES));
        assert_eq!(lines, ["WARN scout one", "WARN scout two", &long, "WARN scout last"]);
    }
}
