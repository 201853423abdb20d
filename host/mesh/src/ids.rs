//! Ids of the envelopes that this program makes up.

use std::sync::atomic::{AtomicU64, Ordering};

use rp_protocol::mesh::EnvelopeId;

/// Makes ids of what the router itself says. They are unique but can be guessed, which does no
/// harm: nobody answers to them. Messages of agents get their ids from [`unguessable_id`].
#[derive(Debug)]
pub(crate) struct IdSource {
    state: AtomicU64,
}

impl IdSource {
    pub(crate) fn new() -> Self {
        let (seed, _) = uuid::Uuid::new_v4().as_u64_pair();
        IdSource { state: AtomicU64::new(seed) }
    }

    pub(crate) fn next(&self, now_ms: u64) -> EnvelopeId {
        let [a, b, c, d, e, f, g, h] = self.random().to_le_bytes();
        let [i, j, ..] = self.random().to_le_bytes();
        EnvelopeId::v7(now_ms, [a, b, c, d, e, f, g, h, i, j])
    }

    /// SplitMix64.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// An id that nobody can know before they see it, so that nobody can answer in advance.
pub(crate) fn unguessable_id(now_ms: u64) -> EnvelopeId {
    let [a, b, c, d, e, f, _, h, _, j, k, l, ..] = uuid::Uuid::new_v4().into_bytes();
    EnvelopeId::v7(now_ms, [a, b, c, d, e, f, h, j, k, l])
}
