//! Storage a component can be given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Keys and values that an overlay holds, in bytes.
const MAX_OVERLAY_BYTES: usize = 1 << 20;

/// Durable key-value storage of one component. The host implements it; calls come from the
/// thread that runs the component, and should be quick.
pub trait KeyValue: Send + Sync {
    /// The value of a key, when it has one.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure>;
    /// Gives a key a value.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFailure>;
    /// Takes a key away; it need not exist.
    fn delete(&self, key: &str) -> Result<(), StoreFailure>;
    /// The keys that start with `prefix`, in ascending byte order.
    fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreFailure>;
}

/// Why storage did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFailure {
    /// The component has no permission to store anything.
    #[error("it wants to store something, and it was not granted store")]
    Denied,
    /// The component's quota would be exceeded; nothing was written.
    #[error("its storage is full: nothing was written")]
    Full,
    /// The storage broke.
    #[error("{0}")]
    Other(String),
}

/// The storage of a component without the `store` permission.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

impl KeyValue for NoStore {
    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        Err(StoreFailure::Denied)
    }

    fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreFailure> {
        Err(StoreFailure::Denied)
    }

    fn delete(&self, _: &str) -> Result<(), StoreFailure> {
        Err(StoreFailure::Denied)
    }

    fn keys(&self, _: &str) -> Result<Vec<String>, StoreFailure> {
        Err(StoreFailure::Denied)
    }
}

/// What lies under it with changes of its own on top, of which nothing reaches what lies under it.
pub(crate) struct Overlay {
    under: Arc<dyn KeyValue>,
    /// A key without a value was taken away.
    changed: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

impl Overlay {
    pub(crate) fn over(under: Arc<dyn KeyValue>) -> Self {
        Overlay { under, changed: Mutex::default() }
    }

    fn changed(&self) -> MutexGuard<'_, BTreeMap<String, Option<Vec<u8>>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who may not read may not write either; how much may be written is up to what lies under it,
    /// except that here it ends at a mebibyte of changes.
    fn change(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), StoreFailure> {
        self.under.get(key)?;
        let mut changed = self.changed();
        let bytes = |(key, value): (&String, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        let before: usize = changed.iter().filter(|(known, _)| *known != key).map(bytes).sum();
        if before + key.len() + value.as_ref().map_or(0, Vec::len) > MAX_OVERLAY_BYTES {
            return Err(StoreFailure::Full);
        }
        changed.insert(key.to_owned(), value);
        Ok(())
    }
}

impl KeyValue for Overlay {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        let changed = self.changed().get(key).cloned();
        changed.map_or_else(|| self.under.get(key), Ok)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFailure> {
        self.change(key, Some(value.to_owned()))
    }

    fn delete(&self, key: &str) -> Result<(), StoreFailure> {
        self.change(key, None)
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreFailure> {
        let mut keys: BTreeSet<String> = self.under.keys(prefix)?.into_iter().collect();
        for (key, value) in self.changed().iter().filter(|(key, _)| key.starts_with(prefix)) {
            match value {
                Some(_) => keys.insert(key.clone()),
                None => keys.remove(key),
            };
        }
        Ok(keys.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    /// Two keys, and nothing can be written.
    struct Fixed;

    impl KeyValue for Fixed {
        fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
            Ok(["a1", "a2"].contains(&key).then(|| b"under".to_vec()))
        }

        fn set(&self, _: &str, _: &[u8]) -> Result<(), StoreFailure> {
            Err(StoreFailure::Full)
        }

        fn delete(&self, _: &str) -> Result<(), StoreFailure> {
            Err(StoreFailure::Full)
        }

        fn keys(&self, _: &str) -> Result<Vec<String>, StoreFailure> {
            Ok(vec!["a1".to_owned(), "a2".to_owned()])
        }
    }

    #[test]
    fn changes_on_top_are_seen_there_and_nowhere_else() {
        let overlay = Overlay::over(Arc::new(Fixed));
        overlay.set("a3", b"top").unwrap();
        overlay.delete("a1").unwrap();
        overlay.set("b", b"top").unwrap();
        assert_eq!(overlay.keys("a").unwrap(), ["a2", "a3"]);
        assert_eq!(overlay.get("a1").unwrap(), None);
        assert_eq!(overlay.get("a2").unwrap(), Some(b"under".to_vec()));
        assert_eq!(overlay.get("a3").unwrap(), Some(b"top".to_vec()));
        let large = vec![0; MAX_OVERLAY_BYTES];
        assert_eq!(overlay.set("c", &large), Err(StoreFailure::Full));
    }

    #[test]
    fn who_may_not_store_may_not_store_on_top() {
        let overlay = Overlay::over(Arc::new(NoStore));
        assert_eq!(overlay.set("a", b""), Err(StoreFailure::Denied));
        assert_eq!(overlay.delete("a"), Err(StoreFailure::Denied));
        assert_eq!(overlay.keys(""), Err(StoreFailure::Denied));
    }
}
