//! Frames between host and relay: any bytes are answered, the same in any chunks, and what is read
//! is written so that it is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::relay::{Frame, FrameReader, Parts, read_large, read_message};

/// What the chunks are read as, each frame written again, and whether reading failed.
fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        reader.buffer(chunk.len()).extend_from_slice(chunk);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_bytes()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (size, bytes) = input;
    let whole = frames(std::iter::once(bytes.as_slice()));
    assert_eq!(whole, frames(bytes.chunks(usize::from(size).max(1))));
    for frame in &whole.0 {
        let again = read_message(frame).ok().flatten().map(|frame| frame.to_bytes());
        assert_eq!(again.as_ref(), Some(frame));
    }
    let mut parts = Parts::default();
    for frame in &whole.0 {
        if let Ok(Some(Frame::Part { last, bytes })) = read_message(frame)
            && let Ok(Some(large)) = parts.push(last, bytes)
        {
            let _ = read_large(&large);
        }
    }
});
