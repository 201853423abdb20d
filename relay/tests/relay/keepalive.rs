//! Signs of life, with a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use rp_protocol::relay::legacy::{Auth, Challenge, Hello};
use rp_relay::hub::Hub;
use rp_relay::limits::Limits;
use rp_relay::membership::Memberships;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use crate::client::{key, secret};

/// A frame of a client; its mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let header =
        if length < 126 { vec![first, 0x80 | length] } else { vec![first, 0xFE, 0, length] };
    [&header[..], &[0; 4], payload].concat()
}

/// The opcode and payload of the next frame of the relay, which is a short one.
async fn next(stream: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.ok()?;
    assert!(header[1] < 126);
    let mut payload = vec![0; usize::from(header[1])];
    stream.read_exact(&mut payload).await.ok()?;
    Some((header[0] & 0x0F, payload))
}

#[tokio::test]
async fn a_client_is_pinged_every_25_seconds_and_one_that_is_silent_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let memberships = Memberships::open(&folder.path().join("mesh.redb")).await.unwrap();
    let hub = Hub::new(memberships, Limits::default(), Vec::new());
    let (mut client, server) = tokio::io::duplex(64 << 10);
    tokio::time::pause();
    let serving = tokio::spawn(rp_relay::legacy::serve(Arc::clone(&hub), server, &[], Vec::new()));

    let hello = json!({ "type": "hello", "pubkey": key(1) }).to_string();
    Hello::parse(&hello).unwrap();
    client.write_all(&frame(0x81, hello.as_bytes())).await.unwrap();
    let (_, challenge) = next(&mut client).await.unwrap();
    let challenge: serde_json::Value = serde_json::from_slice(&challenge).unwrap();
    use base64::Engine as _;
    let nonce = base64::engine::general_purpose::STANDARD;
    let nonce = nonce.decode(challenge["nonce"].as_str().unwrap()).unwrap();
    let auth = json!({ "type": "auth", "sig": secret(1).sign(&nonce).to_string() }).to_string();
    let challenge = Challenge(nonce.as_slice().try_into().unwrap());
    assert!(Auth::parse(&auth).unwrap().proves(&secret(1).public(), &challenge));
    client.write_all(&frame(0x81, auth.as_bytes())).await.unwrap();

    let mut last = Instant::now();
    for round in 0..10 {
        assert_eq!(next(&mut client).await.unwrap(), (0x9, Vec::new()));
        let after = last.elapsed();
        assert!((23..=26).contains(&after.as_secs()), "{after:?}");
        last = Instant::now();
        if round < 6 {
            client.write_all(&frame(0x8A, &[])).await.unwrap();
        }
        if round == 8 {
            break;
        }
    }
    // Three pings were not answered.
    assert!(next(&mut client).await.is_none());
    assert!(last.elapsed() < Duration::from_secs(27), "{:?}", last.elapsed());
    serving.await.unwrap();
    assert_eq!(hub.metrics.silent_clients.get(), 1);
    assert_eq!(hub.registry().connections(), 0);
}
