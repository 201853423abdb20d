//! A command that the control API accepts says the same after it was written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::session::{Command, Event};

fuzz_target!(|json: &[u8]| {
    if let Ok(command) = serde_json::from_slice::<Command>(json) {
        let written = serde_json::to_vec(&command).unwrap();
        assert_eq!(serde_json::from_slice::<Command>(&written).unwrap(), command);
    }
    let _ = serde_json::from_slice::<Event>(json);
});
