//! Compiled components on disk.
//!
//! Compiled code is run as it is, so a file that somebody else wrote must never be loaded.
//! Every file has a record beside it that only a holder of the cache key can write; the two
//! are checked together before the code is used. A file that fails the check is compiled
//! anew from the component.

use std::{
    fs::{self, OpenOptions, Permissions},
    hash::{Hash, Hasher},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use hmac::{Hmac, Mac, digest::KeyInit};
use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// Compiled components that are kept; the oldest beyond it are removed.
const KEPT: usize = 256;

/// The folder of compiled components. Not printable, because of its key.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, key: [u8; 32]) -> Self {
        Cache { folder, key }
    }

    /// The compiled form of `wasm`: from the cache, or else compiled now and kept. Takes
    /// tens of milliseconds or more when it compiles.
    pub(crate) fn component(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<Component> {
        let name = name(engine, wasm);
        if let Some(component) = self.load(engine, &name) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, wasm)?;
        let stored = component.serialize().map(|code| self.store(&name, &code));
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(folder = %self.folder.display(), %error, "cannot keep a compiled component");
            }
            Err(error) => tracing::warn!(%error, "cannot serialize a compiled component"),
        }
        Ok(component)
    }

    /// Whether there is a compiled form of `wasm`. It is not looked into.
    pub(crate) fn has(&self, engine: &Engine, wasm: &[u8]) -> bool {
        self.code(&name(engine, wasm)).exists()
    }

    fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let path = self.code(name);
        let code = match fs::read(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a compiled component");
                return None;
            }
        };
        let record = fs::read(self.record(name)).unwrap_or_default();
        if self.authenticator(name, &code).verify_slice(&record).is_err() {
            tracing::warn!(path = %path.display(), "a compiled component was changed behind our back; compiling it anew");
            return None;
        }
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a compiled component is of no use");
                None
            }
        }
    }

    fn store(&self, name: &str, code: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))?;
        let record = self.authenticator(name, code).finalize().into_bytes();
        // A crash between the two leaves a pair that fails the check, which is harmless.
        write(&self.record(name), &record)?;
        write(&self.code(name), code)?;
        self.prune()
    }

    /// Authenticates the code under its name, so that the record of one component does not
    /// vouch for another.
    fn authenticator(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a short key up with zeroes to the block size of its hash.
        let mut block = [0; 64];
        block.iter_mut().zip(self.key).for_each(|(to, byte)| *to = byte);
        let mut hmac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        hmac.update(&(name.len() as u64).to_be_bytes());
        hmac.update(name.as_bytes());
        hmac.update(code);
        hmac
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "cwasm") {
                let modified = fs::metadata(&path).and_then(|data| data.modified());
                files.push((modified.unwrap_or(SystemTime::UNIX_EPOCH), path));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(KEPT);
        for (_, path) in files.into_iter().take(surplus) {
            fs::remove_file(&path)?;
            fs::remove_file(path.with_extension("record"))?;
        }
        Ok(())
    }

    fn code(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.cwasm"))
    }

    fn record(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.record"))
    }
}

/// Loads compiled code.
#[allow(unsafe_code, reason = "the one place where compiled code is loaded")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` demands bytes that `Component::serialize` returned. The only
    // caller, `Cache::load`, has just verified over these very bytes, in memory, a record
    // keyed with a secret; the only place that makes such records is `Cache::store`, whose
    // only caller passes what `Component::serialize` returned. An engine that does not match
    // the code is refused by `deserialize` itself.
    unsafe { Component::deserialize(engine, code) }
}

/// Names compiled code by what it was made from and by the engine it was made for.
fn name(engine: &Engine, wasm: &[u8]) -> String {
    let mut compatibility = HashSum(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    format!("{:x}-{:016x}", Sha256::digest(wasm), compatibility.finish())
}

/// A hasher whose result is the same in every process.
struct HashSum(Sha256);

impl Hasher for HashSum {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let sum = self.0.clone().finalize();
        sum.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.new", process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}
