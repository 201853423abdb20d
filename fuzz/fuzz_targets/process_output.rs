//! The output of a process does not depend on how it was cut, and nothing longer than the limit is
//! kept.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../host/session/src/framing.rs"]
#[allow(dead_code, reason = "the limit of real lines is too long for a fuzzer")]
mod framing;

use framing::{DIAGNOSTIC_LIMIT, DiagnosticLines, LineSplitter, Piece};

const LIMIT: usize = 64;

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Piece> {
    let mut splitter = LineSplitter::new(LIMIT);
    let mut pieces: Vec<_> = chunks.flat_map(|chunk| splitter.push(chunk)).collect();
    pieces.extend(splitter.finish());
    pieces
}

fn diagnostics<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut splitter = DiagnosticLines::default();
    let mut lines: Vec<_> = chunks.flat_map(|chunk| splitter.push(chunk)).collect();
    lines.extend(splitter.finish());
    lines
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (size, bytes) = input;
    let size = usize::from(size).max(1);
    let whole = lines(std::iter::once(bytes.as_slice()));
    assert_eq!(whole, lines(bytes.chunks(size)));
    let longest = whole.iter().map(|piece| match piece {
        Piece::Data(data) => data.len(),
        Piece::Dropped { .. } => 0,
    });
    assert!(longest.max().unwrap_or(0) <= LIMIT);
    let whole = diagnostics(std::iter::once(bytes.as_slice()));
    assert_eq!(whole, diagnostics(bytes.chunks(size)));
    assert!(whole.iter().all(|line| line.len() <= DIAGNOSTIC_LIMIT));
});
