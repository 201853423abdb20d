//! An envelope that is accepted says the same after it was written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::mesh::{Envelope, classify};

fuzz_target!(|line: &str| {
    let Ok(envelope) = Envelope::parse(line) else { return };
    let written = envelope.to_line();
    let written = std::str::from_utf8(&written).unwrap();
    let again = Envelope::parse(written.trim_end_matches('\n')).unwrap();
    assert_eq!(written.as_bytes(), again.to_line());
    let _ = classify(&envelope);
});
