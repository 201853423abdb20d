//! How the output of a process is cut into pieces: by LF and nothing else, at any chunk
//! boundary, with a limit on what is kept.

/// The longest line of standard output that is kept, in bytes.
pub const LINE_LIMIT: usize = 64 << 20;
/// The longest line of standard error that is kept, in bytes.
pub const DIAGNOSTIC_LIMIT: usize = 4096;

/// A piece of a process's standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A line without its LF, or a chunk, as the framing asked.
    Data(Vec<u8>),
    /// A line of this many bytes was longer than the limit and is lost.
    Dropped {
        /// Length of the line.
        bytes: u64,
    },
}

/// Cuts standard output into lines.
#[derive(Debug)]
pub struct LineSplitter {
    limit: usize,
    partial: Vec<u8>,
    /// Bytes of the line being dropped, once it grew past the limit.
    dropping: Option<u64>,
}

impl LineSplitter {
    /// Lines of up to `limit` bytes are kept.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), dropping: None }
    }

    /// Takes what was read and gives the lines it completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = rest.next() {
            self.extend(part);
            if rest.peek().is_some() {
                pieces.push(self.take());
            }
        }
        pieces
    }

    /// Gives the last line when the output ended without LF.
    pub fn finish(&mut self) -> Option<Piece> {
        (self.dropping.is_some() || !self.partial.is_empty()).then(|| self.take())
    }

    fn extend(&mut self, part: &[u8]) {
        if let Some(bytes) = &mut self.dropping {
            *bytes += part.len() as u64;
        } else if self.partial.len() + part.len() > self.limit {
            self.dropping = Some((self.partial.len() + part.len()) as u64);
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(part);
        }
    }

    fn take(&mut self) -> Piece {
        match self.dropping.take() {
            Some(bytes) => Piece::Dropped { bytes },
            None => Piece::Data(std::mem::take(&mut self.partial)),
        }
    }
}

/// Cuts standard error into lines of text that are short enough to keep.
#[derive(Debug, Default)]
pub struct DiagnosticLines {
    partial: Vec<u8>,
}

impl DiagnosticLines {
    /// Takes what was read and gives the lines it completes, cut at
    /// [`DIAGNOSTIC_LIMIT`] bytes between two characters, invalid UTF-8 replaced.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = rest.next() {
            // The character that straddles the limit is kept whole, so that the cut can be
            // made before it.
            let room = (DIAGNOSTIC_LIMIT + 3).saturating_sub(self.partial.len());
            self.partial.extend(part.iter().take(room));
            if rest.peek().is_some() {
                lines.push(self.take());
            }
        }
        lines
    }

    /// Gives the last line when the output ended without LF.
    pub fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let mut line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        line.truncate(line.floor_char_boundary(DIAGNOSTIC_LIMIT));
        if line.ends_with('\r') {
            line.pop();
        }
        line
    }
}

/// Bounds how many lines of standard error are passed on: 200 at once, 50 a second after
/// that. What is left out is counted and said with the next line that passes.
#[derive(Debug)]
pub struct DiagnosticRate {
    tokens: u64,
    refilled_ms: u64,
    left_out: u64,
}

const RATE_BURST: u64 = 200;
const RATE_REFILL_MS: u64 = 20;

impl DiagnosticRate {
    /// A full bucket at this time.
    #[must_use]
    pub fn new(now_ms: u64) -> Self {
        Self { tokens: RATE_BURST, refilled_ms: now_ms, left_out: 0 }
    }

    /// Passes the line, with what is said of lines left out before it, or leaves it out.
    pub fn pass(&mut self, line: String, now_ms: u64) -> Vec<String> {
        let earned = now_ms.saturating_sub(self.refilled_ms) / RATE_REFILL_MS;
        self.refilled_ms += earned * RATE_REFILL_MS;
        self.tokens = (self.tokens + earned).min(RATE_BURST);
        if self.tokens == 0 {
            self.left_out += 1;
            return Vec::new();
        }
        self.tokens -= 1;
        self.left_out().into_iter().chain([line]).collect()
    }

    /// Counts a line that could not be passed on for another reason.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// Says how many lines were left out since this was last said.
    pub fn left_out(&mut self) -> Option<String> {
        let count = std::mem::take(&mut self.left_out);
        (count > 0).then(|| format!("({count} lines of standard error left out)"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
    use super::*;
    use proptest::prelude::*;

    fn data(text: &str) -> Piece {
        Piece::Data(text.as_bytes().to_vec())
    }

    #[test]
    fn only_a_line_feed_ends_a_line() {
        let mut splitter = LineSplitter::new(100);
        let text = "a\u{2028}b\u{85}c\rd\n\nrest";
        assert_eq!(splitter.push(text.as_bytes()), [data("a\u{2028}b\u{85}c\rd"), data("")]);
        assert_eq!(splitter.finish(), Some(data("rest")));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn a_line_over_the_limit_is_dropped_and_reading_goes_on() {
        let mut splitter = LineSplitter::new(4);
        assert_eq!(splitter.push(b"1234\n12345"), [data("1234")]);
        assert_eq!(splitter.push(b"678"), []);
        assert_eq!(splitter.push(b"9\nnext\n"), [Piece::Dropped { bytes: 9 }, data("next")]);
        assert_eq!(splitter.push(b"too long"), []);
        assert_eq!(splitter.finish(), Some(Piece::Dropped { bytes: 8 }));
    }

    #[test]
    fn a_diagnostic_is_cut_between_characters() {
        let mut lines = DiagnosticLines::default();
        let long = format!("x{}\nshort\r\n", "é".repeat(4000));
        let cut = lines.push(long.as_bytes());
        assert_eq!(cut[0].len(), 4095);
        assert!(cut[0].ends_with('é'));
        assert_eq!(cut[1], "short");
        assert_eq!(lines.push(b"bad \xff byte"), Vec::<String>::new());
        assert_eq!(lines.finish().unwrap(), "bad \u{fffd} byte");
    }

    #[test]
    fn a_flood_of_diagnostics_is_thinned_and_the_gap_is_told() {
        let mut rate = DiagnosticRate::new(0);
        let passed: usize = (0..1000).map(|_| rate.pass("x".into(), 0).len()).sum();
        assert_eq!(passed, 200);
        assert_eq!(
            rate.pass("y".into(), 20),
            ["(800 lines of standard error left out)".to_owned(), "y".to_owned()]
        );
        assert_eq!(rate.left_out(), None);
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(
            bytes in prop::collection::vec(prop::sample::select(b"ab\n\r\xff".to_vec()), 0..200),
            cuts in prop::collection::vec(1usize..20, 1..40),
            limit in 1usize..10,
        ) {
            let mut whole = LineSplitter::new(limit);
            let mut expected = whole.push(&bytes);
            expected.extend(whole.finish());

            let mut pieces = LineSplitter::new(limit);
            let mut found = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(pieces.push(chunk));
                rest = after;
            }
            found.extend(pieces.finish());
            prop_assert_eq!(found, expected);
        }
    }
}
