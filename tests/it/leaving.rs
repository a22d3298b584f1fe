//! Clients that leave: whatever they speak and however far their photos have come, nothing is begun for them any more, and the
//! model server, which would work on for the dead, is not asked or is told so.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use image::RgbImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use spotter::admission::Admission;
use spotter::app;
use spotter::backend::Call;
use spotter::deadline::Deadline;
use spotter::detect::{Job, Keep, Wanted};
use spotter::grpc::proto::v1;
use spotter::grpc::proto::v1::detect_request::Photo;
use spotter::grpc::proto::v1::detection_service_client::DetectionServiceClient;
use spotter::request_id::RequestId;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::{Spotter, settings};

/// What a client speaks, and so how it leaves: it closes its connection, or resets the stream of one that stays open.
#[derive(Debug, Clone, Copy)]
enum Way {
    Http1,
    Http2,
    Batch,
    Grpc,
    GrpcBatch,
}

const WAYS: [Way; 5] = [Way::Http1, Way::Http2, Way::Batch, Way::Grpc, Way::GrpcBatch];

/// Photos in a batch: more than are worked on at once.
const SEVERAL: usize = 3;

/// The clients of a test; their connections outlive what they ask.
struct Clients {
    http1: Client,
    http2: Client,
    grpc: DetectionServiceClient<tonic::transport::Channel>,
    spotter: Spotter,
}

impl Clients {
    async fn of(spotter: Spotter) -> Self {
        let client = || Client::builder().no_proxy();
        Self {
            http1: client().build().unwrap(),
            http2: client().http2_prior_knowledge().build().unwrap(),
            grpc: DetectionServiceClient::connect(spotter.url("")).await.unwrap(),
            spotter,
        }
    }

    /// Asks; leaves when the task is aborted. Whatever comes back is not looked at.
    fn ask(&self, way: Way, image: &Bytes) -> JoinHandle<()> {
        let (one, several) = (self.spotter.url("/v1/detect"), self.spotter.url("/v1/detect/batch"));
        let mut grpc = self.grpc.clone();
        let image = image.clone();
        let request = match way {
            Way::Http1 => self.http1.post(one).body(image),
            Way::Http2 => self.http2.post(one).body(image),
            Way::Batch => {
                let part = || Part::bytes(image.to_vec()).file_name("photo");
                let form = (0..SEVERAL).fold(Form::new(), |form, _| form.part("image", part()));
                self.http2.post(several).multipart(form)
            }
            Way::Grpc => {
                let ask = v1::DetectRequest { photo: Some(Photo::Image(image)), ..Default::default() };
                return tokio::spawn(async move { drop(grpc.detect(ask).await) });
            }
            Way::GrpcBatch => {
                let ask = v1::DetectBatchRequest { images: vec![image; SEVERAL], ..Default::default() };
                return tokio::spawn(async move { drop(grpc.detect_batch(ask).await) });
            }
        };
        tokio::spawn(async move { drop(request.send().await) })
    }

    /// How many have been found to be gone.
    async fn gone(&self) -> usize {
        let text = self.spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
        let counted = text.lines().filter(|line| line.contains(r#"code="CLIENT_GONE""#));
        counted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
    }
}

/// A service before this model server, one photo at a time, and its admission.
async fn one_at_a_time(serving: &ScriptedServing) -> (Clients, Admission) {
    // Nobody is let go of but by leaving.
    let patience = ["--max-queue-ms", "600000", "--request-timeout-ms", "600000", "--upload-pause-ms", "600000"];
    let url = serving.url();
    let flags = [&["--serving", &url, "--max-in-flight", "1", "--workers", "1"], &patience[..]].concat();
    let service = app::build(&settings(&flags)).unwrap();
    let admission = service.pipeline.admission.clone();
    (Clients::of(Spotter::run(service).await).await, admission)
}

fn predicts(serving: &ScriptedServing) -> usize {
    serving.received(|received| received.predicts.len())
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("within a minute");
}

#[tokio::test]
async fn who_leaves_before_the_photo_is_here_has_asked_for_nothing() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let patience = ["--request-timeout-ms", "600000", "--upload-pause-ms", "600000"];
    let url = serving.url();
    let service = app::build(&settings(&[&["--serving", &url], &patience[..]].concat())).unwrap();
    let arriving = service.arriving.clone();
    let spotter = Spotter::run(service).await;
    let mut socket = TcpStream::connect(spotter.address()).await.unwrap();
    socket.write_all(b"POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-length: 240512\r\n\r\nhalf").await.unwrap();
    until(|| arriving.bytes().0 > 0).await;
    drop(socket);
    until(|| arriving.bytes().0 == 0).await;
    assert_eq!(predicts(&serving), 0);
}

#[tokio::test]
async fn who_leaves_the_queue_costs_the_model_server_nothing() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let (clients, admission) = one_at_a_time(&serving).await;
    for way in WAYS {
        serving.change(|script| script.hang = true);
        let before = predicts(&serving);
        let busy = clients.ask(Way::Http1, &photo("chelsea.png"));
        until(|| predicts(&serving) == before + 1).await;
        let leaves = clients.ask(way, &photo("chelsea.png"));
        until(|| admission.load("model").queued > 0).await;
        leaves.abort();
        until(|| admission.load("model").queued == 0).await;
        serving.change(|script| script.hang = false);
        serving.release();
        busy.await.unwrap();
        until(|| admission.load("model").in_flight == 0).await;
        assert_eq!(predicts(&serving), before + 1, "{way:?}");
    }
}

#[tokio::test]
async fn who_leaves_while_the_photo_waits_for_a_core_costs_the_model_server_nothing() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let service = app::build(&settings(&["--serving", &serving.url(), "--workers", "1"])).unwrap();
    let (pipeline, model) = (&service.pipeline, service.catalog.default_model());
    let (release, released) = mpsc::channel::<()>();
    let (started, starts) = tokio::sync::oneshot::channel();
    let workers = pipeline.workers.clone();
    let busy = tokio::spawn(async move {
        let hold = move || {
            started.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        };
        workers.run(Deadline::after(Duration::from_secs(60)), hold).await
    });
    starts.await.unwrap();
    // The pipeline itself: over HTTP the options would wait for the core before the photo does.
    let call = Call::new(Deadline::after(Duration::from_secs(60)), RequestId::generate());
    let job = || Job {
        image: photo("chelsea.png"),
        wanted: Wanted::read(&[], model.profile().defaults, &model.labels()).unwrap(),
        keep: Keep::Nothing,
    };
    tokio::select! {
        _ = pipeline.detect(model, job(), &call) => panic!("there is no core"),
        () = until(|| pipeline.admission.load("model").in_flight == 1) => {}
    }
    assert_eq!(pipeline.admission.load("model").in_flight, 0, "its place is free");
    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    pipeline.detect(model, job(), &call).await.unwrap();
    assert_eq!(predicts(&serving), 1, "the one that stayed");
}

/// A core finishes the job that it has begun, and that was all.
#[tokio::test]
async fn who_leaves_while_a_core_works_on_the_photo_costs_the_model_server_nothing() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let (clients, admission) = one_at_a_time(&serving).await;
    let mut large = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut large, CompressionType::Fast, FilterType::Up);
    RgbImage::new(4000, 4000).write_with_encoder(encoder).unwrap();
    let large = Bytes::from(large);
    clients.ask(Way::Http1, &photo("chelsea.png")).await.unwrap();
    for way in WAYS {
        let mut at_work = false;
        for _ in 0..20 {
            let gone = clients.gone().await;
            let leaves = clients.ask(way, &large);
            // It has its place, and a core is free.
            until(|| admission.pixels().0 >= 16_000_000).await;
            leaves.abort();
            let noticed = async { while clients.gone().await == gone {} };
            let noticed = tokio::time::timeout(Duration::from_secs(5), noticed).await.is_ok();
            let (asked, pixels) = (predicts(&serving), admission.pixels().0);
            until(|| admission.pixels().0 == 0).await;
            // On a busy machine the core may be done before it is noticed.
            at_work = noticed && pixels >= 16_000_000;
            if at_work {
                assert_eq!(predicts(&serving), asked, "{way:?}");
                break;
            }
        }
        assert!(at_work, "{way:?}");
        assert_eq!(admission.load("model").in_flight, 0);
    }
}

#[tokio::test]
async fn who_leaves_while_the_model_server_works_has_the_call_cancelled_there() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let (clients, admission) = one_at_a_time(&serving).await;
    clients.ask(Way::Http1, &photo("chelsea.png")).await.unwrap();
    serving.change(|script| script.hang = true);
    for (count, way) in (1..).zip(WAYS) {
        let leaves = clients.ask(way, &photo("chelsea.png"));
        until(|| predicts(&serving) == 1 + count).await;
        assert_eq!(serving.received(|received| received.cancelled), count - 1);
        leaves.abort();
        // Long before the deadline of thirty seconds.
        let cancelled = serving.until(|received| received.cancelled == count);
        tokio::time::timeout(Duration::from_secs(10), cancelled).await.unwrap_or_else(|_| panic!("{way:?}"));
    }
    // Those of batches that had to wait for the first would have had their turn before this one.
    serving.change(|script| script.hang = false);
    until(|| admission.load("model").in_flight == 0).await;
    clients.ask(Way::Http1, &photo("chelsea.png")).await.unwrap();
    assert_eq!(predicts(&serving), 1 + WAYS.len() + 1, "no other of their photos was sent");
}
