//! Names become addresses here, and only addresses that may be asked come out.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::address::AddressPolicy;
use super::refused;
use super::target::{Named, Target};
use crate::fault::Fault;

/// Addresses of a name that are tried, and looked at.
const MAX_ADDRESSES: usize = 16;
/// Look-ups at once, those that nobody waits for any longer among them: the system's cannot be called off.
const LOOKUPS_AT_ONCE: usize = 32;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync + std::fmt::Debug + 'static {
    /// All of them.
    ///
    /// # Errors
    /// Where the name cannot be looked up.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's: its hosts file and its DNS servers.
#[derive(Debug)]
pub struct SystemResolver {
    places: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let look_up = move || {
            let _place = place;
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        };
        tokio::task::spawn_blocking(look_up).await.map_err(io::Error::other)?
    }
}

/// Why a host may not be asked. Clients are told the same in every case, the log which it was.
#[derive(Debug, thiserror::Error)]
enum NoAddress {
    #[error("it cannot be looked up")]
    NotFound(#[source] io::Error),
    #[error("it has no address")]
    Empty,
    #[error("it has the address {0}, which is not public")]
    NotPublic(IpAddr),
}

/// The addresses of the host, all of which may be asked. To be connected to as they are: a second look-up may say otherwise.
///
/// # Errors
/// `IMAGE_URL_REFUSED`, in one text for a name that does not exist and for one that stands for a private address: names of a
/// private network are not to be found out by asking.
pub(super) async fn checked(
    target: &Target,
    policy: &AddressPolicy,
    resolver: &dyn Resolver,
) -> Result<Vec<SocketAddr>, Fault> {
    let found = match target.named() {
        Named::Address(address) => Ok(vec![address]),
        Named::Name(name) => resolver.resolve(name).await.map_err(NoAddress::NotFound),
    };
    let public = found.and_then(|mut addresses| {
        addresses.truncate(MAX_ADDRESSES);
        // One that is not public spoils the others: an honest name has none beside public ones.
        match addresses.iter().find(|&&address| !policy.allows(address)) {
            Some(&address) => Err(NoAddress::NotPublic(address)),
            None if addresses.is_empty() => Err(NoAddress::Empty),
            None => Ok(addresses.into_iter().map(|address| SocketAddr::new(address, target.port())).collect()),
        }
    });
    public.map_err(|why| {
        let host = target.host_shown();
        refused(format!(
            "Host '{host}' of image_url has no public address; this service fetches from public addresses only."
        ))
        .caused_by(why)
    })
}
