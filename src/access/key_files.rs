//! Keys as an operator writes them: a file of `name: key` lines, or a folder with a file a key.
//!
//! The folder is what Kubernetes mounts a Secret as. There each file is a link through `..data`, which is replaced at once
//! when the Secret changes; reading inside of what `..data` stands for gives either all old keys or all new ones.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::key_ring::{KeyDigest, KeyName, KeyRing};

/// More than any file of keys has; it bounds what a wrong path costs, such as that of a photo.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Every key is compared for every request.
const MAX_KEYS: usize = 1_000;
/// Shorter keys can be guessed.
const MIN_KEY_LENGTH: usize = 16;
/// Longer ones do not fit beside other headers.
const MAX_KEY_LENGTH: usize = 512;

/// Why keys cannot be read. None of these repeats a key.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file or folder, or one in it, cannot be read.
    #[error("{} cannot be read", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no file of keys.
    #[error("{} has more than {MAX_FILE_BYTES} bytes, or is no text: it is no file of keys", .path.display())]
    NoText {
        /// Which.
        path: PathBuf,
    },
    /// A line is neither a key nor a comment.
    #[error("line {line} of {} is no `name: key`; comments begin with #", .path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// A key's name cannot be used.
    #[error("{place}: a key's name has 1 to 64 letters, digits, '_', '-' and '.'")]
    Name {
        /// Where it stands.
        place: String,
    },
    /// A key cannot be used.
    #[error(
        "{place}: the key has {length} characters; it needs {MIN_KEY_LENGTH} to {MAX_KEY_LENGTH} visible ASCII characters without spaces, such as `openssl rand -hex 32` prints"
    )]
    Key {
        /// Where it stands.
        place: String,
        /// How long it is.
        length: usize,
    },
    /// Two keys have one name, or two names one key.
    #[error("{place} repeats the {what} of {first}")]
    Twice {
        /// Where the second stands.
        place: String,
        /// `name` or `key`.
        what: &'static str,
        /// Where the first stands.
        first: String,
    },
    /// There are too many.
    #[error("{} holds more than {MAX_KEYS} keys", .path.display())]
    TooMany {
        /// Where.
        path: PathBuf,
    },
    /// There is none, so that nobody could ask.
    #[error("{} holds no key; write one as `name: key`", .path.display())]
    Empty {
        /// Where.
        path: PathBuf,
    },
}

/// A key with its place, for messages.
struct Entry {
    place: String,
    name: String,
    key: SecretString,
}

/// Reads the keys of a file or a folder.
pub(super) fn load(path: &Path) -> Result<KeyRing, LoadError> {
    let unreadable = |source| LoadError::Read { path: path.to_owned(), source };
    let is_folder = fs::metadata(path).map_err(unreadable)?.is_dir();
    let entries = if is_folder { of_folder(path)? } else { of_file(path)? };
    if entries.is_empty() {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    if entries.len() > MAX_KEYS {
        return Err(LoadError::TooMany { path: path.to_owned() });
    }
    ring(entries)
}

fn of_file(path: &Path) -> Result<Vec<Entry>, LoadError> {
    let text = read(path)?;
    let mut entries = Vec::new();
    for (number, line) in (1..).zip(text.expose_secret().lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // A name has neither of the two; a key may have both.
        let (name, key) =
            line.split_once([':', '=']).ok_or_else(|| LoadError::Line { path: path.to_owned(), line: number })?;
        let place = format!("line {number} of {}", path.display());
        entries.push(Entry { place, name: name.trim().to_owned(), key: key.trim().to_owned().into() });
    }
    Ok(entries)
}

fn of_folder(path: &Path) -> Result<Vec<Entry>, LoadError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| LoadError::Read { path, source }
    };
    let data = path.join("..data");
    let folder = if data.exists() { data.canonicalize().map_err(unreadable(&data))? } else { path.to_owned() };
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
        let entry = entry.map_err(unreadable(&folder))?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !is_hidden {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let entry = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key = read(file)?.expose_secret().trim().to_owned().into();
        Ok(Entry { place: path.join(&name).display().to_string(), name, key })
    };
    paths.iter().take(MAX_KEYS + 1).map(entry).collect()
}

/// A small text file.
fn read(path: &Path) -> Result<SecretString, LoadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let fits = bytes.len() as u64 <= MAX_FILE_BYTES;
    let text = String::from_utf8(bytes).ok().filter(|_| fits);
    text.map(SecretString::from).ok_or_else(|| LoadError::NoText { path: path.to_owned() })
}

fn ring(entries: Vec<Entry>) -> Result<KeyRing, LoadError> {
    let (mut names, mut digests) = (HashMap::new(), HashMap::new());
    let mut keys = Vec::with_capacity(entries.len());
    for Entry { place, name, key } in entries {
        let Some(name) = KeyName::parse(&name) else { return Err(LoadError::Name { place }) };
        let text = key.expose_secret();
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_visible || !(MIN_KEY_LENGTH..=MAX_KEY_LENGTH).contains(&text.len()) {
            return Err(LoadError::Key { place, length: text.chars().count() });
        }
        let digest = KeyDigest::of(&key);
        if let Some(first) = names.insert(name.clone(), place.clone()) {
            return Err(LoadError::Twice { place, what: "name", first });
        }
        if let Some(first) = digests.insert(digest.bytes(), place.clone()) {
            return Err(LoadError::Twice { place, what: "key", first });
        }
        keys.push((name, digest));
    }
    Ok(KeyRing::new(keys))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    fn found(ring: &KeyRing, key: &str) -> Option<String> {
        ring.find(&KeyDigest::of(&SecretString::from(key.to_owned()))).map(ToString::to_string)
    }

    fn file(text: &str) -> Result<KeyRing, LoadError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        fs::write(&path, text).expect("written");
        load(&path)
    }

    #[test]
    fn a_file_has_a_key_a_line() {
        let ring = file(&format!("# of the shop\n\nshop: {ONE}\r\n partner = {TWO}=: \n")).expect("fine");
        assert_eq!(found(&ring, ONE).as_deref(), Some("shop"));
        assert_eq!(found(&ring, &format!("{TWO}=:")).as_deref(), Some("partner"), "a key may contain both signs");
        assert_eq!(found(&ring, TWO), None);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place_and_never_by_the_key() {
        for (text, expected) in [
            (String::new(), "holds no key"),
            ("# nothing\n".to_owned(), "holds no key"),
            (format!("shop: {ONE}\n{TWO}"), "line 2 of"),
            (format!("two words: {ONE}"), "a key's name has"),
            ("shop: short-key".to_owned(), "the key has 9 characters"),
            (format!("shop: {ONE} {TWO}"), "without spaces"),
            (format!("shop: {}", "x".repeat(513)), "the key has 513 characters"),
            (format!("shop: {ONE}\nshop: {TWO}"), "repeats the name of line 1"),
            (format!("shop: {ONE}\npartner: {ONE}"), "repeats the key of line 1"),
            ("x".repeat((1 << 20) + 1), "it is no file of keys"),
        ] {
            let error = file(&text).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(ONE) && !error.contains(TWO) && !error.contains("short-key"), "{error}");
        }
    }

    #[test]
    fn a_folder_has_a_file_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("shop"), format!("{ONE}\n")).expect("written");
        fs::write(folder.path().join(".hidden"), "no key").expect("written");
        assert_eq!(found(&load(folder.path()).expect("fine"), ONE).as_deref(), Some("shop"));
        fs::create_dir(folder.path().join("more")).expect("made");
        assert!(matches!(load(folder.path()), Err(LoadError::Read { path, .. }) if path.ends_with("more")));
    }

    /// As the kubelet lays it out: the names link into `..data`, which links to a folder of this moment.
    #[test]
    fn a_mounted_secret_is_read_as_of_one_moment() {
        let mount = tempfile::tempdir().expect("a folder");
        let at = |name: &str| mount.path().join(name);
        for (moment, key) in [("..2026_11_24", ONE), ("..2026_11_25", TWO)] {
            fs::create_dir(at(moment)).expect("made");
            fs::write(at(moment).join("shop"), key).expect("written");
        }
        symlink("..2026_11_24", at("..data")).expect("linked");
        symlink("..data/shop", at("shop")).expect("linked");
        assert_eq!(found(&load(mount.path()).expect("fine"), ONE).as_deref(), Some("shop"));

        symlink("..2026_11_25", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        let ring = load(mount.path()).expect("fine");
        assert_eq!((found(&ring, ONE), found(&ring, TWO).as_deref()), (None, Some("shop")));
        assert_eq!(ring.names().count(), 1, "links are not counted twice");
    }
}
