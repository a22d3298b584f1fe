//! HTTP/2 frame by frame (RFC 9113), as clients write it that are gone or up to something.

use std::time::Duration;

use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::result::Outcome;
use spotter::grpc::proto::v1::stream_detect_request::Message;
use spotter::grpc::proto::v1::{self, detect_request::Photo};
use spotter::grpc::proto::v1::{CropFormat, DetectOptions, DetectRequest, StreamDetectRequest, StreamSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::photos::photo;
use crate::support::service::{Spotter, problem};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// On SETTINGS and PING.
const ACK: u8 = 1;
/// On DATA: this is the end of the body.
const END_STREAM: u8 = 1;
/// On HEADERS: this is all of the head.
const END_HEADERS: u8 = 4;
/// And there is no body.
const END_STREAM_AND_HEADERS: u8 = 5;
const INITIAL_WINDOW_SIZE: u16 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
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

/// The bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
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
        self.0.write_all(&frame(kind, flags, stream, payload)).await.unwrap();
    }

    async fn get(&mut self, stream: u32, path: &str) {
        // `:method: GET`, `:scheme: http`, and two literals: `:path`, `:authority`.
        let head = [&[0x82, 0x86, 0x04, path.len() as u8], path.as_bytes(), &[0x01, 1, b'x']].concat();
        self.send(HEADERS, END_STREAM_AND_HEADERS, stream, &head).await;
    }

    /// Waits for what the service has to say first, and agrees: from then on there is room for an upload.
    async fn agree(&mut self) {
        self.until(SETTINGS).await;
        self.send(SETTINGS, ACK, 0, &[]).await;
        self.until(WINDOW_UPDATE).await;
    }

    /// The head of an upload whose answer is to be a PNG.
    async fn post(&mut self, stream: u32, path: &str) {
        // As above, with `:method: POST`; and `accept`, by its name in the static table.
        let accept = [&[0x0f, 0x04, 9], &b"image/png"[..]].concat();
        let head = [&[0x83, 0x86, 0x04, path.len() as u8], path.as_bytes(), &[0x01, 1, b'x'], &accept].concat();
        self.send(HEADERS, END_HEADERS, stream, &head).await;
    }

    /// The head of an upload with these headers beside, as HPACK.
    async fn post_with(&mut self, stream: u32, headers: &[u8]) {
        let path = b"/v1/detect";
        let head = [&[0x83, 0x86, 0x04, path.len() as u8], &path[..], &[0x01, 1, b'x'], headers].concat();
        self.send(HEADERS, END_HEADERS, stream, &head).await;
    }

    /// All of its body.
    async fn body(&mut self, stream: u32, body: &[u8]) {
        for piece in body.chunks(16_384) {
            self.send(DATA, 0, stream, piece).await;
        }
        self.send(DATA, END_STREAM, stream, &[]).await;
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

#[tokio::test]
async fn answers_that_are_not_read_have_a_bound_of_bytes_together() {
    // Room for two annotated photos.
    let spotter = Spotter::start(&["--max-upload-bytes-in-flight", "600000"]).await;
    let mut peer = Peer::open(&spotter, &[(INITIAL_WINDOW_SIZE, 0)]).await;
    peer.agree().await;
    for stream in [1, 3] {
        peer.post(stream, "/v1/detect").await;
        peer.body(stream, &photo("chelsea.png")).await;
        assert_eq!(peer.until(HEADERS).await.payload[0], STATUS_200);
    }
    let annotated = || spotter.post("/v1/detect").header("accept", "image/png").body(photo("chelsea.png"));
    let body = problem(annotated(), 503, "OVERLOADED").await;
    assert_eq!(body["max_bytes_in_flight"], 600_000);
    let mut grpc = DetectionServiceClient::connect(spotter.url("")).await.unwrap();
    let options = DetectOptions { crops: CropFormat::Png.into(), ..Default::default() };
    let crops = DetectRequest { photo: Some(Photo::Image(photo("chelsea.png"))), model: None, options: Some(options) };
    let status = grpc.detect(crops.clone()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let settings = StreamSettings { model: None, options: crops.options.clone() };
    let frame = v1::Frame { id: 1, image: photo("chelsea.png") };
    let messages = [Message::Settings(settings), Message::Frame(frame)];
    let messages = messages.map(|message| StreamDetectRequest { message: Some(message) });
    let mut answers = grpc.stream_detect(futures::stream::iter(messages)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(matches!(answer.result.unwrap().outcome, Some(Outcome::Failure(failure)) if failure.code == "OVERLOADED"));
    // Small answers go on, and documents have room of their own.
    spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(spotter.get("/openapi.json").send().await.unwrap().status(), 200);

    for stream in [1, 3] {
        peer.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).await;
    }
    let freed = async { while annotated().send().await.unwrap().status() != 200 {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("what nobody waits for takes no room");
    grpc.detect(crops).await.unwrap();
}

#[tokio::test]
async fn streams_past_the_bound_are_refused_and_the_others_go_on() {
    let spotter = Spotter::start(&["--max-streams", "2"]).await;
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.agree().await;
    for stream in [1, 3, 5] {
        peer.post(stream, "/v1/detect").await;
    }
    let refused = peer.until(RST_STREAM).await;
    assert_eq!((refused.stream, refused.payload), (5, REFUSED_STREAM.to_be_bytes().to_vec()));
    for stream in [1, 3] {
        peer.body(stream, &photo("chelsea.png")).await;
        assert_eq!(peer.until(HEADERS).await.payload[0], STATUS_200);
    }
}

/// `a: xx…`, to be remembered in the table of HPACK or not. The value has between 127 and 16,511 bytes, whose number takes
/// three.
fn literal(is_remembered: bool, length: usize) -> Vec<u8> {
    let beyond = length - 127;
    let begin = [if is_remembered { 0x40 } else { 0 }, 1, b'a', 127, 128 | (beyond % 128) as u8, (beyond / 128) as u8];
    [&begin[..], &vec![b'x'; length]].concat()
}
/// What was remembered last: entry 62, the first behind the static table.
const REMEMBERED: u8 = 0xbe;

#[tokio::test]
async fn a_stream_has_a_quarter_of_its_connections_window() {
    let spotter = Spotter::start(&[]).await;
    let mut peer = Peer::open(&spotter, &[]).await;
    let settings = peer.until(SETTINGS).await.payload;
    let mut settings =
        settings.as_chunks::<6>().0.iter().map(|[a, b, value @ ..]| ([*a, *b], u32::from_be_bytes(*value)));
    let window = settings.find(|(name, _)| *name == INITIAL_WINDOW_SIZE.to_be_bytes()).map(|(_, window)| window);
    assert_eq!(window, Some(1 << 20));
    let update = peer.until(WINDOW_UPDATE).await;
    // A connection begins with 65,535 (RFC 9113, 6.9.2).
    assert_eq!((update.stream, update.payload), (0, ((4 << 20) - 65_535_u32).to_be_bytes().to_vec()));
}

#[tokio::test]
async fn over_http2_a_head_has_no_more_headers_than_over_http1() {
    let spotter = Spotter::start(&[]).await;
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.agree().await;
    peer.post_with(1, &[literal(true, 200), vec![REMEMBERED; 99]].concat()).await;
    peer.body(1, &photo("chelsea.png")).await;
    assert_eq!(peer.until(HEADERS).await.payload[0], STATUS_200);
    peer.until(DATA).await;
    peer.post_with(3, &[REMEMBERED; 101]).await;
    let problem = loop {
        let frame = peer.until(DATA).await;
        if frame.stream == 3 {
            break String::from_utf8(frame.payload).unwrap();
        }
    };
    assert!(problem.contains("HEAD_TOO_LARGE") && problem.contains("has 101 headers"), "{problem}");

    let spotter = Spotter::start(&["--max-headers", "20"]).await;
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.agree().await;
    peer.post_with(1, &[literal(true, 200), vec![REMEMBERED; 20]].concat()).await;
    let problem = String::from_utf8(peer.until(DATA).await.payload).unwrap();
    assert!(problem.contains("has 21 headers") && problem.contains("\"max_headers\":20"), "{problem}");
}

#[tokio::test]
async fn long_heads_that_wait_for_their_bodies_count_among_the_uploads_in_flight() {
    let patient = ["--upload-pause-ms", "600000", "--request-timeout-ms", "600000"];
    let spotter = Spotter::start(&[&["--max-upload-bytes-in-flight", "20000"], &patient[..]].concat()).await;
    let taken = async || {
        let metrics = spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("spotter_upload_bytes_in_flight "));
        line.unwrap().parse::<usize>().unwrap()
    };
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.agree().await;
    // What one byte names is no long head, however often it is named.
    peer.post_with(1, &literal(true, 4000)).await;
    for stream in (3..100).step_by(2) {
        peer.post_with(stream, &[REMEMBERED; 7]).await;
    }
    // Each six thousand bytes beyond a short one.
    for stream in (101..108).step_by(2) {
        peer.post_with(stream, &literal(false, 10_000)).await;
    }
    let problem = String::from_utf8(peer.until(DATA).await.payload).unwrap();
    assert!(problem.contains("OVERLOADED"), "{problem}");
    assert!((17_000..18_500).contains(&taken().await), "three of four have their room");
    for stream in (101..108).step_by(2) {
        peer.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()).await;
    }
    let freed = async { while taken().await > 0 {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("what nobody waits for takes no room");
}

#[tokio::test]
async fn a_peer_over_http2_that_errs_on_and_on_is_hung_up_on() {
    // `connection` has no place in HTTP/2: an error of the stream alone.
    let head = [&[0x82, 0x86, 0x84, 0x01, 1, b'x', 0x00, 10], &b"connection"[..], &[1, b'x']].concat();
    for (flags, bound) in [(&[][..], 128), (&["--max-stream-errors", "7"], 7)] {
        let spotter = Spotter::start(flags).await;
        let mut peer = Peer::open(&spotter, &[]).await;
        for stream in (0..bound).map(|index| 2 * index + 1) {
            peer.send(HEADERS, END_STREAM_AND_HEADERS, stream, &head).await;
            assert_eq!(peer.until(RST_STREAM).await.stream, stream);
        }
        peer.send(HEADERS, END_STREAM_AND_HEADERS, 2 * bound + 1, &head).await;
        assert_eq!(peer.until(GOAWAY).await.payload[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
    }
}

/// All of them come at once, so that none is looked at before the last is reset.
#[tokio::test]
async fn streams_may_be_reset_as_often_as_the_setting_says_before_they_are_looked_at() {
    for (flags, resets, is_hung_up_on) in [
        (&[][..], 15, false),
        (&["--max-stream-resets", "7"][..], 15, true),
        (&["--max-stream-resets", "50"], 40, false),
    ] {
        let spotter = Spotter::start(flags).await;
        let mut peer = Peer::open(&spotter, &[]).await;
        peer.agree().await;
        // `:method: POST`, `:scheme: http`, `:path: /`, and a literal for `:authority`.
        let head = [0x83, 0x86, 0x84, 0x01, 1, b'x'];
        let streams = (0..resets).map(|index| 2 * index + 1).flat_map(|stream| {
            [frame(HEADERS, END_HEADERS, stream, &head), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
        });
        let at_once: Vec<_> = streams.chain(frame(PING, 0, 0, b"8 bytes.")).collect();
        peer.0.write_all(&at_once).await.unwrap();
        let told = loop {
            let frame = peer.next().await.expect("it is told, or answered");
            if [GOAWAY, PING].contains(&frame.kind) {
                break frame;
            }
        };
        assert_eq!(told.kind == GOAWAY, is_hung_up_on, "{resets} with {flags:?}");
    }
}

#[tokio::test]
async fn when_stopping_a_peer_over_http2_is_told_and_what_is_in_flight_is_answered() {
    let mut spotter = Spotter::start(&[]).await;
    let mut peer = Peer::open(&spotter, &[]).await;
    peer.agree().await;
    peer.post(1, "/v1/detect").await;
    peer.get(3, "/livez").await;
    assert_eq!(peer.until(HEADERS).await.stream, 3, "both are there");
    spotter.tell_to_stop();
    let goaway = peer.until(GOAWAY).await;
    assert_eq!(goaway.payload[4..8], [0; 4], "no error");
    peer.body(1, &photo("chelsea.png")).await;
    let answer = peer.until(HEADERS).await;
    assert_eq!((answer.stream, answer.payload[0]), (1, STATUS_200));
}
