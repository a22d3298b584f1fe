//! Keys as they are kept in memory: a name and a digest each.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// What a key is called in the log. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

impl KeyName {
    const MAX_LENGTH: usize = 64;

    /// 1 to 64 letters, digits, '_', '-' and '.', the first being a letter or a digit.
    pub fn parse(text: &str) -> Option<Self> {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let starts_well = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        (starts_well && text.len() <= Self::MAX_LENGTH && text.chars().all(fit)).then(|| Self(text.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a key. Digests are compared instead of keys: all are of one length, so that comparing takes the same time
/// whatever is presented, and a key is in memory only while it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// That of a key.
    pub fn of(key: &SecretString) -> Self {
        Self(Sha256::digest(key.expose_secret().as_bytes()).into())
    }

    /// For finding two alike among an operator's own keys, where time tells nobody anything.
    pub(super) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// A set of named keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing(Vec<(KeyName, KeyDigest)>);

impl KeyRing {
    pub(super) fn new(keys: Vec<(KeyName, KeyDigest)>) -> Self {
        Self(keys)
    }

    /// The name of the key that was presented. All keys are compared, to their last byte, whichever it is.
    pub fn find(&self, presented: &KeyDigest) -> Option<&KeyName> {
        let mut found = u32::MAX;
        for (place, (_, digest)) in (0_u32..).zip(&self.0) {
            found.conditional_assign(&place, digest.0.ct_eq(&presented.0));
        }
        self.0.get(found as usize).map(|(name, _)| name)
    }

    /// What the keys are called.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.0.iter().map(|(name, _)| name)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn the_key_that_is_presented_is_found_by_its_whole() {
        let key = |name: &str, key: &str| (KeyName::parse(name).expect("fit"), KeyDigest::of(&secret(key)));
        let ring = KeyRing::new(vec![key("first", "0123456789abcdef"), key("second", "fedcba9876543210")]);
        let found = |text: &str| ring.find(&KeyDigest::of(&secret(text))).map(KeyName::as_str);
        assert_eq!(found("0123456789abcdef"), Some("first"));
        assert_eq!(found("fedcba9876543210"), Some("second"));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "first"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_printed_of_a_ring_is_names() {
        let ring =
            KeyRing::new(vec![(KeyName::parse("shop").expect("fit"), KeyDigest::of(&secret("0123456789abcdef")))]);
        assert_eq!(format!("{ring:?}"), "[KeyName(\"shop\")]");
    }

    #[test]
    fn names_are_fit_for_a_log() {
        for fit in ["shop", "shop-2.eu_west", "7"] {
            assert!(KeyName::parse(fit).is_some(), "{fit}");
        }
        for unfit in ["", "..data", "-x", "two words", "läden", &"x".repeat(65)] {
            assert!(KeyName::parse(unfit).is_none(), "{unfit}");
        }
    }
}
