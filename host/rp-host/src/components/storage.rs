//! Storage of components: in the machine's database, each component for itself, up to a quota.
//!
//! A component is answered from memory, because it waits: a policy's call must not wait for the
//! disk. What it writes is on disk within a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::{ReadableTable, TableDefinition};
use rp_engine::{KeyValue, StoreFailure};
use rp_protocol::component::ComponentId;
use rp_store::{Database, StoreError};

/// Component and key; value.
const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("component_values");

/// Keys and values of one component together, in bytes.
pub const QUOTA: usize = 1 << 20;

/// The storage of one component.
pub struct Storage {
    database: Database,
    id: Arc<str>,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    by_key: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Storage {
    /// Reads what the component has stored.
    pub async fn open(database: Database, id: &ComponentId) -> Result<Self, StoreError> {
        let id: Arc<str> = id.as_str().into();
        let reader = Arc::clone(&id);
        let by_key = database
            .write(move |transaction| {
                let table = transaction.open_table(VALUES)?;
                let mut by_key = BTreeMap::new();
                for entry in table.range((&*reader, "")..)? {
                    let (key, value) = entry?;
                    let (component, key) = key.value();
                    if component != &*reader {
                        break;
                    }
                    by_key.insert(key.to_owned(), value.value().to_vec());
                }
                Ok(by_key)
            })
            .await?;
        let bytes = by_key.iter().map(|(key, value)| key.len() + value.len()).sum();
        Ok(Storage { database, id, values: Mutex::new(Values { by_key, bytes }) })
    }

    /// Throws away what a component has stored.
    pub async fn clear(database: &Database, id: &ComponentId) -> Result<(), StoreError> {
        let id = id.as_str().to_owned();
        database
            .write(move |transaction| {
                let mut table = transaction.open_table(VALUES)?;
                table.retain(|(component, _), _| component != id)?;
                Ok(())
            })
            .await
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &str, value: Option<Vec<u8>>) {
        let (id, key) = (Arc::clone(&self.id), key.to_owned());
        self.database.write_relaxed(move |transaction| {
            let mut table = transaction.open_table(VALUES)?;
            match value {
                Some(value) => drop(table.insert((&*id, key.as_str()), value.as_slice())?),
                None => drop(table.remove((&*id, key.as_str()))?),
            }
            Ok(())
        });
    }
}

impl KeyValue for Storage {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.values().by_key.get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFailure> {
        let mut values = self.values();
        let before = values.by_key.get(key).map_or(0, |old| key.len() + old.len());
        let bytes = values.bytes - before + key.len() + value.len();
        if bytes > QUOTA {
            return Err(StoreFailure::Full);
        }
        values.bytes = bytes;
        values.by_key.insert(key.to_owned(), value.to_vec());
        // In the order of the calls, so the lock is held.
        self.write(key, Some(value.to_vec()));
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreFailure> {
        let mut values = self.values();
        if let Some(old) = values.by_key.remove(key) {
            values.bytes -= key.len() + old.len();
            self.write(key, None);
        }
        Ok(())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, StoreFailure> {
        let values = self.values();
        let from = values.by_key.range(prefix.to_owned()..);
        Ok(from.map(|(key, _)| key.clone()).take_while(|key| key.starts_with(prefix)).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use super::*;

    fn id(text: &str) -> ComponentId {
        ComponentId::parse(text).unwrap()
    }

    #[tokio::test]
    async fn what_one_component_stored_is_there_after_a_restart_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.redb");
        {
            let database = Database::open(&path).unwrap();
            let mine = Storage::open(database.clone(), &id("mine")).await.unwrap();
            mine.set("a", b"1").unwrap();
            mine.set("b", b"2").unwrap();
            mine.delete("b").unwrap();
            let other = Storage::open(database, &id("mine-too")).await.unwrap();
            assert_eq!(other.get("a").unwrap(), None);
            other.set("c", b"3").unwrap();
        }
        let database = Database::open(&path).unwrap();
        let mine = Storage::open(database.clone(), &id("mine")).await.unwrap();
        assert_eq!(mine.keys("").unwrap(), ["a"]);
        Storage::clear(&database, &id("mine")).await.unwrap();
        assert_eq!(Storage::open(database.clone(), &id("mine")).await.unwrap().get("a"), Ok(None));
        let other = Storage::open(database, &id("mine-too")).await.unwrap();
        assert_eq!(other.get("c").unwrap().as_deref(), Some(b"3".as_slice()));
    }

    #[tokio::test]
    async fn more_than_the_quota_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("host.redb")).unwrap();
        let storage = Storage::open(database, &id("greedy")).await.unwrap();
        let half = vec![7; QUOTA / 2];
        storage.set("one", &half).unwrap();
        assert_eq!(storage.set("two", &half), Err(StoreFailure::Full));
        assert_eq!(storage.keys("").unwrap(), ["one"]);
        storage.set("one", b"small").unwrap();
        storage.set("two", &half).unwrap();
    }
}
