//! A photo by its address: fetched for a client, from the public internet only.
//!
//! A service that asks whatever address it is given can be used to reach what only it can reach: the cluster around it, the
//! cloud's metadata, itself (server-side request forgery). So an address is read and checked ([`target`]), its name is
//! resolved here and every address that comes of it is checked ([`resolve`], [`address`]), and the connection goes to
//! the very addresses that were checked ([`exchange`]); a redirect is a new address and goes through the same.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::RootCertStore;
use tokio::sync::Semaphore;

use crate::arriving::Room;
use crate::deadline::Deadline;
use crate::fault::{Code, Fault};

pub mod address;
mod exchange;
pub mod resolve;
mod target;

use address::AddressPolicy;
use exchange::{Answer, Client};
use resolve::Resolver;
use target::Target;

/// As an address may move, and move from http to https, and have its image elsewhere.
const MAX_REDIRECTS: usize = 3;
/// Room that a declared length is believed for.
const MAX_EXPECTED: usize = 1 << 20;

/// Where a photo is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// In the request: the file.
    Sent(Bytes),
    /// At an address that the request names, as the client wrote it.
    At(String),
}

impl Source {
    /// A photo that is in the request keeps the request's room.
    #[must_use]
    pub fn held(self, room: &Arc<Room>) -> Self {
        match self {
            Self::Sent(file) => Self::Sent(room.hold(file)),
            Self::At(url) => Self::At(url),
        }
    }

    /// Whether there is no photo at all: what forms send for a field that was left alone.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Sent(file) => file.is_empty(),
            Self::At(url) => url.trim().is_empty(),
        }
    }
}

/// How an address may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Encrypted, and from whom it says.
    Https,
    /// In the clear: whoever is in between may put another photo in its place.
    Http,
}

/// Why a text names no scheme.
#[derive(Debug, thiserror::Error)]
#[error("a photo's address begins with https or http; write those that are allowed, such as https")]
pub struct NoScheme;

impl FromStr for Scheme {
    type Err = NoScheme;

    fn from_str(text: &str) -> Result<Self, NoScheme> {
        match text {
            "https" => Ok(Self::Https),
            "http" => Ok(Self::Http),
            _ => Err(NoScheme),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

/// What is fetched, and how much of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How addresses may begin.
    pub schemes: Vec<Scheme>,
    /// Photos that are fetched at once.
    pub at_once: usize,
    /// Longest pause of a host, before its answer and within it.
    pub pause: Duration,
}

/// No certificate authority is trusted.
#[derive(Debug, thiserror::Error)]
#[error(
    "this system trusts no certificate authority, so that no https address could be asked; install its certificates (ca-certificates), or name a file of them in SSL_CERT_FILE"
)]
pub struct NoRoots;

/// The certificate authorities that this system trusts.
///
/// # Errors
/// Where there is none.
pub fn system_roots() -> Result<RootCertStore, NoRoots> {
    let mut roots = RootCertStore::empty();
    // Systems ship certificates that rustls cannot read; those that it can are enough.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(NoRoots) } else { Ok(roots) }
}

/// How many bytes the photos that one request has fetched may have together.
#[derive(Debug)]
pub struct Allowance {
    max: usize,
    left: AtomicUsize,
}

impl Allowance {
    /// That many.
    pub fn new(max: usize) -> Self {
        Self { max, left: AtomicUsize::new(max) }
    }

    /// Takes some of it, for good.
    ///
    /// # Errors
    /// `PAYLOAD_TOO_LARGE` where so many are not left.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let less = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| {
            let max = self.max;
            let detail = format!("The files behind the addresses of this request have more than {max} bytes together.");
            Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", max)
        })
    }
}

/// Fetches photos.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    policy: AddressPolicy,
    resolver: Arc<dyn Resolver>,
    client: Client,
    places: Semaphore,
}

impl Fetcher {
    /// Asks addresses that the policy allows, found by this resolver; over https, hosts that these roots vouch for.
    pub fn new(settings: Settings, policy: AddressPolicy, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        let (client, places) = (Client::new(roots, settings.pause), Semaphore::new(settings.at_once));
        Self { settings, policy, resolver, client, places }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The file behind an address, of up to `max_bytes`; `take` is told of every piece as it arrives, and may end it. Dropping
    /// the future ends the connection.
    ///
    /// # Errors
    /// `IMAGE_URL_REFUSED` where the address, or one that it redirects to, may not be asked; `IMAGE_URL_FAILED` where nothing
    /// came of it by the deadline; `PAYLOAD_TOO_LARGE`; `OVERLOADED` where as many photos are being fetched, or names looked up,
    /// as may be; and what `take` says.
    pub async fn fetch(
        &self,
        url: &str,
        max_bytes: usize,
        deadline: Deadline,
        take: impl FnMut(usize) -> Result<(), Fault>,
    ) -> Result<Bytes, Fault> {
        let target = Target::read(url, &self.settings.schemes)?;
        let Ok(_place) = self.places.try_acquire() else {
            let detail =
                format!("This service is fetching {} photos, as many as it does at once.", self.settings.at_once);
            return Err(Fault::new(Code::Overloaded, detail).retry_after(Duration::from_secs(1)));
        };
        let late = |_| Err(failed("The photo behind image_url did not arrive before the request's deadline."));
        deadline.bound(self.follow(target, max_bytes, take)).await.unwrap_or_else(late)
    }

    async fn follow(
        &self,
        mut target: Target,
        max_bytes: usize,
        take: impl FnMut(usize) -> Result<(), Fault>,
    ) -> Result<Bytes, Fault> {
        for _ in 0..=MAX_REDIRECTS {
            let addresses = resolve::checked(&target, &self.policy, &*self.resolver).await?;
            let answer = self.client.ask(&target, &addresses).await?;
            match answer.location()? {
                None => return file(answer, max_bytes, take).await,
                Some(location) => target = target.redirected(location, &self.settings.schemes)?,
            }
        }
        Err(failed(format!("image_url leads on more than {MAX_REDIRECTS} times. Send where it leads to.")))
    }
}

/// The body, as it is: what the host says of its type or encoding is not heeded.
async fn file(
    mut answer: Answer<'_>,
    max_bytes: usize,
    mut take: impl FnMut(usize) -> Result<(), Fault>,
) -> Result<Bytes, Fault> {
    let declared = answer.declared_length();
    if declared.is_some_and(|declared| declared > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    let mut bytes = BytesMut::with_capacity(declared.map_or(0, |declared| (declared as usize).min(MAX_EXPECTED)));
    while let Some(piece) = answer.piece().await? {
        if bytes.len() + piece.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        take(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

fn refused(detail: impl Into<String>) -> Fault {
    Fault::new(Code::ImageUrlRefused, detail)
}

fn failed(detail: impl Into<String>) -> Fault {
    Fault::new(Code::ImageUrlFailed, detail)
}

fn too_large(max_bytes: usize) -> Fault {
    let detail =
        format!("The file behind image_url has more than {max_bytes} bytes, the most that this service accepts.");
    Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", max_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_of_a_request_share_an_allowance() {
        let allowance = Allowance::new(10);
        allowance.take(6).expect("there is room");
        let fault = allowance.take(5).expect_err("four are left");
        assert_eq!((fault.code(), &fault.facts()["max_bytes"]), (Code::PayloadTooLarge, &10.into()));
        allowance.take(4).expect("what did not fit took nothing");
    }
}
