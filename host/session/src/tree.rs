//! The processes that belong to one launch: its process group, and what left the group but
//! carries the marker in its environment. Found through `/proc`; where there is none, only
//! the group can be reached.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, sleep};

/// The environment variable that marks every process of a launch.
pub(crate) const MARKER: &str = "RP_HOST_SESSION";

/// How often a tree that is being ended is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a launch started.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// The group that the first process leads, when it is known to be ours.
    pub(crate) group: Option<Pid>,
    /// The value of [`MARKER`].
    pub(crate) marker: String,
}

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    parent: i32,
    group: i32,
    /// Clock ticks since the machine started: with the pid, names one process for ever.
    pub(crate) start_time: u64,
    ended: bool,
}

impl Tree {
    /// Ends all of it: SIGTERM, then after `grace` SIGKILL. Returns whether nothing is left.
    pub(crate) async fn end(&self, grace: Duration) -> bool {
        if self.gone().await {
            return true;
        }
        self.signal(Signal::TERM).await;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            if self.gone().await {
                return true;
            }
        }
        // What forks while it is being killed is caught in a later round.
        for _ in 0..50 {
            self.signal(Signal::KILL).await;
            sleep(LOOK_AGAIN).await;
            if self.gone().await {
                return true;
            }
        }
        false
    }

    /// Nothing of it runs any more.
    pub(crate) async fn gone(&self) -> bool {
        if proc_is_readable() {
            return self.members().await.is_empty();
        }
        self.group.is_none_or(|group| rustix::process::test_kill_process_group(group).is_err())
    }

    async fn signal(&self, signal: Signal) {
        let members = self.members().await;
        if let Some(group) = self.group {
            let raw = group.as_raw_nonzero().get();
            // Without a member, the number could be somebody else's by now.
            if !proc_is_readable() || members.iter().any(|seen| seen.group == raw) {
                let _ = kill_process_group(group, signal);
            }
        }
        for seen in members {
            if self.group.is_none_or(|group| group.as_raw_nonzero().get() != seen.group) {
                signal_process(seen, signal);
            }
        }
    }

    /// Every process of it that has not ended, apart from this one.
    async fn members(&self) -> Vec<Seen> {
        let tree = self.clone();
        tokio::task::spawn_blocking(move || tree.members_now()).await.unwrap_or_default()
    }

    fn members_now(&self) -> Vec<Seen> {
        let own = rustix::process::getpid();
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != own.as_raw_nonzero().get())
            .filter_map(look_at)
            .filter(|seen| !seen.ended && (self.leads(seen) || has_marker(seen.pid, &self.marker)))
            .collect()
    }

    fn leads(&self, seen: &Seen) -> bool {
        self.group.is_some_and(|group| group.as_raw_nonzero().get() == seen.group)
    }
}

fn proc_is_readable() -> bool {
    fs::exists("/proc/self/stat").unwrap_or(false)
}

/// Reads what `/proc` says of this process; `None` when there is no such process.
pub(crate) fn look_at(pid: i32) -> Option<Seen> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The process that started this one, or took it over from that; `None` when there is no such
/// process, or no `/proc`. The first process has the parent 0.
#[must_use]
pub fn parent_of(pid: i32) -> Option<i32> {
    look_at(pid).map(|seen| seen.parent)
}

fn parse_stat(pid: i32, stat: &str) -> Option<Seen> {
    // The name in parentheses can hold anything, a closing parenthesis too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start_time = fields.nth(16)?.parse().ok()?;
    Some(Seen { pid, parent, group, start_time, ended: matches!(state, "Z" | "X") })
}

fn has_marker(pid: i32, marker: &str) -> bool {
    let wanted = format!("{MARKER}={marker}");
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    })
}

#[cfg(target_os = "linux")]
fn signal_process(seen: Seen, signal: Signal) {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(pid) = Pid::from_raw(seen.pid) else { return };
    // The descriptor keeps the pid from being given to another process between the second
    // look and the signal.
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && look_at(seen.pid).is_some_and(|now| now.start_time == seen.start_time)
    {
        let _ = pidfd_send_signal(process, signal);
    }
}

#[cfg(not(target_os = "linux"))]
fn signal_process(_: Seen, _: Signal) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_confuse_the_reader() {
        let stat = "42 (a) b (c)) S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 1";
        let seen = parse_stat(42, stat).unwrap();
        assert_eq!(seen, Seen { pid: 42, parent: 1, group: 77, start_time: 123_456, ended: false });
        assert_eq!(parse_stat(42, "garbage"), None);
        assert_eq!(parse_stat(42, "42 (x) S 1"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        assert!(!look_at(own).unwrap().ended);
    }
}
