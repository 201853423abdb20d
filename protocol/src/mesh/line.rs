//! Line framing: one JSON value per line, ended by a line feed.

use memchr::memchr;

/// The longest line this program accepts, in bytes without the line feed: 32 MiB.
pub const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;

/// What a decoder keeps of its buffer when everything in it has been read.
const KEPT_CAPACITY: usize = 64 * 1024;

/// A line longer than the decoder allows. Nothing more can be read from that stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The limit in bytes.
    pub limit: usize,
}

/// Cuts a byte stream into lines. Every byte is looked at once, however the stream is chunked.
///
/// Append bytes with [`LineDecoder::buffer`] or [`LineDecoder::extend`], then call
/// [`LineDecoder::next_line`] until it has no more. Empty lines are skipped. Bytes after the last
/// line feed wait for the rest of their line.
#[derive(Debug)]
pub struct LineDecoder {
    buffer: Vec<u8>,
    /// Everything before is handed out.
    start: usize,
    /// Everything before holds no line feed after `start`.
    searched: usize,
    limit: usize,
    failed: bool,
}

impl LineDecoder {
    /// A decoder that refuses lines of more than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        LineDecoder { buffer: Vec::new(), start: 0, searched: 0, limit, failed: false }
    }

    /// From now on refuses lines of more than `limit` bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The buffer to append to, with room for at least `room` bytes. Only ever append.
    pub fn buffer(&mut self, room: usize) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY.max(room) {
            self.buffer = Vec::new();
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer(bytes.len()).extend_from_slice(bytes);
    }

    /// The next complete line, without its line feed. `None` until more bytes arrive.
    ///
    /// # Errors
    /// When a line is longer than the limit, complete or not; then always.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let too_long = Err(LineTooLong { limit: self.limit });
        if self.failed {
            return too_long;
        }
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                self.failed = self.searched - self.start > self.limit;
                return if self.failed { too_long } else { Ok(None) };
            };
            let (start, end) = (self.start, self.searched + found);
            self.start = end + 1;
            self.searched = self.start;
            if end - start > self.limit {
                self.failed = true;
                return too_long;
            }
            if end > start {
                return Ok(self.buffer.get(start..end));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_lines(decoder: &mut LineDecoder) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut lines = Vec::new();
        while let Some(line) = decoder.next_line()? {
            lines.push(line.to_vec());
        }
        Ok(lines)
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(
            stream in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            sizes in prop::collection::vec(1usize..20, 1..50),
        ) {
            let mut decoder = LineDecoder::new(1000);
            let mut lines = Vec::new();
            let mut rest = stream.as_slice();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                decoder.extend(chunk);
                lines.extend(all_lines(&mut decoder).unwrap());
                rest = after;
            }
            let mut expected: Vec<Vec<u8>> = stream.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            expected.retain(|line| !line.is_empty());
            prop_assert_eq!(lines, expected);
        }
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_byte_more_fails_for_good() {
        let mut decoder = LineDecoder::new(4);
        decoder.extend(b"abcd\nabcde\nab\n");
        assert_eq!(decoder.next_line().unwrap().unwrap(), b"abcd");
        assert_eq!(decoder.next_line(), Err(LineTooLong { limit: 4 }));
        assert_eq!(decoder.next_line(), Err(LineTooLong { limit: 4 }));
    }

    #[test]
    fn an_unfinished_line_over_the_limit_fails_before_its_end() {
        let mut decoder = LineDecoder::new(4);
        decoder.extend(b"abcd");
        assert_eq!(decoder.next_line(), Ok(None));
        decoder.extend(b"e");
        assert!(decoder.next_line().is_err());
    }
}
