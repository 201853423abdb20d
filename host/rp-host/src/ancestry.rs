//! Which process started which, as `/proc` shows it.

use std::path::Path;

use rp_session::parent_of;

/// Longer chains of processes are not followed; Linux has no more processes unless it is told to.
const LONGEST: usize = 32_768;

/// Whether this process was started by one of those, or by one that they started, and so on.
///
/// A process that is gone is taken for one that was: who made it ask cannot be known any more.
/// Where there is no `/proc`, none was.
pub fn descends_from(process: i32, ancestors: &[i32]) -> bool {
    if !Path::new("/proc/self/stat").exists() {
        return false;
    }
    let mut current = process;
    for _ in 0..LONGEST {
        match parent_of(current) {
            None => return true,
            Some(parent) if ancestors.contains(&parent) => return true,
            // The first process, and those of the kernel, have no parent.
            Some(0) => return false,
            Some(parent) => current = parent,
        }
    }
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_descends_from_whoever_started_it_and_from_nobody_else() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let started = i32::try_from(child.id()).unwrap();
        assert!(descends_from(started, &[own]));
        assert!(descends_from(started, &[i32::MAX, parent_of(own).unwrap()]));
        assert!(!descends_from(own, &[started]));
        assert!(!descends_from(own, &[own]), "nobody started itself");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(descends_from(started, &[own]), "it is gone, and nobody knows");
    }
}
