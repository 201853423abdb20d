//! Frames and logins of the old relay wire: whatever comes is read or refused, and what is passed
//! on is JSON on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::key::PublicKey;
use rp_protocol::relay::legacy::{
    Auth, ClientFrame, EnvelopeOrigin, Hello, write_pi_envelope_in,
};

fuzz_target!(|text: &str| {
    let _ = Hello::parse(text);
    let _ = Auth::parse(text);
    let sender = PublicKey::from_bytes([7; 32]);
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Envelope(envelope)) => {
            let mut out = Vec::new();
            EnvelopeOrigin::new(&sender, &envelope.room).write(&mut out, envelope.ct);
            let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(written["ct"], *envelope.text());
        }
        Ok(ClientFrame::PiEnvelope(request)) => {
            if let Some((_, envelope)) = request.target() {
                let out = write_pi_envelope_in(&sender, &envelope);
                assert!(!out.contains(['\n', '\r']));
                serde_json::from_str::<&serde_json::value::RawValue>(&out).unwrap();
            }
        }
        _ => {}
    }
});
