//! The login at a relay: nobody gets in by bytes that were not signed for this connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rp_protocol::relay::login::{RelayLogin, RelayStep, Transport};
use rp_protocol::relay::{FrameReader, RelayName};

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (quic, bytes) = input;
    let transport = if quic { Transport::Quic { exporter: [1; 32] } } else { Transport::WebSocket };
    let Ok(name) = RelayName::parse("relay.example.org:443") else { return };
    let mut login = RelayLogin::new(transport, [2; 32]);
    let mut reader = FrameReader::default();
    reader.buffer(0).extend(bytes);
    while let Ok(Some(frame)) = reader.next_frame() {
        match login.on_frame(&frame, std::slice::from_ref(&name)) {
            Ok(step) => assert!(!matches!(step, RelayStep::LoggedIn(_))),
            Err(refusal) => return drop(refusal.close().to_bytes()),
        }
    }
});
