//! Who may ask, and how often: named keys, and rates for each key and each client address. Nothing of HTTP here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Code, Fault};

pub mod client;
pub mod key_files;
pub mod key_ring;
pub mod keys;
pub mod origin;
pub mod rate;

use client::{ClientNetwork, TrustedProxies};
use key_ring::{KeyDigest, KeyName};
use keys::Keys;
use origin::Origin;
use rate::Limiter;

/// What stands between a client and the pipeline. By default nothing does, which suits loopback only.
#[derive(Debug, Default)]
pub struct Access {
    /// The keys, one of which a request must bear; without any, everybody may ask.
    pub keys: Option<Arc<Keys>>,
    /// How often each key may be used.
    pub per_key: Option<Arc<Limiter<KeyName>>>,
    /// How often each client address may ask.
    pub per_address: Option<Arc<Limiter<ClientNetwork>>>,
    /// Whose word is taken on where a request came from.
    pub trusted_proxies: TrustedProxies,
    /// Whose pages may ask from a browser.
    pub origins: Vec<Origin>,
}

/// Who asks, as far as the request says.
#[derive(Clone)]
pub struct Caller {
    /// The address, where it is known.
    pub address: Option<IpAddr>,
    /// The key that was presented, as it is compared.
    pub key: Option<KeyDigest>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Keys are set, and none was presented.
    NoKey,
    /// The key that was presented is not one of those that hold.
    UnknownKey,
    /// The address has asked too often, and may again after that long.
    AddressTooOften(Duration),
    /// The key of this name has.
    KeyTooOften(KeyName, Duration),
}

impl Access {
    /// Lets somebody in, and counts it; the name of the key that was presented, where keys are set. The address first: guessing
    /// keys is held back by it.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, caller: &Caller) -> Result<Option<KeyName>, Refusal> {
        if let (Some(limiter), Some(address)) = (&self.per_address, caller.address) {
            limiter.check(address.into()).map_err(Refusal::AddressTooOften)?;
        }
        let Some(keys) = &self.keys else { return Ok(None) };
        let presented = caller.key.as_ref().ok_or(Refusal::NoKey)?;
        let key = keys.find(presented).ok_or(Refusal::UnknownKey)?;
        if let Some(limiter) = &self.per_key {
            limiter.check(key.clone()).map_err(|wait| Refusal::KeyTooOften(key.clone(), wait))?;
        }
        Ok(Some(key))
    }
}

impl Refusal {
    /// What the caller is told.
    pub fn fault(&self) -> Fault {
        let too_often = |whose: &str, wait: Duration| {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let detail = format!("This {whose} has asked more often than it may; wait {seconds} s.");
            Fault::new(Code::RateLimited, detail).with("limited_by", whose).retry_after(wait)
        };
        match self {
            Self::NoKey => Fault::new(
                Code::Unauthorized,
                "The request has no key. Send one as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
            ),
            Self::UnknownKey => Fault::new(
                Code::Unauthorized,
                "The key of the request is not one of this service's keys; it may be mistyped or have been replaced.",
            ),
            Self::AddressTooOften(wait) => too_often("address", *wait),
            Self::KeyTooOften(_, wait) => too_often("key", *wait),
        }
    }
}
