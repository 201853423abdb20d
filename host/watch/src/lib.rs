//! Noticing that something in a directory was made, moved, removed or, if wanted, written.
//!
//! What happened is not told, only that it is worth looking: whoever watches compares what is there
//! with what was there, which also covers everything that happened while nobody watched.

use std::path::Path;

/// What is noticed in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Names come, go or change.
    Names,
    /// That, and files that were written and closed.
    NamesAndWrites,
    /// That, and every write to a file that stays open, such as a log.
    EveryWrite,
}

/// A watch on some directories, without what is below them.
#[derive(Debug)]
pub struct DirectoryWatch {
    #[cfg(target_os = "linux")]
    events: Option<tokio::net::unix::pipe::Receiver>,
}

impl DirectoryWatch {
    /// Watches these directories; one that cannot be watched is logged and left out. Must be called
    /// from within a tokio runtime.
    pub fn on<'a>(directories: impl IntoIterator<Item = &'a Path>, notice: Notice) -> Self {
        #[cfg(target_os = "linux")]
        {
            let events = linux::watch(directories, notice);
            if let Err(error) = &events {
                tracing::warn!(%error, "cannot watch directories");
            }
            DirectoryWatch { events: events.ok() }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (directories, notice);
            DirectoryWatch {}
        }
    }

    /// Waits until it is worth looking at the directories again. Where the system does not tell,
    /// that is every other second. Dropping the future loses nothing.
    pub async fn changed(&self) {
        #[cfg(target_os = "linux")]
        if let Some(events) = &self.events
            && linux::next(events).await.is_ok()
        {
            return;
        }
        const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::path::Path;

    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    use tokio::net::unix::pipe::Receiver;

    use super::Notice;

    pub(super) fn watch<'a>(
        directories: impl IntoIterator<Item = &'a Path>,
        notice: Notice,
    ) -> io::Result<Receiver> {
        let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let wanted = match notice {
            Notice::Names => names,
            Notice::NamesAndWrites => names | WatchFlags::CLOSE_WRITE,
            Notice::EveryWrite => names | WatchFlags::MODIFY,
        };
        for directory in directories {
            if let Err(error) = add_watch(&events, directory, wanted) {
                tracing::warn!(%error, "cannot watch {}", directory.display());
            }
        }
        // It is no pipe, but is waited for and read like one.
        Receiver::from_owned_fd_unchecked(events)
    }

    /// Waits for events and throws them away: what they are about is looked up.
    pub(super) async fn next(events: &Receiver) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            events.readable().await?;
            match events.try_read(&mut buffer) {
                // It was ready for somebody else.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]

    use super::*;

    #[tokio::test]
    async fn a_name_that_comes_is_noticed_in_each_directory() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let watch = DirectoryWatch::on([one.path(), two.path()], Notice::Names);
        std::fs::create_dir(one.path().join("a")).unwrap();
        watch.changed().await;
        std::fs::create_dir(two.path().join("b")).unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_file_that_was_written_is_noticed_if_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "one").unwrap();
        let watch = DirectoryWatch::on([folder.path()], Notice::NamesAndWrites);
        std::fs::write(&file, "two").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_line_in_a_file_that_stays_open_is_noticed_if_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = std::fs::File::create(folder.path().join("a")).unwrap();
        let watch = DirectoryWatch::on([folder.path()], Notice::EveryWrite);
        std::io::Write::write_all(&mut file, b"one").unwrap();
        watch.changed().await;
    }
}
