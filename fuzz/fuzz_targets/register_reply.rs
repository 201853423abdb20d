//! What a leader answers to a registration never breaks a follower.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::RegisterAck;

fuzz_target!(|line: &str| {
    let _ = RegisterAck::parse(line);
});
