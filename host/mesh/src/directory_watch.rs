//! Noticing that something in the socket's directory was made, moved or removed: nobody can tell a
//! router whose path leads elsewhere by now, because nobody reaches it any more.

use std::path::Path;

/// A watch on one directory.
#[derive(Debug)]
pub(crate) struct DirectoryWatch {
    #[cfg(target_os = "linux")]
    events: Option<tokio::net::unix::pipe::Receiver>,
}

impl DirectoryWatch {
    /// Watches the directory that a path is in. Without one there is nothing to notice but the
    /// passing of time.
    pub(crate) fn around(path: &Path) -> Self {
        let directory = path.parent().unwrap_or(Path::new("."));
        #[cfg(target_os = "linux")]
        {
            let events = linux::watch(directory);
            if let Err(error) = &events {
                tracing::warn!(%error, "cannot watch {}", directory.display());
            }
            DirectoryWatch { events: events.ok() }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = directory;
            DirectoryWatch {}
        }
    }

    /// Waits until it is worth looking at the directory again. Where the system does not tell,
    /// that is every other second.
    pub(crate) async fn changed(&self) {
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

    /// Writes are not among the events: the routing log is in the same directory.
    pub(super) fn watch(directory: &Path) -> io::Result<Receiver> {
        let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let wanted = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        add_watch(&events, directory, wanted)?;
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
