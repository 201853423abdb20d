//! Notices that this machine's network has changed: an address or a route came or went.

use std::time::Duration;

use tokio::sync::mpsc::WeakSender;

use crate::message::Command;

/// How long changes are gathered before they count as one.
const BURST: Duration = Duration::from_secs(1);

/// Tells the link about each change until it has ended. Where the system does not tell (it does on
/// Linux), nothing is noticed, and a dead connection ends by its silence.
pub(crate) async fn watch(link: WeakSender<Command>) {
    let Some(changes) = changes::Changes::open() else { return };
    loop {
        changes.next().await;
        tokio::time::sleep(BURST).await;
        changes.forget();
        let Some(link) = link.upgrade() else { return };
        tracing::debug!("the network has changed");
        // A full queue is one more reason to do it later, with the next change.
        let _ = link.try_send(Command::NetworkChanged);
    }
}

#[cfg(target_os = "linux")]
mod changes {
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UnixDatagram;

    /// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE` and the same for IPv6 of rtnetlink(7).
    const ADDRESSES_AND_ROUTES: u32 = 0x10 | 0x40 | 0x100 | 0x400;

    /// The kernel's notices about addresses and routes. The socket is one of netlink: it is held as
    /// the type of datagram socket that asks nothing about addresses, and only received from.
    pub(super) struct Changes(UnixDatagram);

    impl Changes {
        pub(super) fn open() -> Option<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // Without a protocol it is NETLINK_ROUTE.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).ok()?;
            bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES_AND_ROUTES)).ok()?;
            UnixDatagram::from_std(socket.into()).ok().map(Changes)
        }

        /// Waits for a change. What it is does not matter; that some were not told does not either.
        pub(super) async fn next(&self) {
            let _ = self.0.recv(&mut [0; 4096]).await;
        }

        /// Passes over what has been told.
        pub(super) fn forget(&self) {
            while self.0.try_recv(&mut [0; 4096]).is_ok() {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod changes {
    pub(super) enum Changes {}

    impl Changes {
        pub(super) fn open() -> Option<Self> {
            None
        }

        pub(super) async fn next(&self) {}

        pub(super) fn forget(&self) {}
    }
}
