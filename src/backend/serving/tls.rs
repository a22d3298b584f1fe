//! What model servers behind `https://` are spoken to with.

use std::io;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The files, in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities that a server's certificate may come from; without it, those that the system trusts.
    pub authorities: Option<PathBuf>,
    /// The certificate and the private key that this client shows.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// All of them.
    pub fn paths(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authorities.iter().chain(identity).cloned().collect()
    }
}

/// Why the files cannot be used. Says nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate in PEM", .path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// They can be read but are no certificates or no key.
    #[error("the certificates or the key are not in PEM, or do not belong together")]
    Unusable(#[source] tonic::transport::Error),
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Reads the files. Whether they are what they should be shows when an endpoint is made with them.
pub(super) fn load(files: &Files) -> Result<ClientTlsConfig, Error> {
    let tls = match &files.authorities {
        Some(path) => {
            let pem = read(path)?;
            // rustls passes over what is no certificate, and would then trust nobody.
            if !String::from_utf8_lossy(&pem).contains(CERTIFICATE) {
                return Err(Error::NoCertificate { path: path.clone() });
            }
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(match &files.identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(read(certificate)?, read(key)?)),
        None => tls,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}
