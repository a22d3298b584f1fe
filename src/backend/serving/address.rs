//! Where a model server is to be found, as an operator writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::Authority;

/// `http://host:8500`, `https://host:8500` or `unix:/path/to/socket`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    Tcp { is_tls: bool, authority: Authority },
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "'{found}' is no address of a model server: {reason}; write it as http://host:8500, https://host:8500 or unix:/path/to/socket"
)]
pub struct AddressError {
    found: String,
    reason: &'static str,
}

impl Address {
    /// Whether it is spoken to with TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Kind::Tcp { is_tls: true, .. })
    }

    /// Host, without the brackets of an IPv6 address, and port.
    pub(super) fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.0 {
            Kind::Tcp { authority, .. } => {
                let host = authority.host().trim_start_matches('[').trim_end_matches(']');
                Some((host, authority.port_u16().expect("an address has a port")))
            }
            Kind::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let wrong = |reason| AddressError { found: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self(Kind::Unix(path)))
            } else {
                Err(wrong("its path is not absolute"))
            };
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is not a URI"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(wrong("its scheme is not http, https or unix")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            let found = "an address with a user name".to_owned();
            return Err(AddressError { found, reason: "it may hold a password, and addresses are logged" });
        }
        if authority.port_u16().is_none() {
            return Err(wrong("it names no port"));
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(wrong("it has a path"));
        }
        Ok(Self(Kind::Tcp { is_tls, authority: authority.clone() }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp { is_tls: false, authority } => write!(f, "http://{authority}"),
            Kind::Tcp { is_tls: true, authority } => write!(f, "https://{authority}"),
            Kind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_connects() {
        for (text, shown) in [
            ("http://tf:8500/", "http://tf:8500"),
            ("https://tf.models:8500", "https://tf.models:8500"),
            (" http://[::1]:8500 ", "http://[::1]:8500"),
            ("unix:/run/tf.sock", "unix:/run/tf.sock"),
            ("unix:///run/tf.sock", "unix:/run/tf.sock"),
        ] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), shown);
        }
        for (text, reason) in [
            ("tf:8500", "its scheme is not http"),
            ("ftp://tf:8500", "its scheme is not http"),
            ("http://tf", "it names no port"),
            ("http://tf:8500/v1", "it has a path"),
            ("http://me:secret@tf:8500", "it may hold a password"),
            ("unix:tf.sock", "its path is not absolute"),
            ("", "it is not a URI"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
