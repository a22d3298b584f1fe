//! Who may ask, and how often: named keys, and rates for each key and each client address. Nothing of HTTP here.

use std::sync::Arc;

pub mod client;
pub mod key_files;
pub mod key_ring;
pub mod keys;
pub mod origin;
pub mod rate;

use client::{ClientNetwork, TrustedProxies};
use key_ring::KeyName;
use keys::Keys;
use origin::Origin;
use rate::Limiter;

/// What stands between a client and the pipeline. By default nothing does, which suits loopback only.
#[derive(Debug, Default)]
pub struct Access {
    /// The keys, one of which a request must bear; without any, everybody may ask.
    pub keys: Option<Arc<Keys>>,
    /// How often each key may be used.
    pub per_key: Option<Limiter<KeyName>>,
    /// How often each client address may ask.
    pub per_address: Option<Limiter<ClientNetwork>>,
    /// Whose word is taken on where a request came from.
    pub trusted_proxies: TrustedProxies,
    /// Whose pages may ask from a browser.
    pub origins: Vec<Origin>,
}
