//! The keys that hold now. They are read again while the service runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::key_files::{self, LoadError};
use super::key_ring::{KeyDigest, KeyName, KeyRing};

/// Keys from a file or a folder.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    ring: RwLock<Arc<KeyRing>>,
}

/// What reading the files again has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// Nothing.
    Unchanged,
    /// Other keys hold from now on.
    Changed,
}

impl Keys {
    /// Where they stand.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of `name: key` lines, or a folder with a file a key.
    ///
    /// # Errors
    /// When it cannot be read, holds no key, or one that cannot be used.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let ring = Arc::new(key_files::load(path)?);
        Ok(Self { path: path.to_owned(), ring: RwLock::new(ring) })
    }

    /// The keys as they stand.
    pub fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The name of the key that was presented.
    pub fn find(&self, presented: &KeyDigest) -> Option<KeyName> {
        self.ring().find(presented).cloned()
    }

    /// Reads the files again. Blocks for as long as that takes.
    ///
    /// # Errors
    /// As for [`Keys::load`]; the keys that held hold on.
    pub fn reload(&self) -> Result<Reloaded, LoadError> {
        let ring = key_files::load(&self.path)?;
        if *self.ring() == ring {
            return Ok(Reloaded::Unchanged);
        }
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(Reloaded::Changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_bad_file_keeps_the_old_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let (old, new) = ("0123456789abcdef", "fedcba9876543210");
        let has = |keys: &Keys, key: &str| keys.find(&KeyDigest::of(&SecretString::from(key.to_owned()))).is_some();
        fs::write(&path, format!("shop: {old}")).expect("written");
        let keys = Keys::load(&path).expect("fine");
        assert_eq!(keys.reload().expect("fine"), Reloaded::Unchanged);

        fs::write(&path, "shop").expect("written");
        keys.reload().expect_err("refused");
        assert!(has(&keys, old));
        fs::remove_file(&path).expect("removed");
        keys.reload().expect_err("refused");
        assert!(has(&keys, old));

        fs::write(&path, format!("shop: {new}")).expect("written");
        assert_eq!(keys.reload().expect("fine"), Reloaded::Changed);
        assert!(has(&keys, new) && !has(&keys, old));
    }
}
