//! Photos by their address: what is fetched, and what is never asked.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::RequestBuilder;
use reqwest::multipart::{Form, Part};
use rustls::RootCertStore;
use serde_json::{Value, json};
use spotter::app;
use spotter::fetch::address::AddressPolicy;
use spotter::fetch::resolve::{Resolver, Unresolved};
use spotter::fetch::{Fetcher, Scheme};
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::grpc::proto::v1::{self, result::Outcome};
use spotter::http::server::{Identity, Routes, Server};
use spotter::lifecycle::Lifecycle;
use spotter::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_stream::wrappers::IntervalStream;
use tonic_types::StatusExt;

use crate::cli::{run, stderr};
use crate::support::photos::{ASTRONAUT, CHELSEA, COFFEE, assert_found, photo};
use crate::support::service::{Spotter, problem, settings};

/// A name server of the test's own.
#[derive(Debug)]
struct Names(HashMap<&'static str, Vec<IpAddr>>);

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        self.0.get(name).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound).into())
    }
}

/// A name that is public when it is looked up first, and this machine's from then on.
#[derive(Debug, Default)]
struct Rebinding(AtomicUsize);

#[async_trait]
impl Resolver for Rebinding {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
        // The first is in nobody's hands (RFC 5737), and allowed for this test only.
        Ok(vec![if first { "192.0.2.1".parse().unwrap() } else { Ipv4Addr::LOCALHOST.into() }])
    }
}

/// Somebody's web server. It counts the requests that reach it.
struct Web {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<AtomicUsize>,
}

impl Web {
    async fn start() -> Self {
        Self::serve(None).await
    }

    async fn serve(identity: Option<&Arc<Identity>>) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let of = |body: fn() -> Body| get(move || async move { body() });
        let routes = Router::new()
            .route("/{name}", get(|Path(name): Path<String>| async move { photo(&name) }))
            .route(
                "/as-page/{name}",
                get(|Path(name): Path<String>| async move { ([(header::CONTENT_TYPE, "text/html")], photo(&name)) }),
            )
            .route("/page", get(|| async { axum::response::Html("<!doctype html><title>a page</title>") }))
            .route("/hops/{left}/{*target}", get(hop))
            .route("/to/{*target}", get(|Path(target): Path<String>| async move { Redirect::temporary(&target) }))
            .route("/nowhere", get(|| async { StatusCode::FOUND }))
            .route("/missing", get(|| async { (StatusCode::NOT_FOUND, "no such photo") }))
            .route("/unchanged", get(|| async { StatusCode::NOT_MODIFIED }))
            .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
            .route("/long", get(|| async { vec![0_u8; 400_000] }))
            .route(
                "/endless",
                of(|| Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[0; 4096]))))),
            )
            .route("/silent", of(|| Body::from_stream(stream::pending::<io::Result<Bytes>>())))
            .route(
                "/trickle",
                of(|| {
                    let ticks = IntervalStream::new(tokio::time::interval(Duration::from_millis(10)));
                    Body::from_stream(ticks.map(|_| Ok::<_, io::Error>(Bytes::from_static(&[0]))))
                }),
            )
            .layer(axum::middleware::from_fn_with_state(count, counted));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            Server::new(
                Routes::new(routes),
                settings(&[]).bounds(),
                identity,
                Lifecycle::new(),
                Arc::new(Metrics::new()),
            )
            .serve(listener),
        );
        Self { address, scheme: if identity.is_some() { "https" } else { "http" }, asked }
    }

    fn url(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn counted(
    State(asked): State<Arc<AtomicUsize>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> impl IntoResponse {
    asked.fetch_add(1, Ordering::Relaxed);
    next.run(request).await
}

/// So many redirects, each relative to the one before, and the target at last.
async fn hop(Path((left, target)): Path<(usize, String)>) -> Redirect {
    if left <= 1 {
        Redirect::to(&format!("/{target}"))
    } else {
        Redirect::permanent(&format!("../{}/{target}", left - 1))
    }
}

/// A service that may fetch from this one address of loopback, and knows these names.
async fn fetching(scheme: Scheme, roots: RootCertStore, flags: &[&str]) -> Spotter {
    let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
    let public: IpAddr = "8.8.8.8".parse().unwrap();
    let names = HashMap::from([
        ("photos.example", vec![loopback]),
        ("internal.example", vec!["10.0.0.7".parse().unwrap()]),
        ("metadata.example", vec!["169.254.169.254".parse().unwrap()]),
        ("mixed.example", vec![loopback, "127.0.0.2".parse().unwrap()]),
        ("spoiled.example", vec![public, "fd00::1".parse().unwrap(), loopback]),
        ("mapped.example", vec!["::ffff:127.0.0.1".parse().unwrap()]),
        ("empty.example", vec![]),
    ]);
    let policy = AddressPolicy::public_and(vec![loopback.into()]);
    with_fetcher(scheme, policy, Arc::new(Names(names)), roots, flags).await
}

async fn with_fetcher(
    scheme: Scheme,
    policy: AddressPolicy,
    resolver: Arc<dyn Resolver>,
    roots: RootCertStore,
    flags: &[&str],
) -> Spotter {
    let settings = settings(&[flags, &["--image-url-schemes", &scheme.to_string()]].concat());
    let mut service = app::build(&settings).unwrap();
    service.fetcher = Some(Arc::new(Fetcher::new(settings.fetch(), policy, resolver, roots)));
    Spotter::run(service).await
}

async fn over_http(flags: &[&str]) -> Spotter {
    fetching(Scheme::Http, RootCertStore::empty(), flags).await
}

fn ask(spotter: &Spotter, url: &str) -> RequestBuilder {
    spotter.post("/v1/detect").json(&json!({ "image_url": url }))
}

async fn answer(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

async fn client(spotter: &Spotter) -> DetectionServiceClient<tonic::transport::Channel> {
    DetectionServiceClient::connect(spotter.url("")).await.unwrap()
}

#[tokio::test]
async fn a_photo_is_fetched_in_every_form() {
    let (web, spotter) = (Web::start().await, over_http(&[]).await);
    let url = web.url("photos.example", "/as-page/chelsea.png");
    let nothing = Part::bytes(Vec::new()).file_name("");
    let form = Form::new().part("image", nothing).text("image_url", url.clone()).text("min_score", "0.3");
    for request in [
        ask(&spotter, &url),
        spotter.post("/v1/models/nanodet-g/detect").json(&json!({ "image_url": url, "image": "" })),
        spotter.post("/v1/detect").multipart(form),
        ask(&spotter, &web.url("127.0.0.1", "/chelsea.png")),
        ask(&spotter, &web.url("0x7f.1", "/chelsea.png")),
    ] {
        assert_found(&answer(request).await, CHELSEA);
    }
    let request = v1::DetectRequest { photo: Some(Photo::ImageUrl(url)), ..Default::default() };
    let seen = client(&spotter).await.detect(request).await.unwrap().into_inner();
    assert_eq!(seen.detections[0].label, "cat");
    let drawn = ask(&spotter, &web.url("photos.example", "/chelsea.png")).header("accept", "image/png").send().await;
    assert_eq!(drawn.unwrap().headers()["content-type"], "image/png");
}

/// Waiting for somebody else's host is told apart from work, also where nothing comes of it.
#[tokio::test]
async fn the_time_of_fetching_is_told_by_itself() {
    let (web, spotter) = (Web::start().await, over_http(&[]).await);
    let sent = spotter.post("/v1/detect").body(photo("chelsea.png")).send().await.unwrap();
    assert!(!sent.headers()["server-timing"].to_str().unwrap().contains("fetch"), "it was sent");
    for (path, stages) in
        [("/chelsea.png", "fetch queue decode prepare infer interpret total"), ("/missing", "fetch total")]
    {
        let response = ask(&spotter, &web.url("photos.example", path)).send().await.unwrap();
        let timing = response.headers()["server-timing"].to_str().unwrap();
        let names: Vec<_> = timing.split(", ").map(|stage| stage.split(';').next().unwrap()).collect();
        assert_eq!(names.join(" "), stages);
    }
    let metrics = spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nspotter_fetch_duration_seconds_count 2\n"), "{metrics}");
    assert!(!metrics.contains("stage=\"fetch\""), "it is of no version");
}

#[tokio::test]
async fn photos_of_a_batch_are_fetched_each_by_itself_and_share_the_bytes_of_a_batch() {
    let (web, spotter) = (Web::start().await, over_http(&[]).await);
    let url = |path: &str| web.url("photos.example", path);
    let sent = BASE64_STANDARD.encode(photo("astronaut.png"));
    let list = json!({"images": [
        {"image_url": url("/chelsea.png")}, {"image": sent}, {"image_url": url("/missing")},
        {"image_url": web.url("internal.example", "/chelsea.png")}, {"image_url": url("/coffee.png")},
    ]});
    let form = Form::new()
        .text("image_url", url("/chelsea.png"))
        .part("image", Part::bytes(photo("astronaut.png").to_vec()))
        .text("image_url", url("/missing"))
        .text("image_url", web.url("internal.example", "/chelsea.png"))
        .text("image_url", url("/coffee.png"));
    for request in [spotter.post("/v1/detect/batch").json(&list), spotter.post("/v1/detect/batch").multipart(form)] {
        let body = answer(request).await;
        let photos = body["photos"].as_array().unwrap();
        assert_eq!(photos.len(), 5);
        for (index, objects) in [(0, CHELSEA), (1, ASTRONAUT), (4, COFFEE)] {
            assert_found(&photos[index]["answer"], objects);
        }
        let codes = [&photos[2]["problem"]["code"], &photos[3]["problem"]["code"]];
        assert_eq!(codes, ["IMAGE_URL_FAILED", "IMAGE_URL_REFUSED"]);
    }
    let request = v1::DetectBatchRequest {
        images: vec![photo("astronaut.png")],
        image_urls: vec![url("/chelsea.png"), url("/missing")],
        ..Default::default()
    };
    let told = client(&spotter).await.detect_batch(request).await.unwrap().into_inner().results.into_iter();
    let told = told.map(|result| match result.outcome.unwrap() {
        Outcome::Response(response) => response.detections[0].label.clone(),
        Outcome::Failure(failure) => failure.code,
    });
    assert_eq!(told.collect::<Vec<_>>(), ["person", "cat", "IMAGE_URL_FAILED"]);

    let bytes = photo("chelsea.png").len();
    let small = over_http(&["--max-batch-bytes", &(bytes + bytes / 2).to_string(), "--max-in-flight", "2"]).await;
    let twice = json!({"images": [{"image_url": url("/chelsea.png")}, {"image_url": url("/chelsea.png")}]});
    let body = answer(small.post("/v1/detect/batch").json(&twice)).await;
    assert_found(&body["photos"][0]["answer"], CHELSEA);
    assert_eq!(body["photos"][1]["problem"]["code"], "PAYLOAD_TOO_LARGE", "both together are larger than a batch");
}

#[tokio::test]
async fn it_is_off_unless_schemes_are_allowed() {
    let web = Web::start().await;
    let off = Spotter::start(&[]).await;
    let url = web.url("127.0.0.1", "/chelsea.png");
    let body = problem(ask(&off, &url), 422, "IMAGE_URL_REFUSED").await;
    assert!(body["detail"].as_str().unwrap().contains("--image-url-schemes"), "{body}");
    let request = v1::DetectRequest { photo: Some(Photo::ImageUrl(url)), ..Default::default() };
    let status = client(&off).await.detect(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.get_error_details().error_info().unwrap().reason, "IMAGE_URL_REFUSED");
    // As users can set it, loopback is out of reach, by its address and by its name.
    let on = Spotter::start(&["--image-url-schemes", "http"]).await;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        problem(ask(&on, &web.url(host, "/chelsea.png")), 422, "IMAGE_URL_REFUSED").await;
    }
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn addresses_that_are_not_public_are_never_asked() {
    let (web, spotter) = (Web::start().await, over_http(&[]).await);
    for host in [
        // Loopback, in the ways of writing it.
        "127.0.0.2",
        "127.2",
        "0x7f000002",
        "2130706434",
        "017700000002",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:127.0.0.2]",
        "[::127.0.0.1]",
        // This host, private, shared (carrier-grade NAT), link-local and the clouds' metadata, and those of benchmarks.
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        // Multicast, broadcast.
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "[ff02::1]",
        // IPv4 addresses in IPv6: mapped, NAT64, 6to4, Teredo.
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::a00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        // Names.
        "internal.example",
        "metadata.example",
        "mixed.example",
        "spoiled.example",
        "mapped.example",
        "empty.example",
        "unknown.example",
    ] {
        let body = problem(ask(&spotter, &web.url(host, "/chelsea.png")), 422, "IMAGE_URL_REFUSED").await;
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.contains("has no public address"), "all are told the same: {detail}");
    }
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn a_name_that_changes_after_the_check_leads_nowhere_new() {
    let web = Web::start().await;
    let policy = AddressPolicy::public_and(vec!["192.0.2.0/24".parse().unwrap()]);
    let resolver = Arc::new(Rebinding::default());
    let spotter = with_fetcher(Scheme::Http, policy, resolver.clone(), RootCertStore::empty(), &[]).await;
    let first = ask(&spotter, &web.url("rebound.example", "/chelsea.png")).header("x-request-timeout", "300ms");
    problem(first, 422, "IMAGE_URL_FAILED").await;
    assert_eq!(resolver.0.load(Ordering::Relaxed), 1, "looked up once, and connected to what came of it");
    problem(ask(&spotter, &web.url("rebound.example", "/chelsea.png")), 422, "IMAGE_URL_REFUSED").await;
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn what_is_no_address_of_a_photo_is_refused() {
    let spotter = over_http(&[]).await;
    for url in [
        "photo.jpg",
        "https://photos.example/photo",
        "ftp://photos.example/photo",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://user:secret@photos.example/",
        "http://photos.example:22/",
        "http://",
    ] {
        problem(ask(&spotter, url), 422, "IMAGE_URL_REFUSED").await;
    }
    let both = json!({ "image_url": "http://photos.example/", "image": BASE64_STANDARD.encode(photo("chelsea.png")) });
    problem(spotter.post("/v1/detect").json(&both), 422, "INVALID_OPTION").await;
    let both = Form::new().text("image_url", "http://photos.example/").part("image", Part::bytes(b"x".to_vec()));
    problem(spotter.post("/v1/detect").multipart(both), 400, "INVALID_MULTIPART").await;
    problem(spotter.post("/v1/detect").json(&json!({ "image_url": "" })), 400, "MISSING_IMAGE").await;
    let query = problem(spotter.post("/v1/detect?image_url=http://photos.example/"), 422, "INVALID_OPTION").await;
    assert_eq!(query["errors"][0]["field"], "image_url");
    assert!(query["detail"].as_str().unwrap().contains("in the body"), "{query}");
    // Nothing is asked for options that cannot be met.
    let web = Web::start().await;
    let options = json!({ "image_url": web.url("photos.example", "/chelsea.png"), "min_score": 7 });
    problem(spotter.post("/v1/detect").json(&options), 422, "INVALID_OPTION").await;
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_checked_each_time() {
    let (web, spotter) = (Web::start().await, over_http(&[]).await);
    assert_found(&answer(ask(&spotter, &web.url("photos.example", "/hops/3/chelsea.png"))).await, CHELSEA);
    let before = web.asked();
    problem(ask(&spotter, &web.url("photos.example", "/hops/4/chelsea.png")), 422, "IMAGE_URL_FAILED").await;
    assert_eq!(web.asked() - before, 4, "the fifth address is not asked");
    problem(ask(&spotter, &web.url("photos.example", "/nowhere")), 422, "IMAGE_URL_FAILED").await;

    for target in ["127.0.0.2", "169.254.169.254", "internal.example", "spoiled.example", "[::1]", "[::ffff:127.0.0.1]"]
    {
        let before = web.asked();
        let target = web.url(target, "/chelsea.png");
        let url = web.url("photos.example", &format!("/to/{target}"));
        problem(ask(&spotter, &url), 422, "IMAGE_URL_REFUSED").await;
        assert_eq!(web.asked() - before, 1, "{target}");
    }
    for target in [
        "https://photos.example/photo",
        "file:///etc/passwd",
        "http://user@photos.example/",
        "http://photos.example:22/",
    ] {
        problem(ask(&spotter, &web.url("photos.example", &format!("/to/{target}"))), 422, "IMAGE_URL_REFUSED").await;
    }
}

#[tokio::test]
async fn bytes_and_time_are_bounded() {
    let web = Web::start().await;
    let spotter = over_http(&["--max-image-bytes", "300000", "--upload-pause-ms", "200"]).await;
    let ask = |path: &str| ask(&spotter, &web.url("photos.example", path));
    for path in ["/long", "/endless"] {
        let body = problem(ask(path), 413, "PAYLOAD_TOO_LARGE").await;
        assert_eq!(body["max_bytes"], 300_000);
    }
    for (path, detail) in
        [("/missing", "status 404"), ("/unchanged", "status 304"), ("/silent", "said nothing for 200 ms")]
    {
        let body = problem(ask(path), 422, "IMAGE_URL_FAILED").await;
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
    let trickle = ask("/trickle").header("x-request-timeout", "300ms");
    let body = problem(trickle, 422, "IMAGE_URL_FAILED").await;
    assert!(body["detail"].as_str().unwrap().contains("deadline"), "{body}");
    problem(ask("/page"), 415, "UNSUPPORTED_IMAGE_FORMAT").await;
    problem(ask("/empty"), 400, "MISSING_IMAGE").await;
}

#[tokio::test]
async fn a_host_that_breaks_off_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://photos.example:{}/", listener.local_addr().unwrap().port());
    let spotter = over_http(&[]).await;
    for (said, detail) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx"[..], "broke off"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "did not answer image_url in HTTP"),
        (b"", "did not answer image_url in HTTP"),
    ] {
        let host = async {
            let (mut host, _) = listener.accept().await.unwrap();
            host.read_exact(&mut [0; 4]).await.unwrap();
            host.write_all(said).await.unwrap();
            host.shutdown().await.unwrap();
            host.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let (body, ()) = tokio::join!(problem(ask(&spotter, &url), 422, "IMAGE_URL_FAILED"), host);
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
}

#[tokio::test]
async fn what_is_fetched_takes_room_among_the_uploads_and_gives_it_back() {
    let web = Web::start().await;
    let spotter = over_http(&["--max-upload-bytes-in-flight", "300000"]).await;
    let body = problem(ask(&spotter, &web.url("photos.example", "/long")), 503, "OVERLOADED").await;
    assert_eq!(body["max_bytes_in_flight"], 300_000);
    for _ in 0..3 {
        assert_found(&answer(ask(&spotter, &web.url("photos.example", "/chelsea.png"))).await, CHELSEA);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_fetch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let spotter = over_http(&[]).await;
    let request = ask(&spotter, &format!("http://photos.example:{port}/"));
    let asking = tokio::spawn(request.send());
    let (mut host, _) = listener.accept().await.unwrap();
    host.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx").await.unwrap();
    let mut head = [0; 4];
    host.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"GET ");
    asking.abort();
    // To its end, long before the pause of ten seconds and the deadline of thirty.
    let ended = async { host.read_to_end(&mut Vec::new()).await };
    let _ = tokio::time::timeout(Duration::from_secs(8), ended).await.expect("the connection ends with the request");
}

#[tokio::test]
async fn only_so_many_are_fetched_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://photos.example:{}/", listener.local_addr().unwrap().port());
    let spotter = over_http(&["--max-in-flight", "1"]).await;
    let asking: Vec<_> = (0..32).map(|_| tokio::spawn(ask(&spotter, &url).send())).collect();
    let mut hosts = Vec::new();
    for _ in 0..32 {
        hosts.push(listener.accept().await.unwrap());
    }
    let body = problem(ask(&spotter, &url), 503, "OVERLOADED").await;
    assert!(body["detail"].as_str().unwrap().contains("32"), "{body}");
    for (host, asking) in hosts.into_iter().zip(asking) {
        drop(host);
        asking.abort();
    }
}

/// A certificate for a name, as the server has it and as clients trust it.
fn certified(name: &str) -> (Arc<Identity>, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    (Arc::new(Identity::load(&certificate, &key).unwrap()), roots)
}

#[tokio::test]
async fn over_https_the_host_must_be_who_it_says() {
    let (identity, roots) = certified("photos.example");
    let web = Web::serve(Some(&identity)).await;
    let spotter = fetching(Scheme::Https, roots, &[]).await;
    assert_found(&answer(ask(&spotter, &web.url("photos.example", "/chelsea.png"))).await, CHELSEA);
    // Another name than the certificate's, an unknown authority, and no TLS at all.
    let body = problem(ask(&spotter, &web.url("127.0.0.1", "/chelsea.png")), 422, "IMAGE_URL_FAILED").await;
    assert!(body["detail"].as_str().unwrap().contains("certificate"), "{body}");
    let distrusting = fetching(Scheme::Https, RootCertStore::empty(), &[]).await;
    problem(ask(&distrusting, &web.url("photos.example", "/chelsea.png")), 422, "IMAGE_URL_FAILED").await;
    let plain = Web::start().await;
    let url = format!("https://photos.example:{}/chelsea.png", plain.address.port());
    problem(ask(&spotter, &url), 422, "IMAGE_URL_FAILED").await;
    let url = format!("http://photos.example:{}/chelsea.png", plain.address.port());
    problem(ask(&spotter, &url), 422, "IMAGE_URL_REFUSED").await;
    assert_eq!(plain.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_addresses_under_the_same_rules() {
    let web = Web::start().await;
    let url = web.url("127.0.0.1", "/chelsea.png");
    let output = run(&["detect", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("this service fetches https only"), "{}", stderr(&output));
    let output = run(&["detect", "--image-url-schemes", "http", &url]);
    assert!(stderr(&output).contains("has no public address"), "{}", stderr(&output));
    assert_eq!(web.asked(), 0);
}
