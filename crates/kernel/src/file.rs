//! Small text files that other programs read: replaced whole or not at all.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// The text of a file; none when there is no such file. What is not UTF-8 is replaced, so that a damaged file is one
/// with another text and no error.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

/// Puts a text into a file that all may read. A reader sees the old text or the new one, also after a crash between.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    replace_with(path, text, 0o644)
}

/// [`replace`], with these permissions.
pub fn replace_with(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = fs::write(&temporary, text)
        .and_then(|()| fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| failed("write", path, &error))
}

/// Makes a directory that all may read, whatever the umask, and those above it.
pub fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| failed("make", path, &error))
}

/// Removes a directory and all in it; gone already is success.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Removes a file; gone already is success.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Whether there is something of that name.
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// Names in a directory; none when there is no such directory.
pub fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", path, &error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

/// Whether a program that is not root can get to files in this directory. What does not exist yet will be made so that
/// it can.
pub fn is_open_to_all(directory: &Path) -> bool {
    directory.ancestors().all(|ancestor| fs::metadata(ancestor).map_or(true, |m| m.permissions().mode() & 0o001 != 0))
}

fn failed(action: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::io(action, path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("isospin-file-{name}-{}", std::process::id()));
        remove_directory(&path).unwrap();
        path
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let directory = directory("replace");
        make_directory(&directory).unwrap();
        let file = directory.join("host");
        assert_eq!(read(&file).unwrap(), None);
        replace(&file, "one").unwrap();
        replace(&file, "two").unwrap();
        assert_eq!(read(&file).unwrap().as_deref(), Some("two"));
        assert_eq!(list(&directory).unwrap(), ["host"]);
        remove(&file).unwrap();
        remove(&file).unwrap();
        assert!(!exists(&file));
        remove_directory(&directory).unwrap();
        remove_directory(&directory).unwrap();
        assert_eq!(list(&directory).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_private_ancestor_hides_what_is_below() {
        let directory = directory("private");
        make_directory(&directory).unwrap();
        assert!(is_open_to_all(&directory.join("dhcp/net")));
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_open_to_all(&directory.join("dhcp/net")));
        remove_directory(&directory).unwrap();
    }

    #[test]
    fn a_refusal_names_the_file() {
        let error = replace(Path::new("/nonexistent/host"), "").unwrap_err();
        assert_eq!(error.to_string(), "cannot write /nonexistent/host");
    }
}
