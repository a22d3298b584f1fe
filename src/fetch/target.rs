//! An address as the client wrote it, read and checked for what can be told from it alone.

use std::net::IpAddr;

use url::{Host, Position, Url};

use super::{Scheme, failed, refused};
use crate::fault::Fault;

/// Longer addresses are not written by people or by those who sign them.
const MAX_BYTES: usize = 8 << 10;
/// Ports below it belong to the system's own services, such as mail and remote shells; of those only the scheme's own is asked.
const FIRST_FREE_PORT: u16 = 1024;

/// An address that may be asked if its host may.
#[derive(Debug)]
pub(super) struct Target {
    url: Url,
    scheme: Scheme,
}

/// Whom the address names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// An address, written as one. The URL standard has read every way of writing one by then: `0x7f.1` and `2130706433`
    /// are 127.0.0.1.
    Address(IpAddr),
    /// A name, to be looked up.
    Name(&'a str),
}

impl Target {
    /// Reads what a client has sent.
    ///
    /// # Errors
    /// `IMAGE_URL_REFUSED`.
    pub(super) fn read(text: &str, schemes: &[Scheme]) -> Result<Self, Fault> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(refused(format!("image_url has {} bytes; it may have {MAX_BYTES}.", text.len())));
        }
        let url = Url::parse(text).map_err(|error| {
            refused(format!("image_url is no address: {error}. Write it whole: https://host/photo.jpg."))
        })?;
        Self::checked(url, schemes)
    }

    /// Where a redirect from here leads.
    ///
    /// # Errors
    /// `IMAGE_URL_FAILED` where it leads nowhere, `IMAGE_URL_REFUSED`.
    pub(super) fn redirected(&self, location: &str, schemes: &[Scheme]) -> Result<Self, Fault> {
        let url = Some(location).filter(|text| text.len() <= MAX_BYTES).and_then(|text| self.url.join(text).ok());
        let url =
            url.ok_or_else(|| failed(format!("Host '{}' redirects image_url to no address.", self.host_shown())))?;
        Self::checked(url, schemes)
    }

    fn checked(url: Url, schemes: &[Scheme]) -> Result<Self, Fault> {
        let Some(scheme) = url.scheme().parse().ok().filter(|scheme| schemes.contains(scheme)) else {
            let allowed: Vec<_> = schemes.iter().map(ToString::to_string).collect();
            let found: String = url.scheme().chars().take(40).collect();
            return Err(refused(format!(
                "image_url begins with {found}:; this service fetches {} only.",
                allowed.join(" and ")
            )));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("image_url holds a user's name or password. Send an address that needs none."));
        }
        // The port is none where it is the scheme's own.
        if let Some(port) = url.port().filter(|&port| port < FIRST_FREE_PORT) {
            return Err(refused(format!(
                "image_url names port {port}; this service asks the scheme's own port, or one from {FIRST_FREE_PORT} up."
            )));
        }
        Ok(Self { url, scheme })
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn named(&self) -> Named<'_> {
        match self.url.host().expect("http and https addresses have a host") {
            Host::Domain(name) => Named::Name(name),
            Host::Ipv4(address) => Named::Address(address.into()),
            Host::Ipv6(address) => Named::Address(address.into()),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("http and https have ports of their own")
    }

    /// What the header `Host` says: the host, with the port where it is not the scheme's own.
    pub(super) fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// What is asked of the host: path and query.
    pub(super) fn path(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// The host, short enough to repeat.
    pub(super) fn host_shown(&self) -> String {
        self.url.host_str().unwrap_or_default().chars().take(253).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;

    const BOTH: [Scheme; 2] = [Scheme::Https, Scheme::Http];

    #[test]
    fn every_way_of_writing_an_address_is_seen() {
        let loopback = "127.0.0.1".parse().expect("an address");
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.01",
            "127.0.0.1.",
            "１２７.0.0.1",
            "127。0。0。1",
            "%31%32%37.0.0.1",
        ] {
            let target = Target::read(&format!("http://{host}:8080/a"), &BOTH).expect(host);
            assert_eq!(target.named(), Named::Address(loopback), "{host}");
        }
        for (host, address) in [
            ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
            ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("[64:ff9b::169.254.169.254]", "64:ff9b::a9fe:a9fe"),
        ] {
            let target = Target::read(&format!("https://{host}/"), &BOTH).expect(host);
            assert_eq!(target.named(), Named::Address(address.parse().expect("an address")), "{host}");
        }
        let name = Target::read("https://LocalHost/", &BOTH).expect("a name");
        assert_eq!(name.named(), Named::Name("localhost"));
    }

    #[test]
    fn what_is_no_address_of_a_photo_is_refused() {
        for text in [
            "",
            "photo.jpg",
            "//photos.example/a",
            "ftp://photos.example/a",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "gopher://photos.example/",
            "unix:/run/docker.sock",
            "https://",
            "https://a b/",
            "https://256.256.256.256/",
            "https://0x100000000/",
            "https://[::1",
            "https://[fe80::1%25eth0]/",
            "https://photos.example:99999/",
            "https://user:secret@photos.example/",
            "https://user@photos.example/",
            "https://photos.example:secret@127.0.0.1/",
            "https://photos.example:22/",
            "https://photos.example:25/",
            "https://photos.example:80/",
            "http://photos.example:443/",
            "https://photos.example:0/",
        ] {
            let fault = Target::read(text, &BOTH).expect_err(text);
            assert_eq!(fault.code(), Code::ImageUrlRefused, "{text}");
            assert!(!fault.detail().contains("secret"), "{fault}");
        }
        let long = format!("https://photos.example/{}", "x".repeat(MAX_BYTES));
        assert!(Target::read(&long, &BOTH).expect_err("too long").detail().contains("8192"));
        let clear = Target::read("http://photos.example/", &[Scheme::Https]).expect_err("https only");
        assert_eq!(clear.detail(), "image_url begins with http:; this service fetches https only.");
    }

    #[test]
    fn what_is_asked_is_what_the_standard_makes_of_it() {
        let target = Target::read(" HTTPS://Photos.Example:8443/a/../b c?d=1#e \n", &BOTH).expect("an address");
        let parts = (target.scheme(), target.authority(), target.port(), target.path());
        assert_eq!(parts, (Scheme::Https, "photos.example:8443", 8443, "/b%20c?d=1"));
        let own = Target::read("https://photos.example:443", &BOTH).expect("its own port");
        assert_eq!((own.authority(), own.port(), own.path()), ("photos.example", 443, "/"));
    }

    #[test]
    fn a_redirect_is_checked_like_the_first() {
        let target = Target::read("https://photos.example/a/b", &[Scheme::Https]).expect("an address");
        let to = |location: &str| target.redirected(location, &[Scheme::Https]);
        assert_eq!(to("../c").expect("relative").path(), "/c");
        assert_eq!(to("//other.example/").expect("same scheme").authority(), "other.example");
        for location in
            ["http://photos.example/", "file:///etc/passwd", "https://u@photos.example/", "https://a.example:22/"]
        {
            assert_eq!(to(location).expect_err(location).code(), Code::ImageUrlRefused, "{location}");
        }
        assert_eq!(to("https://[").expect_err("nowhere").code(), Code::ImageUrlFailed);
    }
}
