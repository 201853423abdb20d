//! Failures of the disk, played by a backend that can be told to fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use redb::{ReadableTable, StorageBackend, TableDefinition, WriteTransaction};

use crate::file::DatabaseFile;
use crate::{Database, OpenError, StoreError};

const NUMBERS: TableDefinition<u64, &[u8]> = TableDefinition::new("numbers");

/// A disk in memory that keeps its bytes when the database on it is opened again.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
    free: Arc<AtomicU64>,
}

impl Disk {
    fn database(&self) -> Database {
        self.free.store(u64::MAX, Ordering::Relaxed);
        let (disk, free) = (self.clone(), Arc::clone(&self.free));
        let path = Path::new("/nowhere/test.redb");
        let opener = move || {
            redb::Builder::new()
                .create_with_backend(disk.clone())
                .map_err(|error| OpenError::from_redb(path, error))
        };
        let free_space = move || Some(free.load(Ordering::Relaxed));
        let file = DatabaseFile::open_with(path, Box::new(opener), Box::new(free_space)).unwrap();
        Database::start(file).unwrap()
    }

    fn check(&self) -> io::Result<()> {
        match self.is_full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        let bytes = self.bytes.lock().unwrap();
        out.copy_from_slice(&bytes[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // As with a sparse file, length costs nothing.
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let start = offset as usize;
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn insert(number: u64) -> impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send {
    move |transaction| {
        transaction.open_table(NUMBERS)?.insert(number, [7u8; 100].as_slice())?;
        Ok(())
    }
}

fn numbers(database: &Database) -> Vec<u64> {
    database
        .read(|transaction| {
            let table = transaction.open_table(NUMBERS)?;
            let mut numbers = Vec::new();
            for entry in table.iter()? {
                numbers.push(entry?.0.value());
            }
            Ok(numbers)
        })
        .unwrap()
}

#[tokio::test]
async fn on_a_full_disk_writes_fail_clearly_reads_go_on_and_writes_recover() {
    let disk = Disk::default();
    let database = disk.database();
    database.write(insert(1)).await.unwrap();

    disk.is_full.store(true, Ordering::Relaxed);
    let refused = database.write(insert(2)).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(refused.to_string().contains("hint: free some disk space"));
    // The disk lets nothing in at all, not even the repair, until there is room.
    let refused = database.write(insert(3)).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");

    disk.is_full.store(false, Ordering::Relaxed);
    assert_eq!(numbers(&database), [1]);
    database.write(insert(4)).await.unwrap();
    assert_eq!(numbers(&database), [1, 4]);
    assert!(database.counters().times_reopened >= 1);
}

#[tokio::test]
async fn a_nearly_full_disk_refuses_writes_before_anything_breaks() {
    let disk = Disk::default();
    let database = disk.database();
    database.write(insert(1)).await.unwrap();

    disk.free.store(1 << 20, Ordering::Relaxed);
    let refused = database.write(insert(2)).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert_eq!(numbers(&database), [1]);

    disk.free.store(u64::MAX, Ordering::Relaxed);
    database.write(insert(3)).await.unwrap();
    assert_eq!(numbers(&database), [1, 3]);
    assert_eq!(database.counters().times_reopened, 0);
}

#[tokio::test]
async fn the_space_of_a_failed_write_is_given_back_without_a_restart() {
    let disk = Disk::default();
    let database = disk.database();
    database.write(insert(1)).await.unwrap();
    let length = |disk: &Disk| disk.bytes.lock().unwrap().len();
    let before = length(&disk);

    disk.is_full.store(true, Ordering::Relaxed);
    let large = |transaction: &WriteTransaction| {
        let value = vec![7u8; 20 << 20];
        transaction.open_table(NUMBERS)?.insert(2, value.as_slice())?;
        Ok(())
    };
    database.write(large).await.unwrap_err();
    assert!(length(&disk) > before + (20 << 20));

    disk.is_full.store(false, Ordering::Relaxed);
    disk.free.store(2 << 20, Ordering::Relaxed);
    database.write(insert(3)).await.unwrap_err();
    assert!(length(&disk) <= before, "{} bytes", length(&disk));
    disk.free.store(u64::MAX, Ordering::Relaxed);
    database.write(insert(4)).await.unwrap();
    assert_eq!(numbers(&database), [1, 4]);
}

#[tokio::test]
async fn relaxed_work_is_flushed_even_when_new_writes_are_refused_for_lack_of_space() {
    let disk = Disk::default();
    let database = disk.database();
    let (tell, told) = mpsc::channel();
    database.write_relaxed_then(insert(1), move |outcome| tell.send(outcome).unwrap());
    told.recv().unwrap().unwrap();
    disk.free.store(0, Ordering::Relaxed);
    // Refused writes keep coming; the flush must not starve behind them.
    while database.counters().durable_commits == 0 {
        database.write(insert(2)).await.unwrap_err();
    }
    let copy = Disk::default();
    copy.bytes.lock().unwrap().extend_from_slice(&disk.bytes.lock().unwrap());
    assert_eq!(numbers(&copy.database()), [1]);
}
