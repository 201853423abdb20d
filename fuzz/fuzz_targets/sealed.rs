//! What a host receives as sealed: any bytes are answered, and nothing that no host sealed comes out.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use rp_protocol::key::SecretKey;
use rp_protocol::seal::{Certificate, Channel, Received, SealingKey, Session};

const NOW: u64 = 1_785_000_000_000;

thread_local! {
    static HOST: RefCell<(SealingKey, Channel)> = RefCell::new({
        let keys = SealingKey::certify(&SecretKey::from_seed(&[1; 32]), [1; 32], NOW);
        (keys, Channel::new(SecretKey::from_seed(&[2; 32]).public()))
    });
}

fuzz_target!(|bytes: &[u8]| {
    HOST.with_borrow_mut(|(keys, channel)| {
        let received = channel.receive(bytes, keys, NOW);
        assert!(!matches!(received, Ok(Received::Content(_) | Received::Ready)));
    });
    let _ = Certificate::read(bytes).map(|certificate| assert_eq!(certificate.to_bytes(), bytes));
    let _ = Session::load(bytes);
});
