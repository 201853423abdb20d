//! Where keys are kept, and that no key is ever made in place of one that must exist.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::any::Any;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyring_core::api::{CredentialApi, CredentialStoreApi};
use keyring_core::{CredentialStore, Entry, Error, mock};
use rp_protocol::key::SecretKey;
use rp_vault::*;
use tempfile::TempDir;

fn root() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn store() -> Arc<CredentialStore> {
    mock::Store::new().unwrap()
}

fn vault(root: &TempDir, store: &Arc<CredentialStore>) -> Vault {
    Vault::new(root.path(), Keyring::new(store.clone()), false)
}

fn without_keyring(root: &TempDir) -> Vault {
    Vault::new(root.path(), Keyring::none(), false)
}

fn entry(store: &Arc<CredentialStore>, service: &str, account: &str) -> Option<String> {
    store.build(service, account, None).unwrap().get_password().ok()
}

fn put(store: &Arc<CredentialStore>, service: &str, account: &str, text: &str) {
    store.build(service, account, None).unwrap().set_password(text).unwrap();
}

fn json(seed: u8) -> String {
    use base64::Engine as _;
    let key = SecretKey::from_seed(&[seed; 32]);
    let seed = base64::engine::general_purpose::STANDARD.encode(key.seed());
    format!("{{\"pk\":\"{}\",\"sk\":\"{seed}\"}}", key.public())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A keyring that cannot be used for a while, and counts what it is asked.
#[derive(Debug)]
struct Failing {
    calls: Arc<AtomicUsize>,
    failures: usize,
    behind: Arc<CredentialStore>,
}

impl Failing {
    fn store(
        failures: usize,
        behind: &Arc<CredentialStore>,
    ) -> (Arc<CredentialStore>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let store = Failing { calls: calls.clone(), failures, behind: behind.clone() };
        (Arc::new(store), calls)
    }
}

impl CredentialStoreApi for Failing {
    fn vendor(&self) -> String {
        "failing".into()
    }

    fn id(&self) -> String {
        "failing".into()
    }

    fn build(
        &self,
        service: &str,
        user: &str,
        modifiers: Option<&HashMap<&str, &str>>,
    ) -> keyring_core::Result<Entry> {
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.failures {
            return Err(Error::NoStorageAccess("it is locked".into()));
        }
        self.behind.build(service, user, modifiers)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A keyring that takes everything and keeps nothing.
#[derive(Debug)]
struct Forgetful;

impl CredentialApi for Forgetful {
    fn set_secret(&self, _: &[u8]) -> keyring_core::Result<()> {
        Ok(())
    }

    fn get_secret(&self) -> keyring_core::Result<Vec<u8>> {
        Err(Error::NoEntry)
    }

    fn delete_credential(&self) -> keyring_core::Result<()> {
        Ok(())
    }

    fn get_credential(&self) -> keyring_core::Result<Option<Arc<keyring_core::Credential>>> {
        Ok(None)
    }

    fn get_specifiers(&self) -> Option<(String, String)> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl CredentialStoreApi for Forgetful {
    fn vendor(&self) -> String {
        "forgetful".into()
    }

    fn id(&self) -> String {
        "forgetful".into()
    }

    fn build(
        &self,
        _: &str,
        _: &str,
        _: Option<&HashMap<&str, &str>>,
    ) -> keyring_core::Result<Entry> {
        Ok(Entry::new_with_credential(Arc::new(Forgetful)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

mod machines {
    use super::*;

    #[test]
    fn a_first_key_is_made_in_the_keyring_and_stays_the_same() {
        let (root, store) = (root(), store());
        let made = vault(&root, &store).machine_key(false).unwrap();
        assert_eq!((made.place, made.new), (Place::Keyring, true));
        for paired in [false, true] {
            let again = vault(&root, &store).machine_key(paired).unwrap();
            assert_eq!(again.key.public(), made.key.public());
            assert_eq!((again.place, again.new), (Place::Keyring, false));
        }
        assert!(!root.path().join("identity.json").exists());
    }

    #[test]
    fn a_key_of_remote_pi_is_found_where_it_keeps_it_and_is_not_written_to() {
        let (root, store) = (root(), store());
        put(&store, "dev.remotepi.pi", "longterm-ed25519", &json(7));
        let found = vault(&root, &store).machine_key(true).unwrap();
        assert_eq!(found.key.seed(), &[7; 32]);
        assert_eq!(entry(&store, SERVICE, MACHINE_ACCOUNT), Some(json(7)));
    }

    #[test]
    fn what_is_written_is_what_remote_pi_reads() {
        let (root, store) = (root(), store());
        let made = vault(&root, &store).machine_key(false).unwrap();
        let written = entry(&store, "dev.remotepi.pi", "longterm-ed25519").unwrap();
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert!(written.starts_with("{\"pk\":\"") && !written.contains(' '));
        assert_eq!(read["pk"], made.key.public().to_string());
        assert_eq!(read["sk"].as_str().unwrap().len(), 44);
    }

    #[test]
    fn a_key_under_the_old_service_moves_and_one_beside_the_new_is_left_alone() {
        let (first, store_of_first) = (root(), store());
        put(&store_of_first, OLD_SERVICE, MACHINE_ACCOUNT, &json(7));
        let moved = vault(&first, &store_of_first).machine_key(true).unwrap();
        assert_eq!(moved.key.seed(), &[7; 32]);
        assert_eq!(entry(&store_of_first, SERVICE, MACHINE_ACCOUNT), Some(json(7)));
        assert_eq!(entry(&store_of_first, OLD_SERVICE, MACHINE_ACCOUNT), None);

        let (second, store) = (root(), store());
        put(&store, OLD_SERVICE, MACHINE_ACCOUNT, &json(7));
        put(&store, SERVICE, MACHINE_ACCOUNT, &json(8));
        assert_eq!(vault(&second, &store).machine_key(true).unwrap().key.seed(), &[8; 32]);
        assert_eq!(entry(&store, OLD_SERVICE, MACHINE_ACCOUNT), Some(json(7)));
    }

    #[test]
    fn a_keyring_that_has_nothing_where_a_key_must_be_is_an_error_and_gets_no_new_one() {
        let (root, filled) = (root(), store());
        vault(&root, &filled).machine_key(false).unwrap();
        let emptied = store();
        let refused = vault(&root, &emptied).machine_key(false).unwrap_err();
        assert!(matches!(refused, VaultError::Missing { what: "machine", .. }), "{refused}");
        assert!(refused.to_string().contains("\nhint: "));
        assert_eq!(entry(&emptied, SERVICE, MACHINE_ACCOUNT), None);
        assert!(!root.path().join("identity.json").exists());
        assert!(vault(&root, &filled).machine_key(false).is_ok(), "the key itself is not lost");
    }

    #[test]
    fn paired_devices_mean_that_there_was_a_key() {
        let (root, empty) = (root(), store());
        let refused = vault(&root, &empty).machine_key(true).unwrap_err();
        assert!(matches!(refused, VaultError::Missing { .. }));
        let refused = without_keyring(&root).machine_key(true).unwrap_err();
        assert!(matches!(refused, VaultError::Unusable { .. }));
        assert_eq!(entry(&empty, SERVICE, MACHINE_ACCOUNT), None);
        assert!(!root.path().join("identity.json").exists());
    }

    #[test]
    fn another_key_in_the_keyring_than_the_one_used_is_an_error() {
        let (root, store) = (root(), store());
        vault(&root, &store).machine_key(false).unwrap();
        put(&store, SERVICE, MACHINE_ACCOUNT, &json(7));
        let refused = vault(&root, &store).machine_key(false).unwrap_err();
        assert!(matches!(refused, VaultError::Other { .. }));
        fs::remove_file(root.path().join("host/vault.json")).unwrap();
        let taken = vault(&root, &store).machine_key(false).unwrap();
        assert_eq!(taken.key.seed(), &[7; 32], "as the hint says");
    }

    #[test]
    fn without_a_keyring_the_key_is_in_a_file_that_the_user_alone_can_read() {
        let root = root();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let made = without_keyring(&root).machine_key(false).unwrap();
        assert_eq!((made.place, made.new), (Place::File, true));
        let file = root.path().join("identity.json");
        assert_eq!((mode(&file), mode(root.path())), (0o600, 0o700));
        let again = without_keyring(&root).machine_key(true).unwrap();
        assert_eq!(again.key.public(), made.key.public());
        assert!(!again.new);
    }

    #[test]
    fn a_file_that_others_can_read_is_closed_to_them() {
        let root = root();
        let file = root.path().join("identity.json");
        fs::write(&file, json(7)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(without_keyring(&root).machine_key(true).unwrap().key.seed(), &[7; 32]);
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_file_comes_before_any_keyring_which_is_not_even_asked() {
        let (root, behind) = (root(), store());
        put(&behind, SERVICE, MACHINE_ACCOUNT, &json(8));
        fs::write(root.path().join("identity.json"), json(7)).unwrap();
        let (store, calls) = Failing::store(0, &behind);
        assert_eq!(vault(&root, &store).machine_key(true).unwrap().key.seed(), &[7; 32]);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_keyring_that_fails_for_a_moment_is_asked_again() {
        let (root, behind) = (root(), store());
        put(&behind, SERVICE, MACHINE_ACCOUNT, &json(7));
        let (store, calls) = Failing::store(2, &behind);
        let found = vault(&root, &store).machine_key(true).unwrap();
        assert_eq!((found.key.seed(), found.place), (&[7; 32], Place::Keyring));
        assert_eq!(calls.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_locked_keyring_with_the_key_in_it_is_an_error_and_gets_no_file_beside_it() {
        let (root, behind) = (root(), store());
        let made = vault(&root, &behind).machine_key(false).unwrap();
        let (locked, _) = Failing::store(usize::MAX, &behind);
        let refused = vault(&root, &locked).machine_key(false).unwrap_err();
        assert!(refused.to_string().contains("locked"), "{refused}");
        let refused = without_keyring(&root).machine_key(false).unwrap_err();
        assert!(matches!(refused, VaultError::Unusable { source: Unusable::None, .. }));
        assert!(!root.path().join("identity.json").exists());
        let again = vault(&root, &behind).machine_key(false).unwrap();
        assert_eq!(again.key.public(), made.key.public());
    }

    #[test]
    fn a_file_can_be_allowed_in_spite_of_a_keyring_that_cannot_be_used() {
        let (root, behind) = (root(), store());
        let (locked, _) = Failing::store(usize::MAX, &behind);
        let vault = Vault::new(root.path(), Keyring::new(locked), true);
        let made = vault.machine_key(true).unwrap();
        assert_eq!((made.place, made.new), (Place::File, true));
    }

    #[test]
    fn a_keyring_that_keeps_nothing_is_noticed_before_the_key_is_used() {
        let root = root();
        let vault = Vault::new(root.path(), Keyring::new(Arc::new(Forgetful)), false);
        let refused = vault.machine_key(false).unwrap_err();
        assert!(matches!(refused, VaultError::Unusable { source: Unusable::Forgetful, .. }));
    }

    #[test]
    fn what_is_no_key_is_reported_and_never_replaced() {
        let swapped = json(7).replace(
            &SecretKey::from_seed(&[7; 32]).public().to_string(),
            &SecretKey::from_seed(&[8; 32]).public().to_string(),
        );
        for damaged in
            ["", "{}", "secret text", &json(7).replace("\"sk\":\"", "\"sk\":\"AAAA"), &swapped]
        {
            let (root, store) = (root(), store());
            put(&store, SERVICE, MACHINE_ACCOUNT, damaged);
            let refused = vault(&root, &store).machine_key(false).unwrap_err();
            assert!(matches!(refused, VaultError::Damaged { .. }), "{damaged}");
            assert_eq!(entry(&store, SERVICE, MACHINE_ACCOUNT).as_deref(), Some(damaged));

            let file = root.path().join("identity.json");
            fs::write(&file, damaged).unwrap();
            let refused = without_keyring(&root).machine_key(false).unwrap_err();
            assert!(matches!(refused, VaultError::Damaged { .. }), "{damaged}");
            assert!(!refused.to_string().contains("secret text"));
            assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
        }
    }
}

mod owners {
    use super::*;

    fn owner(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn an_owner_key_is_kept_beside_the_machine_key_and_found_again() {
        let (root, store) = (root(), store());
        let vault = vault(&root, &store);
        assert!(vault.owner_key().unwrap().is_none());
        let machine = vault.machine_key(false).unwrap();
        assert_eq!(vault.keep_owner_key(&owner(5)).unwrap(), Place::Keyring);
        assert_eq!(vault.owner_key().unwrap().unwrap().seed(), &[5; 32]);
        assert_eq!(vault.machine_key(true).unwrap().key.public(), machine.key.public());
        assert_eq!(
            vault.keep_owner_key(&owner(5)).unwrap(),
            Place::Keyring,
            "it may be said twice"
        );
    }

    #[test]
    fn a_second_owner_does_not_replace_the_first() {
        let (root, store) = (root(), store());
        let vault = vault(&root, &store);
        vault.keep_owner_key(&owner(5)).unwrap();
        let refused = vault.keep_owner_key(&owner(6)).unwrap_err();
        assert!(matches!(refused, VaultError::OwnerExists));
        vault.forget_owner_key().unwrap();
        assert!(vault.owner_key().unwrap().is_none());
        vault.keep_owner_key(&owner(6)).unwrap();
        assert_eq!(vault.owner_key().unwrap().unwrap().seed(), &[6; 32]);
    }

    #[test]
    fn an_owner_key_that_was_kept_and_is_not_there_is_an_error() {
        let (root, filled) = (root(), store());
        vault(&root, &filled).keep_owner_key(&owner(5)).unwrap();
        let refused = vault(&root, &store()).owner_key().unwrap_err();
        assert!(matches!(refused, VaultError::Missing { what: "owner", .. }));
        let refused = without_keyring(&root).owner_key().unwrap_err();
        assert!(matches!(refused, VaultError::Unusable { what: "owner", .. }));
        // Recovered from its words, it may be kept again; another may not.
        let emptied = vault(&root, &store());
        assert!(matches!(emptied.keep_owner_key(&owner(6)), Err(VaultError::OwnerExists)));
        assert_eq!(emptied.keep_owner_key(&owner(5)).unwrap(), Place::Keyring);
    }

    #[test]
    fn without_a_keyring_an_owner_key_is_in_a_private_file() {
        let root = root();
        let vault = without_keyring(&root);
        assert_eq!(vault.keep_owner_key(&owner(5)).unwrap(), Place::File);
        assert_eq!(mode(&root.path().join("host/owner.json")), 0o600);
        assert_eq!(vault.owner_key().unwrap().unwrap().seed(), &[5; 32]);
        vault.forget_owner_key().unwrap();
        assert!(!root.path().join("host/owner.json").exists());
        assert!(vault.owner_key().unwrap().is_none());
    }
}
