//! The first line of a connection never breaks the broker.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::Opening;

fuzz_target!(|line: &str| {
    let Some(opening) = Opening::parse(line) else { return };
    let Opening::Register(opening) = opening else { return };
    let mut written = Vec::new();
    opening.write(&mut written);
    let written = String::from_utf8(written).unwrap();
    assert!(Opening::parse(written.trim_end_matches('\n')).is_some());
});
