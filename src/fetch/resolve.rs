//! Names become addresses here, and only addresses that may be asked come out.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::address::AddressPolicy;
use super::refused;
use super::target::{Named, Target};
use crate::fault::{Code, Fault};

/// Addresses of a name that are tried, and looked at.
const MAX_ADDRESSES: usize = 16;
/// Look-ups at once, those that nobody waits for any longer among them: the system's cannot be called off.
const LOOKUPS_AT_ONCE: usize = 32;
/// Patience for a place among them. A look-up takes milliseconds; where none has ended by then, name servers do not answer.
const PLACE_TIME: Duration = Duration::from_secs(1);
/// By then the system has given up some of those that are not answered.
const RETRY: Duration = Duration::from_secs(5);

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync + std::fmt::Debug + 'static {
    /// All of them.
    ///
    /// # Errors
    /// Where the name cannot be looked up, or not now.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved>;
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// The look-up failed.
    #[error("it cannot be looked up")]
    Failed(#[from] io::Error),
    /// Nobody has looked: as many names are being looked up as may be.
    #[error("{LOOKUPS_AT_ONCE} names are being looked up")]
    Busy,
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
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let place = tokio::time::timeout(PLACE_TIME, Arc::clone(&self.places).acquire_owned());
        let place = place.await.map_err(|_| Unresolved::Busy)?.map_err(io::Error::other)?;
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
        Named::Name(name) => match resolver.resolve(name).await {
            Ok(addresses) => Ok(addresses),
            Err(Unresolved::Failed(error)) => Err(NoAddress::NotFound(error)),
            Err(Unresolved::Busy) => return Err(busy()),
        },
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

fn busy() -> Fault {
    let detail = format!(
        "The host of image_url was not looked up: {LOOKUPS_AT_ONCE} other names, as many as this service looks up at once, have had no answer for some time. Try again later, or send the photo itself."
    );
    Fault::new(Code::Overloaded, detail).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Scheme;

    #[tokio::test(start_paused = true)]
    async fn who_finds_every_look_up_taken_is_told_so_soon() {
        let resolver = SystemResolver::default();
        let target = Target::read("https://localhost/photo.jpg", &[Scheme::Https]).expect("an address");
        let stuck = Arc::clone(&resolver.places).acquire_many_owned(LOOKUPS_AT_ONCE as u32).await.expect("all of them");
        let begin = tokio::time::Instant::now();
        let fault = checked(&target, &AddressPolicy::public(), &resolver).await.expect_err("nobody looks");
        assert_eq!((fault.code(), begin.elapsed()), (Code::Overloaded, PLACE_TIME));
        assert!(fault.retry_wait().is_some());
        drop(stuck);
        let fault = checked(&target, &AddressPolicy::public(), &resolver).await.expect_err("it is this machine");
        assert_eq!(fault.code(), Code::ImageUrlRefused);
    }
}
