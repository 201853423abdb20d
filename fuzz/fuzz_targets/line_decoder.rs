//! Lines do not depend on how the bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::LineDecoder;

const LIMIT: usize = 64;

fn lines(chunks: impl Iterator<Item = Vec<u8>>) -> (Vec<Vec<u8>>, bool) {
    let mut decoder = LineDecoder::new(LIMIT);
    let mut lines = Vec::new();
    for chunk in chunks {
        decoder.extend(&chunk);
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => lines.push(line.to_vec()),
                Ok(None) => break,
                Err(_) => return (lines, true),
            }
        }
    }
    (lines, false)
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (size, bytes) = input;
    let size = usize::from(size).max(1);
    let whole = lines(std::iter::once(bytes.clone()));
    let cut = lines(bytes.chunks(size).map(<[u8]>::to_vec));
    assert_eq!(whole, cut);
});
