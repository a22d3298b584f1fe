//! Versions that come and go while photos are answered: the new one is warm before it is used, and no client notices.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use spotter::backend::serving::proto::tensorflow::DataType;
use spotter::backend::serving::proto::tensorflow::serving::{PredictRequest, model_spec::VersionChoice};
use tonic::Status;

use crate::support::photos::photo;
use crate::support::proxy::{Proxy, Trouble};
use crate::support::scripted_serving::{Script, ScriptedServing, cat_and_dog};
use crate::support::service::{Spotter, problem};

/// Often enough not to be waited for.
const OFTEN: [&str; 2] = ["--serving-versions-ms", "10"];
/// Never again within a test: what happens is because of calls.
const NEVER: [&str; 2] = ["--serving-versions-ms", "3600000"];

async fn before(hosts: &[&ScriptedServing], pace: [&str; 2]) -> Spotter {
    let urls: Vec<_> = hosts.iter().map(|host| host.url()).collect();
    let urls = urls.join(",");
    Spotter::following(&["--serving", &urls, "--labels", "coco", pace[0], pace[1]]).await
}

/// The version that answered, which the header says as well.
async fn version(spotter: &Spotter, path: &str) -> String {
    let response = spotter.upload(path, photo("chelsea.png")).await;
    let header = response.headers().get("x-model-version").map(|version| version.to_str().unwrap().to_owned());
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    let version = body["model"]["version"].as_str().unwrap().to_owned();
    assert_eq!(header.as_ref(), Some(&version));
    version
}

/// Photos until this version answers; what each was answered by.
async fn until_answered_by(spotter: &Spotter, path: &str, wanted: &str) -> Vec<String> {
    let mut answered_by = Vec::new();
    let asking = async {
        while answered_by.last().is_none_or(|last| last != wanted) {
            answered_by.push(version(spotter, path).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the version is used");
    answered_by
}

async fn until(serving: &ScriptedServing, what: impl Fn(&[PredictRequest]) -> bool) {
    let predicts = |received: &crate::support::scripted_serving::Received| {
        let predicts: Vec<_> = received.predicts.iter().map(|(_, predict)| predict.clone()).collect();
        what(&predicts)
    };
    tokio::time::timeout(Duration::from_secs(60), serving.until(predicts)).await.expect("within a minute");
}

fn named(predict: &PredictRequest) -> Option<VersionChoice> {
    predict.model_spec.as_ref().unwrap().version_choice.clone()
}

fn names(predict: &PredictRequest, version: i64) -> bool {
    named(predict) == Some(VersionChoice::Version(version))
}

/// A blank picture is a small one; photos are sent as they are.
fn is_blank(predict: &PredictRequest) -> bool {
    let bytes = &predict.inputs["input_tensor"].tensor_content;
    bytes.iter().all(|byte| Some(byte) == bytes.first())
}

/// Waits until the version that is there has been warmed up and is asked for by its number.
async fn settled(serving: &ScriptedServing, version: i64) {
    until(serving, |predicts| predicts.iter().any(|predict| names(predict, version) && is_blank(predict))).await;
}

#[tokio::test]
async fn a_new_version_is_used_once_it_has_answered_a_blank_picture() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = before(&[&serving], OFTEN).await;
    settled(&serving, 3).await;
    assert_eq!(version(&spotter, "/v1/detect").await, "3");

    serving.change(|script| (script.version, script.kept, script.cold) = (4, vec![3], Some(4)));
    settled(&serving, 4).await;
    for _ in 0..3 {
        assert_eq!(version(&spotter, "/v1/detect").await, "3", "the new one is still warming up");
    }
    let ready: Value = spotter.get("/readyz").send().await.unwrap().json().await.unwrap();
    assert_eq!(ready["version"], "3", "{ready}");
    let of_new = |predicts: &[PredictRequest]| predicts.iter().filter(|predict| names(predict, 4)).count();
    let predicts = |serving: &ScriptedServing| {
        serving.received(|received| received.predicts.iter().map(|(_, predict)| predict.clone()).collect::<Vec<_>>())
    };
    assert_eq!(of_new(&predicts(&serving)), 1, "one blank picture, however often it is looked");

    serving.change(|script| script.cold = None);
    serving.release();
    let answered_by = until_answered_by(&spotter, "/v1/detect", "4").await;
    assert!(answered_by.is_sorted(), "{answered_by:?}");
    let ready = async || -> Value { spotter.get("/readyz").send().await.unwrap().json().await.unwrap() };
    // What was seen holds for half a second.
    while ready().await["version"] == "3" {}
    assert_eq!(ready().await["version"], "4");
}

#[tokio::test]
async fn a_model_is_ready_once_it_has_answered_one_blank_picture_however_many_ask_meanwhile() {
    let serving = ScriptedServing::start(Script { cold: Some(3), ..Script::image_tensor() }).await;
    let spotter = before(&[&serving], OFTEN).await;
    for _ in 0..2 {
        let body = problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
        assert!(body["detail"].as_str().unwrap().contains("warming up"), "{body}");
    }
    serving.change(|script| script.cold = None);
    serving.release();
    spotter.ready().await;
    assert_eq!(serving.received(|received| received.predicts.len()), 1);
}

#[tokio::test]
async fn a_model_that_cannot_answer_says_why_and_is_ready_as_soon_as_it_can() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| script.predict = Arc::new(|_| Err(Status::internal("no kernel image is available"))));
    let spotter = before(&[&serving], NEVER).await;
    problem(spotter.get("/readyz"), 502, "MODEL_CONTRACT").await;
    serving.change(|script| script.predict = Arc::new(|_| Ok(cat_and_dog())));
    // Who asks has the hosts looked at; what was seen holds for half a second.
    let ready = async { while spotter.get("/readyz").send().await.unwrap().status() != 200 {} };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("within a minute");
}

#[tokio::test]
async fn when_the_old_version_is_gone_clients_wait_for_the_new_one_to_be_warm() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = before(&[&serving], NEVER).await;
    settled(&serving, 3).await;
    until_pinned(&spotter, &serving, 3).await;

    // As TensorFlow Serving does it by default: the old version is unloaded as the new one becomes available.
    serving.change(|script| (script.version, script.cold) = (4, Some(4)));
    let photos = join_all((0..8).map(|_| version(&spotter, "/v1/detect")));
    let warming = async {
        settled(&serving, 4).await;
        let of_new = serving.received(|received| received.predicts.iter().filter(|(_, it)| names(it, 4)).count());
        assert_eq!(of_new, 1, "nobody but the blank picture meets a cold model");
        serving.change(|script| script.cold = None);
        serving.release();
    };
    let (answered_by, ()) = tokio::join!(photos, warming);
    assert_eq!(answered_by, ["4"; 8]);
}

/// Asks until photos go to this version by its number.
async fn until_pinned(spotter: &Spotter, serving: &ScriptedServing, number: i64) {
    let asking = async {
        loop {
            version(spotter, "/v1/detect").await;
            if names(&serving.last_predict().1, number) && !is_blank(&serving.last_predict().1) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("within a minute");
}

#[tokio::test]
async fn a_label_that_moves_is_followed_as_the_latest_is() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| script.labels = [("stable".to_owned(), 3)].into());
    let spotter = before(&[&serving], OFTEN).await;
    let path = "/v1/detect?version_label=stable";
    until_answered_by(&spotter, path, "3").await;
    let pinned = |predicts: &[PredictRequest]| predicts.last().is_some_and(|last| names(last, 3) && !is_blank(last));
    let asking = async {
        while !serving.received(|received| pinned(&[received.predicts.last().unwrap().1.clone()])) {
            version(&spotter, path).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("the label is followed");

    serving.change(|script| {
        (script.version, script.kept, script.cold) = (4, vec![3], Some(4));
        script.labels = [("stable".to_owned(), 4)].into();
    });
    settled(&serving, 4).await;
    assert_eq!(version(&spotter, path).await, "3", "the new one is still warming up");
    serving.change(|script| script.cold = None);
    serving.release();
    let answered_by = until_answered_by(&spotter, path, "4").await;
    assert!(answered_by.is_sorted(), "{answered_by:?}");

    // A label that is taken away is unknown again, within a look.
    serving.change(|script| script.labels.clear());
    let refused = async { while spotter.upload(path, photo("chelsea.png")).await.status() == 200 {} };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("within a minute");
    problem(spotter.post(path).body(photo("chelsea.png")), 404, "UNKNOWN_VERSION").await;
}

#[tokio::test]
async fn a_new_version_that_cannot_answer_is_not_used_while_the_old_one_is_there() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = before(&[&serving], OFTEN).await;
    until_pinned(&spotter, &serving, 3).await;
    serving.change(|script| {
        (script.version, script.kept) = (4, vec![3]);
        script.predict = Arc::new(|predict| match named(predict) {
            Some(VersionChoice::Version(3)) => Ok(cat_and_dog()),
            _ => Err(Status::internal("no kernel image is available")),
        });
    });
    settled(&serving, 4).await;
    for _ in 0..5 {
        assert_eq!(version(&spotter, "/v1/detect").await, "3");
    }
    // Without the old one, what is wrong is told as ever.
    serving.change(|script| script.kept.clear());
    problem(spotter.post("/v1/detect").body(photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
    serving.change(|script| script.predict = Arc::new(|_| Ok(cat_and_dog())));
    assert_eq!(version(&spotter, "/v1/detect").await, "4");
}

#[tokio::test]
async fn hosts_take_a_new_version_one_after_the_other_each_once_it_is_warm_there() {
    let hosts =
        [ScriptedServing::start(Script::image_tensor()).await, ScriptedServing::start(Script::image_tensor()).await];
    let spotter = before(&[&hosts[0], &hosts[1]], OFTEN).await;
    for host in &hosts {
        until_pinned(&spotter, host, 3).await;
    }
    // The new version takes another input as well.
    let new = || {
        let strings = Script::detector("image_bytes", DataType::DtString, &[-1]);
        Script {
            version: 4,
            predict: Arc::new(|predict| match predict.inputs.get("image_bytes") {
                Some(_) => Ok(cat_and_dog()),
                None => Err(Status::invalid_argument("Signature input alias not found in request")),
            }),
            ..strings
        }
    };
    for host in &hosts {
        host.change(|script| *script = new());
        let seen = join_all((0..12).map(|_| version(&spotter, "/v1/detect"))).await;
        assert!(seen.iter().all(|version| version == "3" || version == "4"), "{seen:?}");
        tokio::time::timeout(
            Duration::from_secs(60),
            host.until(|received| received.predicts.iter().any(|(_, predict)| names(predict, 4))),
        )
        .await
        .expect("it is warmed up by its number");
    }
    let answered_by = join_all((0..6).map(|_| version(&spotter, "/v1/detect"))).await;
    assert_eq!(answered_by, ["4"; 6]);
}

#[tokio::test]
async fn a_model_server_that_restarts_with_another_version_is_no_dead_end() {
    let mut serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = before(&[&serving], NEVER).await;
    until_pinned(&spotter, &serving, 3).await;
    let address = serving.url().trim_start_matches("http://").to_owned();
    serving.stop();
    while spotter.upload("/v1/detect", photo("chelsea.png")).await.status() == 200 {}
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let _serving = ScriptedServing::on(listener, Script { version: 2, ..Script::image_tensor() });
    let asking = async { while spotter.upload("/v1/detect", photo("chelsea.png")).await.status() != 200 {} };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("within a minute");
    assert_eq!(version(&spotter, "/v1/detect").await, "2", "an older one is as good");
}

#[tokio::test]
async fn a_host_that_is_back_with_the_same_version_is_warmed_up_without_a_clients_photo() {
    let (away, other) =
        (ScriptedServing::start(Script::image_tensor()).await, ScriptedServing::start(Script::image_tensor()).await);
    let proxy = Proxy::before(&away.url()).await;
    let urls = format!("{},{}", proxy.url(), other.url());
    let spotter = Spotter::following(&["--serving", &urls, NEVER[0], NEVER[1]]).await;
    let blanks = |predicts: &[PredictRequest]| predicts.iter().filter(|predict| is_blank(predict)).count();
    until(&away, |predicts| blanks(predicts) == 1).await;
    until(&other, |predicts| blanks(predicts) == 1).await;
    proxy.set(Trouble::Refuses);
    // One of two goes there, finds nobody and goes to the other.
    for _ in 0..4 {
        version(&spotter, "/v1/detect").await;
    }
    proxy.set(Trouble::Nothing);
    until(&away, |predicts| blanks(predicts) == 2).await;
}

#[tokio::test]
async fn all_that_was_warm_at_a_host_is_warmed_up_again_when_it_is_back() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    serving.change(|script| script.labels = [("stable".to_owned(), 3)].into());
    let proxy = Proxy::before(&serving.url()).await;
    let spotter = Spotter::following(&["--serving", &proxy.url(), OFTEN[0], OFTEN[1]]).await;
    let blanks = |predicts: &[PredictRequest]| predicts.iter().filter(|predict| is_blank(predict)).count();
    version(&spotter, "/v1/detect?version_label=stable").await;
    until(&serving, |predicts| blanks(predicts) == 2).await;
    proxy.set(Trouble::Refuses);
    while spotter.upload("/v1/detect", photo("chelsea.png")).await.status() == 200 {}
    proxy.set(Trouble::Nothing);
    // "Latest" and the label, though the host has shown with the first of them that it works.
    until(&serving, |predicts| blanks(predicts) == 4).await;
}
