//! What can be told of a file before the compiler sees it.

use crate::error::LoadError;

const MAGIC: &[u8] = b"\0asm";

/// Version and layer of a core module, and of a component.
const MODULE: &[u8] = &[1, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];

/// Checks that the bytes are a whole component of at most `limit` bytes.
pub(crate) fn check(bytes: &[u8], limit: u64) -> Result<(), LoadError> {
    let size = bytes.len() as u64;
    if size > limit {
        return Err(LoadError::TooLarge { bytes: size, limit });
    }
    let head = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
    if head.is_empty() || !MAGIC.starts_with(head) {
        return Err(LoadError::NotWebAssembly);
    }
    match bytes.get(4..8) {
        None => Err(LoadError::Truncated),
        Some(MODULE) => Err(LoadError::CoreModule),
        Some(COMPONENT) => sections(bytes.get(8..).unwrap_or_default()),
        Some(_) => Err(LoadError::NotWebAssembly),
    }
}

/// A component is a sequence of sections, each with a kind, a size and that many bytes.
fn sections(mut rest: &[u8]) -> Result<(), LoadError> {
    while let Some((_kind, after)) = rest.split_first() {
        let (size, after) = size(after).ok_or(LoadError::Truncated)?;
        rest = after.get(size..).ok_or(LoadError::Truncated)?;
    }
    Ok(())
}

/// An unsigned LEB128 number of at most 32 bits, and what follows it.
fn size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: usize = 0;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn with(tail: &[u8]) -> Vec<u8> {
        [EMPTY, tail].concat()
    }

    #[test]
    fn a_whole_component_passes() {
        assert!(check(EMPTY, 100).is_ok());
        assert!(check(&with(&[0, 2, 7, 7]), 100).is_ok());
    }

    #[test]
    fn a_cut_is_noticed_at_every_byte() {
        let mut whole = with(&[0, 0x81, 0x01]);
        whole.extend([7; 129]);
        assert!(check(&whole, 1000).is_ok());
        for end in 1..whole.len() {
            let cut = whole.get(..end).unwrap_or_default();
            if end == EMPTY.len() {
                continue;
            }
            assert!(matches!(check(cut, 1000), Err(LoadError::Truncated)), "{end}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(matches!(check(b"", 10), Err(LoadError::NotWebAssembly)));
        assert!(matches!(check(b"#!/bin/sh", 10), Err(LoadError::NotWebAssembly)));
        assert!(matches!(check(b"\0asm\x01\0\0\0", 10), Err(LoadError::CoreModule)));
        assert!(matches!(check(EMPTY, 7), Err(LoadError::TooLarge { bytes: 8, limit: 7 })));
    }
}
