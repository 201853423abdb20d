//! A key as text: the JSON that Remote Pi keeps, in the keyring and in files alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rp_protocol::key::{PublicKey, SecretKey};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Public key and seed, both 32 bytes in standard base64 with padding.
#[derive(Deserialize)]
struct Stored {
    pk: String,
    sk: String,
}

pub(crate) fn write_key(key: &SecretKey) -> Zeroizing<String> {
    let seed = Zeroizing::new(STANDARD.encode(key.seed()));
    Zeroizing::new(format!("{{\"pk\":\"{}\",\"sk\":\"{}\"}}", key.public(), *seed))
}

/// `None` also when the two halves do not belong together.
pub(crate) fn parse_key(text: &str) -> Option<SecretKey> {
    let stored: Stored = serde_json::from_str(text).ok()?;
    let text = Zeroizing::new(stored.sk);
    let seed = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
    let key = SecretKey::from_seed(seed.as_slice().try_into().ok()?);
    (PublicKey::parse(&stored.pk).ok()? == key.public()).then_some(key)
}
