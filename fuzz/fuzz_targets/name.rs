//! A sanitised name is a fixed point, and never one of the reserved words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::{BROADCAST, BROKER, migrate_configured_name, sanitise_name};

fuzz_target!(|name: &str| {
    let clean = sanitise_name(name);
    assert!(!clean.is_empty());
    assert_ne!(clean.to_lowercase(), BROKER);
    assert_ne!(clean.to_lowercase(), BROADCAST);
    assert_eq!(sanitise_name(&clean), clean);
    let _ = migrate_configured_name(name);
});
