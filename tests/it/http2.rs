//! HTTP/2 frame by frame (RFC 9113), as clients write it that are gone or up to something.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::service::Spotter;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// On SETTINGS and PING.
const ACK: u8 = 1;
/// On HEADERS: this is all of the head, and there is no body.
const END_STREAM_AND_HEADERS: u8 = 5;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// `:status: 200` in HPACK's static table.
const STATUS_200: u8 = 0x88;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that does only what the test says.
struct Peer(TcpStream);

impl Peer {
    async fn open(spotter: &Spotter, settings: &[(u16, u32)]) -> Self {
        let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut peer = Self(socket);
        let settings =
            settings.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
        peer.send(SETTINGS, 0, 0, &settings.collect::<Vec<_>>()).await;
        peer
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }

    async fn get(&mut self, stream: u32, path: &str) {
        // `:method: GET`, `:scheme: http`, and two literals: `:path`, `:authority`.
        let head = [&[0x82, 0x86, 0x04, path.len() as u8], path.as_bytes(), &[0x01, 1, b'x']].concat();
        self.send(HEADERS, END_STREAM_AND_HEADERS, stream, &head).await;
    }

    /// The next frame; nothing once the service has hung up.
    async fn next(&mut self) -> Option<Frame> {
        let next = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a frame, or the end")
    }

    /// The next frame of this kind.
    async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("hung up before a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }
}

#[tokio::test]
async fn a_peer_over_http2_that_is_gone_is_hung_up_on() {
    let spotter = Spotter::bounded(&[], |bounds| {
        bounds.ping_every = Duration::from_millis(50);
        bounds.ping_patience = Duration::from_millis(200);
    })
    .await;
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.until(PING).await;
    while let Some(frame) = peer.next().await {
        assert_ne!((frame.kind, frame.flags), (PING, ACK), "nobody has asked");
    }
}

#[tokio::test]
async fn a_peer_over_http2_that_answers_is_kept() {
    let spotter = Spotter::bounded(&[], |bounds| {
        bounds.ping_every = Duration::from_millis(20);
        bounds.ping_patience = PATIENCE;
    })
    .await;
    let mut peer = Peer::open(&spotter, &[]).await;
    for _ in 0..5 {
        let ping = peer.until(PING).await;
        peer.send(PING, ACK, 0, &ping.payload).await;
    }
    peer.get(1, "/livez").await;
    assert_eq!(peer.until(HEADERS).await.payload[0], STATUS_200);
}

#[tokio::test]
async fn an_answer_over_http2_that_is_not_read_is_given_up() {
    let spotter = Spotter::start(&["--request-timeout-ms", "300", "--keep-alive-ms", "300"]).await;
    let mut peer = Peer::open(&spotter, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.get(1, "/example.jpg").await;
    assert_eq!(peer.until(HEADERS).await.payload[0], STATUS_200);
    loop {
        let frame = peer.next().await.expect("the stream ends before the connection");
        assert_ne!(frame.kind, DATA, "there is no window for it");
        if frame.kind == RST_STREAM {
            assert_eq!(frame.stream, 1);
            break;
        }
    }
    // What is left of it is idle, and ends as idle connections do.
    while peer.next().await.is_some() {}
}
