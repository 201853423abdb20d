//! Storage that vanishes with the test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rp_engine::{KeyValue, NoStore, StoreFailure};

use super::Subject;
use crate::components::STORE_QUOTA;

/// Keys and values, up to the quota that components have.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

/// What a component stores in: new and empty, and nothing if it does not ask for it.
pub fn storage(subject: &Subject) -> Arc<dyn KeyValue> {
    if subject.asks_for("store") { Arc::new(Memory::default()) } else { Arc::new(NoStore) }
}

impl Memory {
    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyValue for Memory {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.values().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFailure> {
        let mut values = self.values();
        let others = values.iter().filter(|(other, _)| *other != key);
        let others: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        if others + key.len() + value.len() > STORE_QUOTA {
            return Err(StoreFailure::Full);
        }
        values.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreFailure> {
        self.values().remove(key);
        Ok(())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreFailure> {
        Ok(self.values().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }
}
