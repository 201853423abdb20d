//! A relay and a machine read the same membership out of the same bytes, or both none; what is
//! read can be written canonically and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::membership::{Answer, Membership, check_publication};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(membership) = Membership::parse(bytes) {
        let canonical = membership.to_canonical_json();
        assert_eq!(Membership::parse(&canonical).as_ref(), Ok(&membership));
    }
    let published = check_publication(bytes, "");
    assert!(published.is_err(), "no owner has an empty address");
    let _ = Answer::read(200, bytes);
});
