//! The small files: the relay's URL and the pairings, which Remote Pi shares, and the memberships
//! that were accepted.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rp_link::{RelayUrl, Source, choose};
use rp_protocol::key::{PublicKey, decode_base64};
use rp_protocol::membership::{Followed, Pairing, SignedMembership};
use serde_json::{Map, Value, json};

/// A file could not be read or written, or holds something else.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FileError {
    path: PathBuf,
    reason: String,
}

impl FileError {
    fn new(path: &Path, reason: impl std::fmt::Display) -> Self {
        FileError { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a JSON object; an absent file is an empty one.
fn read_object(path: &Path) -> Result<Map<String, Value>, FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| FileError::new(path, format!("not a JSON object: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(FileError::new(path, error)),
    }
}

/// Replaces a file as a whole; what was there before stays until the new one is on disk.
fn write_object(path: &Path, object: Map<String, Value>) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, &Value::Object(object))?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error: std::io::Error| FileError::new(path, error))
}

fn relay_file(root: &Path) -> PathBuf {
    root.join("config.json")
}

/// The relay's URL as it stands, and where it stands.
pub(crate) fn relay_text(
    root: &Path,
    environment: Option<&str>,
) -> Result<(String, Source), FileError> {
    let file = read_object(&relay_file(root))?;
    let (text, source) = choose(environment, file.get("relay").and_then(Value::as_str));
    Ok((text.to_owned(), source))
}

/// Keeps the URL of the relay as it was typed, for this program and for Remote Pi.
///
/// # Errors
/// When the file cannot be read or written; it is as before then.
pub fn set_relay(root: &Path, url: &RelayUrl) -> Result<(), FileError> {
    let path = relay_file(root);
    let mut file = read_object(&path)?;
    file.insert("relay".to_owned(), Value::from(url.as_str()));
    write_object(&path, file)
}

/// The owners that this machine is paired with, in Remote Pi's file.
#[derive(Debug)]
pub(crate) struct Pairings(PathBuf);

impl Pairings {
    pub(crate) fn of(root: &Path) -> Self {
        Pairings(root.join("peers.json"))
    }

    /// The pairings. Entries whose key or time cannot be read count for nothing.
    pub(crate) fn read(&self) -> Result<Vec<Pairing>, FileError> {
        Ok(records(&read_object(&self.0)?).iter().filter_map(pairing).collect())
    }

    /// Pairs with an owner, in place of an earlier pairing with the same.
    pub(crate) fn add(&self, owner: PublicKey, name: &str) -> Result<(), FileError> {
        let mut file = read_object(&self.0)?;
        let mut records = records(&file);
        records.retain(|record| pairing(record).is_none_or(|pairing| pairing.owner != owner));
        let paired_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        records.push(json!({
            "name": name, "remote_epk": owner.to_string(), "paired_at": paired_at,
        }));
        file.insert("peers".to_owned(), Value::Array(records));
        write_object(&self.0, file)
    }

    /// Ends a pairing, unless the owner was paired with again since.
    pub(crate) fn remove(&self, removal: &Pairing) -> Result<(), FileError> {
        let mut file = read_object(&self.0)?;
        let mut records = records(&file);
        records.retain(|record| pairing(record) != Some(*removal));
        file.insert("peers".to_owned(), Value::Array(records));
        write_object(&self.0, file)
    }
}

fn records(file: &Map<String, Value>) -> Vec<Value> {
    file.get("peers").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn pairing(record: &Value) -> Option<Pairing> {
    let owner = PublicKey::parse(record.get("remote_epk")?.as_str()?).ok()?;
    let paired_at = humantime::parse_rfc3339_weak(record.get("paired_at")?.as_str()?).ok()?;
    let since = paired_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Pairing { owner, paired_at_ms: milliseconds(since) })
}

/// The memberships that were accepted, with their floors.
#[derive(Debug)]
pub(crate) struct Memberships(PathBuf);

impl Memberships {
    pub(crate) fn of(root: &Path) -> Self {
        Memberships(root.join("host/memberships.json"))
    }

    /// What was accepted. A file that holds something else is an error: without the floors an old
    /// membership would be taken for a new one.
    pub(crate) fn read(&self) -> Result<Vec<Followed>, FileError> {
        let file = read_object(&self.0)?;
        let damaged = |owner: &str| FileError::new(&self.0, format!("damaged at {owner:?}"));
        file.iter().map(|(owner, value)| followed(owner, value).ok_or(damaged(owner))).collect()
    }

    /// Keeps these, in place of what was kept of the same owners.
    pub(crate) fn keep(&self, accepted: &[Followed]) -> Result<(), FileError> {
        let mut file = read_object(&self.0)?;
        for Followed { owner, floor, membership } in accepted {
            let mut value = json!({ "floor": floor });
            if let Some(signed) = membership {
                value = json!({
                    "floor": floor,
                    "blob": STANDARD.encode(signed.blob()),
                    "sig": signed.signature().to_string(),
                });
            }
            file.insert(owner.to_string(), value);
        }
        write_object(&self.0, file)
    }
}

fn followed(owner: &str, value: &Value) -> Option<Followed> {
    let owner = PublicKey::parse(owner).ok()?;
    let floor = value.get("floor")?.as_u64()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    let membership = match (text("blob"), text("sig")) {
        (Some(blob), Some(signature)) => {
            let signed = SignedMembership::verify(decode_base64(blob)?, &decode_base64(signature)?);
            Some(signed.ok()?)
        }
        _ => None,
    };
    Some(Followed { owner, floor, membership })
}

/// A time as the protocols count it.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn wall_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
