//! Cuts what arrives into frames: a stream (QUIC), a message (WebSocket), parts of a large frame.

use super::fields::{FrameError, read_number};
use super::frame::{Frame, MAX_FRAME_BYTES, MAX_LARGE_FRAME_BYTES};

/// How many bytes of a large frame go into one [`Frame::Part`]: what other frames wait for at most.
const PART_BYTES: usize = 32 * 1024;
/// What a reader keeps of its buffer when everything in it has been read.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Where the payload of a frame lies.
struct Place {
    kind: u64,
    start: usize,
    end: usize,
}

/// Finds the first frame of the bytes. `None` while its type or length is incomplete; the end of its
/// payload may lie beyond the bytes.
fn place(bytes: &[u8], limit: usize) -> Result<Option<Place>, FrameError> {
    let Some((kind, kind_length)) = read_number(bytes) else { return Ok(None) };
    let rest = bytes.get(kind_length..).unwrap_or_default();
    let Some((length, length_length)) = read_number(rest) else { return Ok(None) };
    let payload = usize::try_from(length).ok().filter(|payload| *payload <= limit);
    let payload = payload.ok_or(FrameError::TooLong { length, limit })?;
    let start = kind_length + length_length;
    Ok(Some(Place { kind, start, end: start + payload }))
}

/// Reads bytes that are one frame, of at most [`MAX_FRAME_BYTES`]: a WebSocket message. `None` when
/// it is to be skipped.
///
/// # Errors
/// When they are no frame or more than one.
pub fn read_message(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    read_exactly_one(bytes, MAX_FRAME_BYTES)
}

/// Reads bytes that are one frame, of at most [`MAX_LARGE_FRAME_BYTES`]: everything a unidirectional
/// stream of QUIC carried, or the parts of a WebSocket put together. Only messages may come so.
///
/// # Errors
/// When they are no frame, more than one, or a frame of another kind.
pub fn read_large(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    match read_exactly_one(bytes, MAX_LARGE_FRAME_BYTES)? {
        Some(frame @ (Frame::Send { .. } | Frame::Deliver { .. })) => Ok(frame),
        _ => Err(FrameError::Malformed("type")),
    }
}

fn read_exactly_one(bytes: &[u8], limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(Place { kind, start, end }) = place(bytes, limit)? else {
        return Err(FrameError::Malformed("length"));
    };
    let payload = bytes.get(start..end).filter(|_| end == bytes.len());
    let payload = payload.ok_or(FrameError::Malformed("length"))?;
    if Frame::is_skipped(kind) { Ok(None) } else { Frame::decode(kind, payload).map(Some) }
}

/// Cuts the control stream of a QUIC connection into frames of at most [`MAX_FRAME_BYTES`].
///
/// Append bytes with [`FrameReader::buffer`], then call [`FrameReader::next_frame`] until it has no
/// more. Frames that are to be skipped are skipped.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Everything before is handed out.
    start: usize,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// The buffer to append to, with room for at least `room` bytes. Only ever append.
    pub fn buffer(&mut self, room: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY.max(room) {
            self.buffer = Vec::new();
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// The next complete frame. `None` until more bytes arrive.
    ///
    /// # Errors
    /// When a frame is too long or cannot be read; then always.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.next_place() {
            Ok(None) => Ok(None),
            Ok(Some(Place { kind, start, end })) => {
                let payload = self.buffer.get(start..end).unwrap_or_default();
                let frame = Frame::decode(kind, payload);
                self.failed = frame.as_ref().err().copied();
                frame.map(Some)
            }
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Where in the buffer the payload of the next frame lies that is not to be skipped.
    fn next_place(&mut self) -> Result<Option<Place>, FrameError> {
        loop {
            let unread = self.buffer.get(self.start..).unwrap_or_default();
            let Some(mut place) = place(unread, MAX_FRAME_BYTES)? else { return Ok(None) };
            if place.end > unread.len() {
                return Ok(None);
            }
            place.start += self.start;
            place.end += self.start;
            self.start = place.end;
            if !Frame::is_skipped(place.kind) {
                return Ok(Some(place));
            }
        }
    }
}

/// Whether this encoded frame is too long for the control stream or one WebSocket message.
#[must_use]
pub fn is_large(frame: &[u8]) -> bool {
    place(frame, MAX_FRAME_BYTES).is_err()
}

/// The parts, encoded, that carry this encoded frame on a WebSocket, in their order. Frames of other
/// types may go between them, parts of another frame may not.
pub fn parts(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let count = frame.len().div_ceil(PART_BYTES);
    frame
        .chunks(PART_BYTES)
        .enumerate()
        .map(move |(place, bytes)| Frame::Part { last: place + 1 == count, bytes }.to_bytes())
}

/// Puts the parts of large frames together.
#[derive(Debug, Default)]
pub struct Parts {
    buffer: Vec<u8>,
}

impl Parts {
    /// Takes the next part. The frame, encoded, when it was the last one; read it with [`read_large`].
    ///
    /// # Errors
    /// When the parts so far are longer than a frame may be. They are forgotten.
    pub fn push(&mut self, last: bool, bytes: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        // Type and length take nine bytes at most for every type that can come in parts.
        let limit = MAX_LARGE_FRAME_BYTES + 9;
        let length = self.buffer.len() + bytes.len();
        if length > limit {
            self.buffer = Vec::new();
            return Err(FrameError::TooLong { length: length as u64, limit });
        }
        self.buffer.extend_from_slice(bytes);
        Ok(last.then(|| std::mem::take(&mut self.buffer)))
    }

    /// How many bytes of an unfinished frame are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.buffer.len()
    }
}
