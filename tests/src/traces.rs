//! Looking for a text where it must not be: in what was recorded, and in a process's memory.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use memchr::memmem::Finder;

/// Most bytes of memory that are read at once.
const CHUNK: usize = 1 << 20;

/// A text in the forms in which it may be found.
pub struct Wanted(Vec<(&'static str, Vec<u8>)>);

impl Wanted {
    /// As it is, as JSON writes it, and as base64 of something that it stands in.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        let json = quoted.trim_matches('"').to_owned();
        let mut forms = vec![
            ("itself", text.into()),
            ("JSON", json.clone().into()),
            ("ASCII JSON", ascii(&json)),
        ];
        let alignments = ["base64", "base64 behind one byte", "base64 behind two bytes"];
        for (before, name) in alignments.into_iter().enumerate() {
            let bytes = [vec![b' '; before], text.into()].concat();
            let encoded = STANDARD.encode(&bytes);
            // The first and the last characters hold bits of what stands around it.
            let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
            forms.push((name, encoded.as_bytes().get(first..last).unwrap_or_default().to_vec()));
        }
        Wanted(forms)
    }

    /// The form in which it is in these bytes.
    #[must_use]
    pub fn form_in(&self, bytes: &[u8]) -> Option<&'static str> {
        let found = self.0.iter().find(|(_, form)| Finder::new(form).find(bytes).is_some());
        found.map(|(name, _)| *name)
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|(_, form)| form.len()).max().unwrap_or(0)
    }
}

/// JSON text with an escape for every character that is not ASCII.
fn ascii(json: &str) -> Vec<u8> {
    let mut units = [0; 2];
    let escape = |character: char| match character.is_ascii() {
        true => character.to_string(),
        false => {
            character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
    };
    json.chars().map(escape).collect::<String>().into_bytes()
}

/// What of these is in a process's memory, and in which form, by place in the list. It is read while
/// the process runs on.
///
/// # Errors
/// When this process may not, or the system has no `/proc`.
pub fn in_memory(pid: u32, wanted: &[Wanted]) -> io::Result<Vec<(usize, &'static str)>> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let overlap = wanted.iter().map(Wanted::longest).max().unwrap_or(0);
    let (mut found, mut read) = (Vec::new(), 0);
    for (start, end) in maps.lines().filter_map(readable) {
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK + overlap);
            let mut bytes = vec![0; length];
            // Some of the kernel's own pages cannot be read, and others have gone meanwhile.
            if memory.read_exact_at(&mut bytes, at).is_ok() {
                read += length;
                for (place, one) in wanted.iter().enumerate() {
                    found.extend(one.form_in(&bytes).map(|form| (place, form)));
                }
            }
            at += CHUNK as u64;
        }
    }
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no page can be read"));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The bounds of a line of `/proc/PID/maps`, when what it is about can be read.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split(' ');
    let (start, end) = words.next()?.split_once('-')?;
    let may_read = words.next()?.starts_with('r');
    let number = |text| u64::from_str_radix(text, 16).ok();
    may_read.then_some((number(start)?, number(end)?))
}
