//! What a host that seals properly may put into it: any content is answered, and takes no more room
//! than it may.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use rp_protocol::courier::{Courier, Kept};
use rp_protocol::key::SecretKey;
use rp_protocol::seal::{Channel, Received, SealError, SealingKey};

const NOW: u64 = 1_785_000_000_000;

fn keys(seed: u8) -> SealingKey {
    SealingKey::certify(&SecretKey::from_seed(&[seed; 32]), [seed; 32], NOW)
}

/// A channel that seals, and the courier at its other end.
fn pair() -> Option<(Channel, Courier, SealingKey)> {
    let (alice, bob) = (keys(1), keys(2));
    let (mut sealing, mut opening) = (Channel::new(bob.machine()), Channel::new(alice.machine()));
    let first = sealing.begin(&alice, NOW).ok()?;
    let Ok(Received::Answer { message, .. }) = opening.receive(&first, &bob, NOW) else {
        return None;
    };
    let Ok(Received::Answer { message, .. }) = sealing.receive(&message, &alice, NOW) else {
        return None;
    };
    opening.receive(&message, &bob, NOW).ok()?;
    let kept = Kept { channel: Some(opening.save().to_vec()), ..Kept::default() };
    Some((sealing, Courier::load(alice.machine(), kept).ok()?, bob))
}

thread_local! {
    static PAIR: RefCell<Option<(Channel, Courier, SealingKey)>> = RefCell::new(pair());
}

fuzz_target!(|content: &[u8]| {
    PAIR.with_borrow_mut(|pair| {
        let Some((sealing, courier, keys)) = pair else { return };
        let mut sealed = sealing.seal(content, NOW);
        if sealed == Err(SealError::SaveFirst) {
            let _ = sealing.save();
            sealed = sealing.seal(content, NOW);
        }
        if let Ok(sealed) = sealed {
            let _ = courier.on_sealed(&sealed, keys, NOW);
            let _ = courier.effects(keys, NOW);
        }
    });
});
