//! How much sealing costs: `cargo run --release -p rp-protocol --example seal_rate`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rp_protocol::key::SecretKey;
use rp_protocol::seal::{Channel, OpenError, Received, SealError, SealingKey};

const NOW: u64 = 1_785_000_000_000;
const TIME: Duration = Duration::from_secs(1);

struct Host {
    keys: SealingKey,
    channel: Channel,
}

impl Host {
    fn new(own: u8, peer: u8) -> Self {
        let peer = SecretKey::from_seed(&[peer; 32]).public();
        let keys = SealingKey::certify(&SecretKey::from_seed(&[own; 32]), [own; 32], NOW);
        Host { keys, channel: Channel::new(peer) }
    }

    fn answer(&mut self, message: &[u8]) -> Result<Vec<u8>, OpenError> {
        match self.channel.receive(message, &self.keys, NOW)? {
            Received::Answer { message, .. } => Ok(message),
            _ => Err(OpenError::Handshake),
        }
    }
}

fn shake_hands(alice: &mut Host, bob: &mut Host) -> Result<(), OpenError> {
    let first = alice.channel.begin(&alice.keys, NOW)?;
    let second = bob.answer(&first)?;
    let third = alice.answer(&second)?;
    bob.channel.receive(&third, &bob.keys, NOW).map(drop)
}

fn seal(host: &mut Host, content: &[u8]) -> Result<Vec<u8>, SealError> {
    match host.channel.seal(content, NOW) {
        Err(SealError::SaveFirst) => {
            let _ = host.channel.save();
            host.channel.seal(content, NOW)
        }
        sealed => sealed,
    }
}

/// How often something can be done in a second.
fn rate<E>(mut act: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TIME {
        act()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let (mut alice, mut bob) = (Host::new(1, 2), Host::new(2, 1));
    let handshakes = rate(|| shake_hands(&mut alice, &mut bob))?;
    writeln!(out, "handshakes, both sides: {handshakes:.0}/s")?;
    for length in [100, 1000, 16_000, 1_000_000] {
        let content = vec![7; length];
        let rate = rate(|| -> Result<(), Box<dyn std::error::Error>> {
            let sealed = seal(&mut alice, &content)?;
            bob.channel.receive(&sealed, &bob.keys, NOW)?;
            Ok(())
        })?;
        let megabytes = rate * f64::from(u32::try_from(length)?) / 1e6;
        writeln!(out, "{length} bytes, sealed and opened: {rate:.0}/s, {megabytes:.0} MB/s")?;
    }
    let content = vec![7; 1000];
    let saved = rate(|| -> Result<(), SealError> {
        seal(&mut alice, &content)?;
        drop(alice.channel.save());
        Ok(())
    })?;
    writeln!(out, "1000 bytes, sealed and the session saved each time: {saved:.0}/s")?;
    Ok(())
}
