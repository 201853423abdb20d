//! Compiled code on disk, and what happens to code somebody else wrote.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rp_engine::{Code, Limits};

use crate::fixture::{Guest, Place, engine};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Loads a component in an engine of its own, as a new process would.
async fn load(folder: &Path, key: [u8; 32], guest: &Guest) {
    let engine = engine(folder, key, Limits::default());
    engine.load_adapter(Code::new("test", guest.build())).await.unwrap();
}

/// The only pair in the cache: compiled code and its record.
fn pair(place: &Place) -> (PathBuf, PathBuf) {
    match files(&place.cache()).as_slice() {
        [code, record] => (code.clone(), record.clone()),
        other => panic!("{other:?}"),
    }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn code_is_compiled_once_and_only_the_user_can_read_it() {
    let place = Place::new();
    let guest = Guest::adapter();
    load(place.folder.path(), [7; 32], &guest).await;
    let (code, record) = pair(&place);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.cache()), mode(&code), mode(&record)), (0o700, 0o600, 0o600));

    let before = inode(&code);
    load(place.folder.path(), [7; 32], &guest).await;
    assert_eq!(inode(&code), before, "a second load takes it from the cache");
}

#[tokio::test]
async fn changed_code_is_never_loaded() {
    let place = Place::new();
    let guest = Guest::adapter();
    load(place.folder.path(), [7; 32], &guest).await;
    let (code, _) = pair(&place);
    let good = fs::read(&code).unwrap();
    // Every part of the file is covered, the machine code in it above all.
    for position in [0, good.len() / 3, good.len() / 2, good.len() - 1] {
        let mut changed = good.clone();
        changed[position] ^= 1;
        fs::write(&code, changed).unwrap();
        load(place.folder.path(), [7; 32], &guest).await;
        assert_eq!(fs::read(&code).unwrap(), good, "it was compiled anew");
    }
}

#[tokio::test]
async fn a_changed_or_missing_record_vouches_for_nothing() {
    let place = Place::new();
    let guest = Guest::adapter();
    load(place.folder.path(), [7; 32], &guest).await;
    let (code, record) = pair(&place);
    let good = fs::read(&record).unwrap();
    let mut changed = good.clone();
    changed[31] ^= 1;
    for bad in [Some(changed), Some(good[..16].to_vec()), Some(Vec::new()), None] {
        let before = inode(&code);
        match bad {
            Some(bytes) => fs::write(&record, bytes).unwrap(),
            None => fs::remove_file(&record).unwrap(),
        }
        load(place.folder.path(), [7; 32], &guest).await;
        assert_ne!(inode(&code), before, "it was compiled anew");
        assert_eq!(fs::read(&record).unwrap(), good);
    }
}

#[tokio::test]
async fn the_pair_of_one_component_does_not_stand_in_for_another() {
    let place = Place::new();
    let guest = Guest::adapter();
    let evil = Guest::adapter().body("describe", "unreachable");
    load(place.folder.path(), [7; 32], &guest).await;
    let (code, record) = pair(&place);
    let mine = engine(place.folder.path(), [7; 32], Limits::default());
    mine.load_adapter(Code::new("test", evil.build())).await.err().unwrap();
    let other = files(&place.cache())
        .into_iter()
        .find(|path| path.extension().unwrap() == "cwasm" && *path != code)
        .unwrap();
    fs::copy(&other, &code).unwrap();
    fs::copy(other.with_extension("record"), &record).unwrap();
    load(place.folder.path(), [7; 32], &guest).await;
}

#[tokio::test]
async fn code_made_under_another_key_is_compiled_anew() {
    let place = Place::new();
    let guest = Guest::adapter();
    load(place.folder.path(), [7; 32], &guest).await;
    let (code, _) = pair(&place);
    let before = inode(&code);
    load(place.folder.path(), [8; 32], &guest).await;
    assert_ne!(inode(&code), before);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_no_obstacle() {
    let place = Place::new();
    fs::write(place.cache(), "a file where the folder should be").unwrap();
    load(place.folder.path(), [7; 32], &Guest::adapter()).await;
}
