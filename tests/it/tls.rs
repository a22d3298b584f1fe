//! TLS on the listener, with certificates made for the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cli::{run, serve, stderr};

/// A certificate for localhost and its key, as files.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// Puts a new pair there.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }
}

pub async fn connect(address: &str, trusted: &CertificateDer<'static>, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_spoken_and_the_certificate_is_exchanged_on_sighup() {
    let files = Files::new();
    let first = files.renew();
    let (certificate, key) = (files.certificate(), files.key());
    let flags = ["--listen", "127.0.0.1:0", "--log-format", "json", "--tls-certificate", text(&certificate)];
    let (mut serving, banner) = serve(&[&flags[..], &["--tls-key", text(&key)]].concat());
    let address = banner[1].split_once("https://").unwrap_or_else(|| panic!("{banner:?}")).1;

    let mut stream = connect(address, &first, &["http/1.1"]).await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("alive\"}"), "{answer}");
    let stream = connect(address, &first, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let mut log = BufReader::new(serving.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = |what: &str| log.find(|line| line.contains("certificate and key")).unwrap().contains(what);
    let second = files.renew();
    serving.signal("HUP");
    assert!(said("read again"));
    let stream = connect(address, &second, &[]).await;
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], second);

    std::fs::write(files.certificate(), "nonsense").unwrap();
    serving.signal("HUP");
    assert!(said("tls.crt holds no certificate in PEM form"));
    connect(address, &second, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_speaks_tls_is_found_healthy_and_a_greeting_that_stalls_is_not_waited_for() {
    let files = Files::new();
    files.renew();
    let (certificate, key) = (files.certificate(), files.key());
    let flags = ["--listen", "127.0.0.1:0", "--head-timeout-ms", "500", "--tls-certificate", text(&certificate)];
    let (_serving, banner) = serve(&[&flags[..], &["--tls-key", text(&key)]].concat());
    let address = banner[1].split_once("https://").unwrap_or_else(|| panic!("{banner:?}")).1;
    let tls = ["--tls-certificate", text(&certificate), "--tls-key", text(&key)];
    let output = run(&[&["health", "--listen", address], &tls[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run(&["health", &format!("https://{address}/nothing")]);
    assert!(stderr(&output).contains("/nothing answers 404"), "{}", stderr(&output));
    let output = run(&["health", "--listen", address]);
    assert_eq!(output.status.code(), Some(1), "without TLS it is not to be had");

    // The beginning of a handshake, and no more.
    let mut stalled = TcpStream::connect(address).await.unwrap();
    stalled.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), stalled.read_to_end(&mut rest)).await;
    let _ = end.expect("it is hung up on");
    assert!(rest.is_empty());
}

#[test]
fn a_pair_that_does_not_go_together_is_refused_at_start_by_name() {
    let (one, other) = (Files::new(), Files::new());
    one.renew();
    other.renew();
    let (certificate, key) = (one.certificate(), one.key());
    let missing = one.folder.path().join("missing.pem");
    for (certificate, key, named) in [
        (&certificate, &other.key(), "does not go with the certificate in"),
        (&missing, &key, "missing.pem cannot be read"),
        (&key, &key, "tls.key holds no certificate in PEM form"),
        (&certificate, &certificate, "tls.crt holds no private key in PEM form"),
    ] {
        let output = run(&["--listen", "127.0.0.1:0", "--tls-certificate", text(certificate), "--tls-key", text(key)]);
        assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
        assert!(stderr(&output).contains(named), "{named}: {}", stderr(&output));
    }
    let alone = run(&["--tls-certificate", text(&certificate)]);
    assert_eq!(alone.status.code(), Some(64));
    assert!(stderr(&alone).contains("--tls-key"), "{}", stderr(&alone));
}
