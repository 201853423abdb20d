//! Small text files that a person writes.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The longest such file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file of at most one mebibyte. What is no file, such as a pipe that nobody writes to, is
/// refused and not waited for.
///
/// # Errors
/// It is not there, not such a file, or not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}
