//! Whatever a relay sends into an invitation, nobody who does not know the code gets as far as the
//! comparison of the words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::key::SecretKey;
use rp_protocol::owner::{Code, Consent, Inviter, InviterEvent, Joiner, JoinerEvent};

fuzz_target!(|messages: Vec<(bool, Vec<u8>)>| {
    let key = SecretKey::from_seed(&[1; 32]);
    let code = Code::from_random([1, 2, 3, 4, 5, 6, 7, 8]);
    let mut inviter = Inviter::new(&code, [1; 32], 0);
    let mut joiner = Joiner::new(&code, [2; 32], 0);
    for (to_inviter, message) in messages {
        if to_inviter {
            let event = inviter.receive(&message, &key, 1).event;
            assert!(matches!(event, None | Some(InviterEvent::Failed(_))));
        } else {
            let event = joiner.receive(&message, &key, "machine", 1).event;
            assert!(matches!(event, None | Some(JoinerEvent::Failed(_))));
        }
        if let Ok(text) = std::str::from_utf8(&message) {
            let _ = Consent::parse(text);
            let _ = text.parse::<Code>();
        }
    }
});
