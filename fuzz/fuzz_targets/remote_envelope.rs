//! What comes from another machine is delivered as from that machine, or not at all, and what
//! comes from the relay is never content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::key::PublicKey;
use rp_protocol::membership::{Member, Membership};
use rp_protocol::mesh::EnvelopeId;
use rp_protocol::remote::{Around, Bridge, RELAY, Received, Topology, parse_inventory};

fuzz_target!(|input: (bool, &str)| {
    let (from_relay, envelope) = input;
    let (here, there) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    let member = |key, nickname: &str| Member {
        key,
        relay_url: String::new(),
        paired_at: String::new(),
        nickname: Some(nickname.to_owned()),
    };
    let members = vec![member(here, "Büro 1:2"), member(there, "lab")];
    let membership = Membership { version: 1, issued_at: 1, owner: here, members };
    let mut bridge = Bridge::new(Topology::new(here, [&membership]));
    let mut next_id = || EnvelopeId::v7(1, [0; 10]);
    let mut around = Around { now_ms: 0, roster: &[], next_id: &mut next_id };
    let from = if from_relay { RELAY.to_owned() } else { there.to_string() };
    match bridge.receive(&from, envelope, &mut around) {
        Received::Deliver { envelope, .. } => {
            assert!(!from_relay);
            assert!(envelope.from.starts_with("lab:"));
        }
        Received::Failed(envelope) => assert!(from_relay && envelope.from == "broker"),
        _ => {}
    }
    let _ = parse_inventory(envelope);
});
