//! What a host is told when it has logged in, and what happens to others with its key.

use std::sync::Arc;
use std::time::Duration;

use rp_protocol::relay::login::Client;
use rp_protocol::relay::{CloseCode, Frame, MAX_BODY_BYTES, MAX_WATCHES, VERSION, Welcome};

use super::session::HostSession;
use super::{Carrier, Host};
use crate::conversation::BEAT;
use crate::hub::{Hub, unix_ms};
use crate::websocket::Outbox;

/// How long an older connection has for showing that it lives.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of content that may wait for their final answer for each recipient.
const WINDOW_BYTES: u64 = 8 << 20;

/// Messages that may wait for their final answer for each recipient.
const WINDOW_MESSAGES: u64 = 1_024;

pub(super) fn welcome(hub: &Hub) -> Welcome {
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Welcome {
        version: VERSION,
        clock_ms: unix_ms(),
        keepalive_ms: u64::try_from(BEAT.as_millis()).unwrap_or(u64::MAX),
        max_body: number(MAX_BODY_BYTES),
        window_bytes: WINDOW_BYTES,
        window_messages: WINDOW_MESSAGES,
        max_rooms: number(hub.limits.rooms),
        max_watches: number(hub.limits.subscriptions.min(MAX_WATCHES)),
    }
}

/// Begins the session of a host that has proven its key.
pub(super) fn admit(
    hub: &Arc<Hub>,
    client: &Client,
    outbox: &Arc<Outbox>,
    carrier: Carrier,
) -> HostSession {
    let welcome = welcome(hub);
    let pace = hub.pace_of(&client.key);
    let host = Host::new(client, &welcome, Arc::clone(outbox), pace, carrier);
    host.say(&Frame::Welcome(welcome));
    hub.metrics.logins.add(1);
    tracing::debug!(peer = ?host.key, software = client.software.len(), "a host connected");
    for older in hub.add_host(&host) {
        if older.instance == host.instance {
            older.close(CloseCode::Replaced, "the same host connected again");
        } else {
            tokio::spawn(meet(older, Arc::clone(&host)));
        }
    }
    if hub.ending.is_cancelled() {
        host.close(CloseCode::GoingAway, "the relay is ending");
    }
    HostSession::new(Arc::clone(hub), host)
}

/// Two hosts have one key. Either the older connection is dead without knowing it, or one of them
/// is a clone.
async fn meet(older: Arc<Host>, newer: Arc<Host>) {
    if !older.is_alive(ALIVE_WITHIN).await {
        older.close(CloseCode::TooSlow, "no sign of life");
        return;
    }
    tracing::warn!(peer = ?newer.key, "two live hosts have one key");
    for (told, other) in [(&older, &newer), (&newer, &older)] {
        told.say(&Frame::Clone { instance: other.instance, since_ms: other.since_ms });
    }
}
