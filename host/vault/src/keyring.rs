//! The system's keyring: the Secret Service on Linux, the login keychain on macOS.
//!
//! A call may open a dialog that nobody sees, so every call is given a few seconds and made by a
//! thread of its own, which is left behind when the time is over.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keyring_core::{CredentialStore, Error};
use zeroize::Zeroizing;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a read is tried.
const ATTEMPTS: u32 = 3;
/// Before the second attempt; twice as long before the third.
const PAUSE: Duration = Duration::from_millis(300);

/// Why the keyring is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// There is none, or it cannot be reached.
    #[error("there is no keyring")]
    None,
    /// It did not answer; perhaps it waits for a dialog that nobody sees.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It refused.
    #[error("{0}")]
    Failed(String),
    /// It did not have what had just been written.
    #[error("it did not keep what was written to it")]
    Forgetful,
}

/// A keyring, or none.
#[derive(Debug, Clone)]
pub struct Keyring(Option<Arc<CredentialStore>>);

impl Keyring {
    /// The keyring of this system, if it can be reached.
    #[must_use]
    pub fn of_system() -> Self {
        Keyring(timed(system_store).unwrap_or_default())
    }

    /// No keyring.
    #[must_use]
    pub fn none() -> Self {
        Keyring(None)
    }

    /// This one.
    #[must_use]
    pub fn new(store: Arc<CredentialStore>) -> Self {
        Keyring(Some(store))
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.is_some()
    }

    /// Whether every user of this system has one, so that not reaching it means that something is
    /// wrong with it.
    pub(crate) fn is_expected(&self) -> bool {
        cfg!(target_os = "macos") && self.exists()
    }

    /// Reads an entry. `None`: the keyring answered, and has none.
    pub(crate) fn read(
        &self,
        service: &'static str,
        account: &'static str,
    ) -> Result<Option<Zeroizing<String>>, Unusable> {
        let mut attempt = 1;
        loop {
            let read = self.call(service, account, |entry| match entry.get_password() {
                Ok(text) => Ok(Some(Zeroizing::new(text))),
                Err(Error::NoEntry) => Ok(None),
                Err(error) => Err(error),
            });
            match read {
                Err(Unusable::Failed(_) | Unusable::Silent) if attempt < ATTEMPTS => {
                    thread::sleep(PAUSE * attempt);
                    attempt += 1;
                }
                read => return read,
            }
        }
    }

    pub(crate) fn write(
        &self,
        service: &'static str,
        account: &'static str,
        text: &Zeroizing<String>,
    ) -> Result<(), Unusable> {
        let text = text.clone();
        self.call(service, account, move |entry| entry.set_password(&text))
    }

    /// Deletes an entry. One that is not there is deleted.
    pub(crate) fn delete(
        &self,
        service: &'static str,
        account: &'static str,
    ) -> Result<(), Unusable> {
        self.call(service, account, |entry| match entry.delete_credential() {
            Err(Error::NoEntry) => Ok(()),
            deleted => deleted,
        })
    }

    fn call<T: Send + 'static>(
        &self,
        service: &'static str,
        account: &'static str,
        act: impl FnOnce(&keyring_core::Entry) -> keyring_core::Result<T> + Send + 'static,
    ) -> Result<T, Unusable> {
        let store = self.0.clone().ok_or(Unusable::None)?;
        let called = timed(move || {
            let entry = store.build(service, account, None)?;
            act(&entry)
        });
        match called {
            None => Err(Unusable::Silent),
            Some(Err(Error::NoDefaultStore)) => Err(Unusable::None),
            // Their text names the failure and not the entry's content.
            Some(Err(Error::BadEncoding(_) | Error::BadDataFormat(..))) => {
                Err(Unusable::Failed("the entry is not text".to_owned()))
            }
            Some(Err(error)) => Err(Unusable::Failed(error.to_string())),
            Some(Ok(answer)) => Ok(answer),
        }
    }
}

fn timed<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let call = move || {
        // Nobody may be waiting any more.
        let _ = tell.send(act());
    };
    thread::Builder::new().name("keyring".to_owned()).spawn(call).ok()?;
    told.recv_timeout(PATIENCE).ok()
}

#[cfg(target_os = "linux")]
fn system_store() -> Option<Arc<CredentialStore>> {
    let store: Arc<CredentialStore> = zbus_secret_service_keyring_store::Store::new().ok()?;
    Some(store)
}

#[cfg(target_os = "macos")]
fn system_store() -> Option<Arc<CredentialStore>> {
    let store: Arc<CredentialStore> = apple_native_keyring_store::keychain::Store::new().ok()?;
    Some(store)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn system_store() -> Option<Arc<CredentialStore>> {
    None
}
