//! The roster another leader sends never breaks a follower.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::parse_roster;

fuzz_target!(|body: &str| {
    let _ = parse_roster(body);
});
