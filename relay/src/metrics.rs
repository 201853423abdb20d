//! Counters, and how Prometheus reads them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// What the relay has done since it was started.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $text])+ pub $name: Counter,)+
        }

        impl Metrics {
            fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($text),+), self.$name.get()),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Connections that were accepted.
    connections_accepted,
    /// Connections that were closed at once because of a limit.
    connections_refused,
    /// Logins that succeeded.
    logins,
    /// Logins that failed or were not finished in time.
    logins_failed,
    /// Frames received after login.
    frames_received,
    /// Bytes of the frames received after login.
    bytes_received,
    /// Frames that were malformed, of unknown type or too large, and dropped.
    frames_dropped,
    /// Envelopes handed to the queue of a recipient, once for each.
    envelopes_forwarded,
    /// Envelopes whose room had nobody to take them.
    envelopes_undeliverable,
    /// Messages between hosts that were queued for the recipient.
    messages_forwarded,
    /// Envelopes between machines that were passed on.
    pi_envelopes_forwarded,
    /// Envelopes between machines that were answered with an error.
    pi_envelopes_refused,
    /// Peers told that another one came online.
    peer_online_emitted,
    /// Peers not told so, because it had a connection already.
    peer_online_suppressed,
    /// Answers to presence checks that were sent.
    presence_emitted,
    /// Answers to presence checks that were the same as before, and not sent.
    presence_suppressed,
    /// Answers to rooms checks that were sent.
    rooms_emitted,
    /// Answers to rooms checks that were the same as before, and not sent.
    rooms_suppressed,
    /// Subscriptions beyond the limit.
    subscriptions_dropped,
    /// Times a peer was read later because it sent too fast.
    paced,
    /// Connections ended because their client read too slowly.
    slow_readers,
    /// Connections ended because nothing was heard from their client.
    silent_clients,
    /// Connections ended because their client broke the protocol.
    protocol_violations,
    /// Memberships that were accepted.
    publications,
    /// Memberships that were refused.
    publications_refused,
}

/// What the relay holds at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Gauges {
    /// Connections at rooms: those of the old wire, and the rooms of hosts.
    pub connections: u64,
    /// Hosts that are logged in.
    pub hosts: u64,
    /// Peers that are online.
    pub peers: u64,
    /// Bytes that wait to be sent.
    pub queued_bytes: u64,
    /// Owners whose membership is kept.
    pub owners: u64,
}

impl Metrics {
    /// Everything in the text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self, gauges: Gauges) -> String {
        let mut out = String::with_capacity(4096);
        let mut line = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "# HELP rp_relay_{name} {}\n# TYPE rp_relay_{name} {kind}\nrp_relay_{name} {value}",
                help.trim()
            );
        };
        line("connections", "gauge", "Connections at rooms.", gauges.connections);
        line("hosts", "gauge", "Hosts that are logged in.", gauges.hosts);
        line("peers", "gauge", "Peers that are online.", gauges.peers);
        line("queued_bytes", "gauge", "Bytes that wait to be sent.", gauges.queued_bytes);
        line("owners", "gauge", "Owners whose membership is kept.", gauges.owners);
        for (name, help, value) in self.counters() {
            line(&format!("{name}_total"), "counter", help, value);
        }
        out
    }
}
