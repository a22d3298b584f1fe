//! Series by what tells them apart.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

/// A map that only grows, read by borrowed keys: a key is made once, when it is first met.
#[derive(Debug)]
pub(super) struct Known<K, V>(RwLock<HashMap<K, V>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V: Clone> Known<K, V> {
    /// The value of this key; made where the key is new.
    pub(super) fn get_or_make<Q>(&self, key: &Q, make: impl FnOnce() -> (K, V)) -> V
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // A map is whole after every statement, whatever panicked elsewhere.
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        known.unwrap_or_else(|| {
            let (key, value) = make();
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(value).clone()
        })
    }

    /// The keys that were met.
    pub(super) fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
