//! Storage a component can be given.

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
