//! Folders and files that only the user can read.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path},
};

/// Creates a folder, and those above it, with mode 0700; one that exists is left as it is.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a file with mode 0600; it must not exist.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}

/// Writes launch files into `folder`. Their names are relative paths that stay inside.
pub(crate) fn write_files(folder: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    create_folder(folder)?;
    for (name, content) in files {
        let name = Path::new(name);
        let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || name.file_name().is_none() {
            let reason = format!("the launch file name {name:?} leaves its folder");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            create_folder(parent)?;
        }
        write_file(&path, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that fails panics")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn launch_files_are_for_the_user_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run");
        let files = [("a.json".to_owned(), b"{}".to_vec()), ("sub/b.ts".to_owned(), b"x".to_vec())];
        write_files(&folder, &files).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("sub")), 0o700);
        assert_eq!(mode(&folder.join("sub/b.ts")), 0o600);
        assert_eq!(fs::read(folder.join("a.json")).unwrap(), b"{}");
    }

    #[test]
    fn a_launch_file_cannot_leave_its_folder() {
        let root = tempfile::tempdir().unwrap();
        for name in ["../x", "/etc/x", "", "a/../../x", "."] {
            let error = write_files(&root.path().join("run"), &[(name.to_owned(), Vec::new())]);
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
