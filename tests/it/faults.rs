//! What clients see while model servers break: killed, frozen, cut off, refusing, babbling, slow. docs/RELIABILITY.md lists
//! them all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use spotter::app;
use spotter::backend::serving::proto::tensorflow::DataType;
use spotter::backend::serving::proto::tensorflow::serving::PredictResponse;
use spotter::backend::serving::{Resolve, Serving};
use spotter::backend::{Backend, Call, Predict, Target};
use spotter::background::Background;
use spotter::deadline::Deadline;
use spotter::detect::{Catalog, Model, Profile};
use spotter::fault::Code;
use spotter::model::version::VersionChoice;
use spotter::request_id::RequestId;
use spotter::telemetry::metrics::Metrics;
use spotter::tensor::{Tensor, Values};
use spotter::workers::Workers;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::support::photos::photo;
use crate::support::proxy::{Proxy, Trouble};
use crate::support::scripted_serving::{
    Script, ScriptedServing, cat_and_dog, floats, info, response_with_boxes, response_with_score,
};
use crate::support::service::{Spotter, problem, problem_and_headers, settings, until_ready};
use crate::support::serving_process::ServingProcess;

/// What a client saw: the status, and the score of the cat, by which hosts are told apart, or the problem's code.
type Seen = (u16, String);

async fn ask(spotter: &Spotter) -> Seen {
    let response = spotter.upload("/v1/detect", photo("chelsea.png")).await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    let what = match status {
        StatusCode::OK => body["detections"][0]["score"].to_string(),
        _ => body["code"].as_str().unwrap().to_owned(),
    };
    (status.as_u16(), what)
}

/// So many clients, each asking so often, one photo after the other; what was seen how often.
async fn load(spotter: &Spotter, clients: usize, each: usize) -> BTreeMap<Seen, usize> {
    let client = || async {
        let mut seen = Vec::new();
        for _ in 0..each {
            seen.push(ask(spotter).await);
        }
        seen
    };
    let mut counts = BTreeMap::new();
    for seen in join_all((0..clients).map(|_| client())).await.into_iter().flatten() {
        *counts.entry(seen).or_default() += 1;
    }
    counts
}

/// Asks until this host answers: it is used.
async fn until_used(spotter: &Spotter, score: f32) {
    until_used_within(spotter, score, Duration::from_secs(20)).await;
}

async fn until_used_within(spotter: &Spotter, score: f32, patience: Duration) {
    let wanted = (200, score.to_string());
    let asking = async { while ask(spotter).await != wanted {} };
    tokio::time::timeout(patience, asking).await.expect("the host is used");
}

/// How long after its return a host is used again at most: what docs/RELIABILITY.md promises.
const RETURN: Duration = Duration::from_secs(2);

/// How many hosts are in rotation, as the metrics have it.
async fn hosts_up(spotter: &Spotter) -> usize {
    let text = spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
    text.lines().filter(|line| line.starts_with("spotter_serving_host_up{") && line.ends_with(" 1")).count()
}

fn all_answered(seen: &BTreeMap<Seen, usize>) -> bool {
    seen.keys().all(|(status, _)| *status == 200)
}

/// Of hosts that are scripted, each behind a proxy.
struct Hosts {
    serving: Vec<ScriptedServing>,
    proxies: Vec<Proxy>,
}

/// The scores of the three hosts' answers.
const SCORES: [f32; 3] = [0.5, 0.625, 0.75];

impl Hosts {
    async fn start(count: usize) -> Self {
        let mut hosts = Self { serving: Vec::new(), proxies: Vec::new() };
        for score in &SCORES[..count] {
            let serving = ScriptedServing::start(Script::answering(response_with_score(*score))).await;
            hosts.proxies.push(Proxy::before(&serving.url()).await);
            hosts.serving.push(serving);
        }
        hosts
    }

    async fn spotter(&self, flags: &[&str]) -> Spotter {
        behind(&self.proxies, flags).await
    }
}

/// The service in front of hosts that answer with these scores, once each has answered.
async fn behind(proxies: &[Proxy], flags: &[&str]) -> Spotter {
    let urls: Vec<_> = proxies.iter().map(Proxy::url).collect();
    let urls = urls.join(",");
    let flags: Vec<_> =
        ["--serving", &urls, "--serving-silence-ms", "100"].into_iter().chain(flags.iter().copied()).collect();
    let spotter = Spotter::start(&flags).await;
    for score in &SCORES[..proxies.len()] {
        until_used(&spotter, *score).await;
    }
    spotter
}

/// A proxy before each.
async fn proxied(processes: &[ServingProcess]) -> Vec<Proxy> {
    join_all(processes.iter().map(async |process| Proxy::before(&process.url()).await)).await
}

#[tokio::test]
async fn one_of_three_hosts_in_any_trouble_is_noticed_by_no_client_and_used_again_afterwards() {
    let processes = SCORES.map(ServingProcess::start);
    let proxies = proxied(&processes).await;
    let spotter = behind(&proxies, &[]).await;
    for trouble in [
        Trouble::Refuses,
        Trouble::Freezes,
        Trouble::Cuts(0),
        Trouble::Cuts(40),
        Trouble::Babbles,
        Trouble::Delays(Duration::from_millis(20)),
        Trouble::Trickles(64),
    ] {
        proxies[0].set(trouble);
        let seen = load(&spotter, 6, 6).await;
        assert!(all_answered(&seen), "{trouble:?}: {seen:?}");
        proxies[0].set(Trouble::Nothing);
        until_used(&spotter, SCORES[0]).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_in_its_midst_is_asked_for_elsewhere_or_is_a_problem() {
    // More than a megabyte, of which a quarter comes: what else passes on a connection is some hundred bytes.
    let processes = SCORES.map(|score| ServingProcess::answering_with(score, 50_000));
    let proxies = proxied(&processes).await;
    let spotter = behind(&proxies, &[]).await;
    proxies[0].set(Trouble::Cuts(300_000));
    let seen = load(&spotter, 3, 4).await;
    assert!(all_answered(&seen), "{seen:?}");
    proxies[0].set(Trouble::Nothing);
    until_used(&spotter, SCORES[0]).await;

    let alone = behind(&proxies[..1], &[]).await;
    proxies[0].set(Trouble::Cuts(300_000));
    assert_eq!(ask(&alone).await, (503, "MODEL_UNAVAILABLE".to_owned()));
    proxies[0].set(Trouble::Nothing);
    until_used(&alone, SCORES[0]).await;
}

#[tokio::test]
async fn a_process_of_three_that_is_killed_is_noticed_by_no_client_and_its_successor_is_used() {
    let mut processes = SCORES.map(ServingProcess::start);
    let urls = processes.each_ref().map(ServingProcess::url).join(",");
    let spotter = Spotter::start(&["--serving", &urls]).await;
    for score in SCORES {
        until_used(&spotter, score).await;
    }
    let (seen, ()) = tokio::join!(load(&spotter, 6, 10), async {
        ask(&spotter).await;
        processes[1].kill();
    });
    assert!(all_answered(&seen), "{seen:?}");
    processes[1].restart();
    until_used_within(&spotter, SCORES[1], RETURN).await;
}

#[tokio::test]
async fn a_process_of_three_that_is_frozen_holds_up_nobody_and_is_used_once_it_is_thawed() {
    let processes = SCORES.map(ServingProcess::start);
    let urls = processes.each_ref().map(ServingProcess::url).join(",");
    let spotter = Spotter::start(&["--serving", &urls, "--serving-silence-ms", "100"]).await;
    for score in SCORES {
        until_used(&spotter, score).await;
    }
    let (seen, ()) = tokio::join!(load(&spotter, 6, 10), async {
        ask(&spotter).await;
        processes[1].freeze();
    });
    // Far below the thirty seconds of a request: those that waited for the frozen one have moved on.
    assert!(all_answered(&seen), "{seen:?}");
    processes[1].thaw();
    until_used_within(&spotter, SCORES[1], RETURN).await;
}

#[tokio::test]
async fn with_all_processes_frozen_photos_and_probes_are_told_so_before_their_deadline_until_one_is_thawed() {
    let processes = SCORES.map(ServingProcess::start);
    let urls = processes.each_ref().map(ServingProcess::url).join(",");
    let flags = ["--serving", &urls, "--serving-silence-ms", "100", "--request-timeout-ms", "10000"];
    let spotter = Spotter::start(&flags).await;
    for score in SCORES {
        until_used(&spotter, score).await;
    }
    processes.iter().for_each(ServingProcess::freeze);
    let unavailable = (503, "MODEL_UNAVAILABLE".to_owned());
    // Those that find out wait for half of their time; a call that waited to its deadline would be told MODEL_DEADLINE.
    let seen = load(&spotter, 6, 1).await;
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(unavailable.clone(), 6)]);
    assert_eq!(hosts_up(&spotter).await, 0);
    // From then on nobody waits: a second is too little for a sign of life to be missed in.
    for _ in 0..5 {
        let impatient = spotter.post("/v1/detect").header("x-request-timeout", "1").body(photo("chelsea.png"));
        let (headers, _) = problem_and_headers(impatient, 503, "MODEL_UNAVAILABLE").await;
        assert!(headers.contains_key("retry-after"));
    }
    problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert_eq!(spotter.get("/livez").send().await.unwrap().status(), 200);
    processes[1].thaw();
    until_used_within(&spotter, SCORES[1], RETURN).await;
    until_ready(&reqwest::Client::new(), &spotter.url("/readyz")).await;
    assert!(all_answered(&load(&spotter, 2, 3).await), "the one that is back does all the work");
}

#[tokio::test]
async fn one_of_three_hosts_that_answers_questions_and_does_no_work_is_put_out_and_noticed_by_no_client() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&["--request-timeout-ms", "4000"]).await;
    hosts.serving[0].change(|script| script.hang = true);
    let before = hosts.serving[0].received(|received| received.predicts.len());
    let seen = load(&spotter, 6, 40).await;
    // Who waited there for half of the time has gone elsewhere with the other half.
    assert!(all_answered(&seen), "{seen:?}");
    let asked = hosts.serving[0].received(|received| received.predicts.len()) - before;
    assert!(asked <= 12, "once it is out, one call at a time is spent on finding out: {asked} of 240");
    hosts.serving[0].change(|script| script.hang = false);
    until_used(&spotter, SCORES[0]).await;
}

/// Nobody else asks, so that a host which takes its time looks like one that is stuck.
#[tokio::test]
async fn a_model_that_takes_most_of_a_clients_time_answers_in_it_and_puts_no_host_out() {
    let hosts = Hosts::start(2).await;
    let time = ["--request-timeout-ms", "4000"];
    let spotters = [hosts.spotter(&time).await, hosts.spotter(&[time[0], time[1], "--serving-retries", "0"]).await];
    hosts.serving.iter().for_each(|host| host.change(|script| script.delay = Duration::from_millis(2500)));
    join_all(spotters.iter().map(async |spotter| {
        for _ in 0..3 {
            assert_eq!(ask(spotter).await.0, 200);
        }
        assert_eq!(hosts_up(spotter).await, 2);
    }))
    .await;
}

/// The same for a host that is stuck: its calls are answered by the other, which is what tells the one from the other.
#[tokio::test]
async fn a_host_that_does_no_work_is_put_out_by_clients_that_ask_one_at_a_time() {
    let hosts = Hosts::start(2).await;
    let spotter = hosts.spotter(&["--request-timeout-ms", "4000"]).await;
    hosts.serving[0].change(|script| script.hang = true);
    let asking = async {
        while hosts_up(&spotter).await == 2 {
            assert_eq!(ask(&spotter).await, (200, SCORES[1].to_string()));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking).await.expect("it is put out");
}

#[tokio::test]
async fn clients_in_a_hurry_say_nothing_of_a_host() {
    let hosts = Hosts::start(1).await;
    let spotter = hosts.spotter(&[]).await;
    hosts.serving[0].change(|script| script.hang = true);
    for _ in 0..5 {
        let hurried = spotter.post("/v1/detect").header("x-request-timeout", "0.3").body(photo("chelsea.png"));
        problem(hurried, 504, "MODEL_DEADLINE").await;
    }
    assert_eq!(hosts_up(&spotter).await, 1);
}

#[tokio::test]
async fn one_of_three_hosts_whose_model_is_broken_is_noticed_by_no_client() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&[]).await;
    for broken in
        [Status::internal("CUDA error"), Status::unknown("GPU"), Status::aborted("GPU"), Status::data_loss("GPU")]
    {
        let text = broken.to_string();
        let before = hosts.serving[0].received(|received| received.predicts.len());
        hosts.serving[0].change(|script| script.predict = Arc::new(move |_| Err(broken.clone())));
        let seen = load(&spotter, 6, 10).await;
        assert!(all_answered(&seen), "{text}: {seen:?}");
        let asked = hosts.serving[0].received(|received| received.predicts.len()) - before;
        assert!(asked < 20, "a host that fails is asked now and then, not each third time: {asked} of 60");
        hosts.serving[0].change(|script| script.predict = Arc::new(|_| Ok(response_with_score(SCORES[0]))));
        until_used(&spotter, SCORES[0]).await;
    }
}

#[tokio::test]
async fn a_photo_that_breaks_every_model_puts_no_host_out() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&[]).await;
    for host in &hosts.serving {
        host.change(|script| script.predict = Arc::new(|_| Err(Status::internal("a node of the graph"))));
    }
    let before = predicts(&hosts);
    for _ in 0..8 {
        assert_eq!(ask(&spotter).await, (502, "MODEL_CONTRACT".to_owned()));
    }
    assert_eq!(hosts_up(&spotter).await, 3);
    // Twice, because a version that was replaced could be the reason, and each time by two hosts.
    assert!(predicts(&hosts) - before <= 8 * 4);
}

#[tokio::test]
async fn where_a_mesh_repeats_calls_this_service_makes_each_once() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let spotter = Spotter::start(&["--serving", &serving.url(), "--serving-retries", "0"]).await;
    ask(&spotter).await;
    serving.change(|script| script.predict = Arc::new(|_| Err(Status::unavailable("upstream reset"))));
    for asked in 2..6 {
        assert_eq!(ask(&spotter).await, (503, "MODEL_UNAVAILABLE".to_owned()));
        assert_eq!(serving.received(|received| received.predicts.len()), asked);
    }
}

#[tokio::test]
async fn all_processes_killed_is_503_for_photos_and_probes_until_one_is_back() {
    let mut processes = [0.5, 0.625].map(ServingProcess::start);
    let urls = processes.each_ref().map(ServingProcess::url).join(",");
    let spotter = Spotter::start(&["--serving", &urls]).await;
    ask(&spotter).await;
    processes.iter_mut().for_each(ServingProcess::kill);
    let begin = Instant::now();
    let seen = load(&spotter, 4, 5).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "at once: five after the other, and thirty seconds for each");
    let unavailable = (503, "MODEL_UNAVAILABLE".to_owned());
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(unavailable, 20)]);
    problem(spotter.get("/readyz"), 503, "MODEL_UNAVAILABLE").await;
    assert_eq!(spotter.get("/livez").send().await.unwrap().status(), 200);
    processes[0].restart();
    until_ready(&reqwest::Client::new(), &spotter.url("/readyz")).await;
    assert!(all_answered(&load(&spotter, 2, 3).await), "the one that is back does all the work");
}

/// How long a host waits for its readmission at most is in `backend/serving/host.rs`: the longest pause between two signs of
/// life, and the time that one may take. Here: the first sign after its return is enough, however long it was away.
#[tokio::test]
async fn the_first_sign_of_life_after_its_return_brings_a_host_back() {
    let other = ScriptedServing::start(Script::answering(response_with_score(SCORES[1]))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Dead: whoever connects is hung up on.
    let (asked, mut signs) = tokio::sync::watch::channel(0);
    let dead = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
            asked.send_modify(|asked| *asked += 1);
        }
    });
    let spotter = Spotter::start(&["--serving", &format!("http://{address},{}", other.url())]).await;
    let seen = load(&spotter, 2, 3).await;
    assert!(all_answered(&seen), "{seen:?}");
    // By the eighth time the pause between them is the longest.
    signs.wait_for(|asked| *asked >= 8).await.unwrap();
    dead.abort();
    let _ = dead.await;
    let back = TcpListener::bind(address).await.unwrap();
    let back = ScriptedServing::on(back, Script::answering(response_with_score(SCORES[0])));
    until_used(&spotter, SCORES[0]).await;
    assert_eq!(back.received(|received| received.status), 1, "one sign of life");
}

#[tokio::test]
async fn a_single_process_in_trouble_is_a_problem_that_says_which() {
    let processes = [ServingProcess::start(SCORES[0])];
    let proxies = proxied(&processes).await;
    let spotter = behind(&proxies, &["--request-timeout-ms", "5000"]).await;
    for (trouble, expected) in [
        (Trouble::Refuses, (503, "MODEL_UNAVAILABLE")),
        (Trouble::Cuts(40), (503, "MODEL_UNAVAILABLE")),
        (Trouble::Babbles, (503, "MODEL_UNAVAILABLE")),
        (Trouble::Freezes, (503, "MODEL_UNAVAILABLE")),
    ] {
        proxies[0].set(trouble);
        let (status, code) = ask(&spotter).await;
        assert_eq!((status, code.as_str()), expected, "{trouble:?}");
        proxies[0].set(Trouble::Nothing);
        until_ready(&reqwest::Client::new(), &spotter.url("/readyz")).await;
        until_used(&spotter, SCORES[0]).await;
    }
}

/// As a model server does that is told to stop: GOAWAY on every connection, and what is in flight is answered.
#[tokio::test]
async fn a_model_server_that_takes_its_leave_finishes_what_it_has_and_its_successor_is_used() {
    let mut leaving = ScriptedServing::start(Script::answering(response_with_score(SCORES[0]))).await;
    let spotter = Spotter::start(&["--serving", &leaving.url()]).await;
    assert_eq!(ask(&spotter).await, (200, SCORES[0].to_string()));
    leaving.change(|script| script.hang = true);
    let succession = async {
        leaving.until(|received| received.predicts.len() == 2).await;
        let address: SocketAddr = leaving.url().strip_prefix("http://").unwrap().parse().unwrap();
        leaving.stop();
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let successor = ScriptedServing::on(listener, Script::answering(response_with_score(SCORES[1])));
        assert_eq!(ask(&spotter).await, (200, SCORES[1].to_string()));
        leaving.release();
        successor
    };
    let (seen, _successor) = tokio::join!(ask(&spotter), succession);
    assert_eq!(seen, (200, SCORES[0].to_string()), "it was in flight");
}

#[tokio::test]
async fn a_connection_that_broke_since_the_last_call_is_noticed_by_no_client() {
    let hosts = Hosts::start(1).await;
    let spotter = hosts.spotter(&[]).await;
    for _ in 0..5 {
        hosts.proxies[0].set(Trouble::Refuses);
        hosts.proxies[0].set(Trouble::Nothing);
        assert_eq!(ask(&spotter).await.0, 200);
    }
}

#[tokio::test]
async fn one_of_three_hosts_that_always_fails_is_noticed_by_no_client() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&[]).await;
    hosts.serving[0].change(|script| script.predict = Arc::new(|_| Err(Status::unavailable("upstream reset"))));
    let seen = load(&spotter, 6, 10).await;
    assert!(all_answered(&seen), "{seen:?}");
    let asked = hosts.serving[0].received(|received| received.predicts.len());
    assert!(asked < 20, "a host that fails is asked now and then, not each third time: {asked} of 60");
    hosts.serving[0].change(|script| script.predict = Arc::new(|_| Ok(response_with_score(SCORES[0]))));
    until_used(&spotter, SCORES[0]).await;
}

#[tokio::test]
async fn a_process_that_answers_too_much_is_a_problem_that_names_the_bound_and_no_reason_to_give_it_up() {
    let process = ServingProcess::answering_with(SCORES[0], 50_000);
    let bounded = Spotter::start(&["--serving", &process.url(), "--serving-max-answer-bytes", "100000"]).await;
    let open = Spotter::start(&["--serving", &process.url()]).await;
    for _ in 0..5 {
        let body = problem(bounded.post("/v1/detect").body(photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
        assert!(body["detail"].as_str().unwrap().contains("--serving-max-answer-bytes"), "{body}");
    }
    assert_eq!(hosts_up(&bounded).await, 1);
    assert_eq!(ask(&open).await, (200, SCORES[0].to_string()), "it is a megabyte, and within the usual bound");
}

#[tokio::test]
async fn answers_that_are_no_messages_are_asked_for_elsewhere_and_where_there_is_no_other_a_bad_gateway() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&[]).await;
    let before = hosts.serving[0].received(|received| received.predicts.len());
    hosts.serving[0].change(|script| script.garbled = true);
    let seen = load(&spotter, 6, 10).await;
    assert!(all_answered(&seen), "{seen:?}");
    let asked = hosts.serving[0].received(|received| received.predicts.len()) - before;
    assert!(asked < 20, "whoever answers so is asked now and then, not each third time: {asked} of 60");
    hosts.serving[0].change(|script| script.garbled = false);
    until_used(&spotter, SCORES[0]).await;

    let alone = Hosts::start(1).await;
    let spotter = alone.spotter(&[]).await;
    alone.serving[0].change(|script| script.garbled = true);
    let (status, code) = ask(&spotter).await;
    assert_eq!((status, code.as_str()), (502, "MODEL_CONTRACT"));
}

/// A cat, and so many numbers beside it.
fn padded(numbers: usize) -> PredictResponse {
    let mut answer = response_with_score(SCORES[0]);
    answer.outputs.insert("padding".to_owned(), floats(&[1, numbers as i64], &vec![0.5; numbers]));
    answer
}

/// Each answer is within its own bound, and takes its room for as long as somebody needs it.
#[tokio::test]
async fn what_model_servers_answer_is_bounded_by_its_bytes_together() {
    let mut script = Script::answering(padded(100_000));
    script.signature.outputs.insert("padding".to_owned(), info(DataType::DtFloat, &[1, -1]));
    let host = ScriptedServing::start(script).await;
    let settings = settings(&["--serving", &host.url(), "--serving-max-answer-bytes-in-flight", "500000"]);
    let (answers, series) = (settings.model_answers(), &Metrics::new().hosts);
    let serving = Serving::new(settings.serving(&[]), Workers::new(2), answers.clone(), series, &Background::default());
    let serving = serving.unwrap();
    let call = Call::new(Deadline::after(Duration::from_secs(20)), RequestId::generate());
    let predict = async |outputs: &[&str]| {
        let target = Target { model: "model".to_owned(), version: VersionChoice::Latest };
        let input = ("input_tensor".to_owned(), Tensor::new(vec![1], Values::U8(vec![0].into())).unwrap());
        let outputs = outputs.iter().map(|&key| key.to_owned()).collect();
        serving.predict(Predict { target, signature: "serving_default".to_owned(), input, outputs }, &call).await
    };
    let first = predict(&["padding"]).await.unwrap();
    assert!((300_000..400_000).contains(&answers.bytes().0), "its numbers: {:?}", answers.bytes());
    let fault = predict(&["padding"]).await.unwrap_err();
    assert_eq!((fault.code(), &fault.facts()["max_bytes_in_flight"]), (Code::Overloaded, &500_000.into()));
    assert!(fault.retry_wait().is_some());
    host.change(|script| script.predict = Arc::new(|_| Ok(cat_and_dog())));
    predict(&["detection_scores"]).await.expect("small answers go on");
    host.change(|script| script.predict = Arc::new(|_| Ok(padded(100_000))));
    drop(first);
    for _ in 0..5 {
        // What nobody has asked for takes its room only until it has been read.
        let _kept = predict(&["detection_scores"]).await.unwrap();
        assert_eq!(answers.bytes().0, 0);
    }
    // Of a few bytes that stand for many numbers, the numbers count.
    host.change(|script| {
        script.predict = Arc::new(|_| {
            let mut answer = cat_and_dog();
            answer.outputs.insert("padding".to_owned(), floats(&[1, 120_000], &[0.5]));
            Ok(answer)
        });
    });
    let _first = predict(&["padding"]).await.unwrap();
    assert_eq!(predict(&["padding"]).await.unwrap_err().code(), Code::Overloaded);
}

/// Through the whole service: it is a problem of ours, and not held against the host.
#[tokio::test]
async fn an_answer_that_there_is_no_room_for_puts_no_host_out() {
    let host = ScriptedServing::start(Script::answering(response_with_score(SCORES[0]))).await;
    let room = ["--serving-max-answer-bytes-in-flight", "2000", "--max-side", "128"];
    let spotter = Spotter::start(&[&["--serving", &host.url()], &room[..]].concat()).await;
    until_used(&spotter, SCORES[0]).await;
    // Small answers need none.
    spotter.detect("/v1/detect?tiles=4", photo("chelsea.png")).await;
    host.change(|script| script.predict = Arc::new(|_| Ok(response_with_boxes(SCORES[0], 20_000))));
    for _ in 0..5 {
        // Several views of one photo, of which the first takes all the room that there is.
        let body = problem(spotter.post("/v1/detect?tiles=4").body(photo("chelsea.png")), 503, "OVERLOADED").await;
        assert_eq!(body["max_bytes_in_flight"], 2000);
    }
    assert_eq!(hosts_up(&spotter).await, 1);
    let metrics = spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line.contains("outcome=\"no_room\"")), "{metrics}");
    host.change(|script| script.predict = Arc::new(|_| Ok(response_with_score(SCORES[0]))));
    assert_eq!(ask(&spotter).await, (200, SCORES[0].to_string()));
}

/// One message is what a call is answered with; tonic would read on for as long as there is more. Whatever is asked, of any method.
#[tokio::test]
async fn a_host_that_answers_without_end_is_stopped() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&["--serving-max-answer-bytes", "100000"]).await;
    hosts.serving[0].change(|script| script.goes_on = true);
    let seen = load(&spotter, 6, 10).await;
    assert!(all_answered(&seen), "{seen:?}");
    hosts.serving[0].change(|script| script.goes_on = false);
    until_used(&spotter, SCORES[0]).await;

    let alone = Hosts::start(1).await;
    let spotter = alone.spotter(&["--serving-max-answer-bytes", "100000", "--request-timeout-ms", "600000"]).await;
    alone.serving[0].change(|script| script.goes_on = true);
    let asking = tokio::time::timeout(Duration::from_secs(60), ask(&spotter));
    let (status, code) = asking.await.expect("nobody reads on until the deadline");
    assert!([502, 503].contains(&status), "{status} {code}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_asked_for_again_elsewhere() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&["--serving-max-answer-bytes", "100000"]).await;
    let before: usize = predicts(&hosts);
    for host in &hosts.serving {
        host.change(|script| {
            script.predict = Arc::new(|_| {
                let mut answer = cat_and_dog();
                answer.outputs.insert("detection_boxes".to_owned(), floats(&[1, 50_000, 4], &vec![0.5; 200_000]));
                Ok(answer)
            });
        });
    }
    let body = problem(spotter.post("/v1/detect").body(photo("chelsea.png")), 502, "MODEL_CONTRACT").await;
    assert!(body["detail"].as_str().unwrap().contains("--serving-max-answer-bytes"), "{body}");
    // Twice, because a version that was replaced could be the reason.
    assert!(predicts(&hosts) - before <= 2);
}

fn predicts(hosts: &Hosts) -> usize {
    hosts.serving.iter().map(|host| host.received(|received| received.predicts.len())).sum()
}

#[tokio::test]
async fn an_outage_is_not_answered_with_a_flood() {
    let hosts = Hosts::start(3).await;
    let spotter = hosts.spotter(&[]).await;
    for host in &hosts.serving {
        host.change(|script| script.predict = Arc::new(|_| Err(Status::unavailable("upstream reset"))));
    }
    let (before, begin) = (predicts(&hosts), Instant::now());
    let seen = load(&spotter, 10, 20).await;
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [((503, "MODEL_UNAVAILABLE".to_owned()), 200)]);
    // One call in five twice, and ten a second over the budget's window of ten seconds and however long this took: without
    // a budget it would be three times as many.
    let asked = predicts(&hosts) - before;
    assert!(asked <= 200 + 40 + 10 * (10 + begin.elapsed().as_secs() as usize) + 20, "{asked}");
}

#[tokio::test]
async fn a_slow_process_gets_less_of_the_work() {
    let processes = [SCORES[0], SCORES[1]].map(ServingProcess::start);
    let proxies = proxied(&processes).await;
    let spotter = behind(&proxies, &[]).await;
    let begin = Instant::now();
    assert!(all_answered(&load(&spotter, 4, 10).await));
    let each = begin.elapsed() / 10;
    proxies[0].set(Trouble::Delays(each * 10));
    let seen = load(&spotter, 4, 30).await;
    assert!(all_answered(&seen), "{seen:?}");
    let slow = seen.get(&(200, SCORES[0].to_string())).copied().unwrap_or_default();
    assert!(slow * 4 <= 120, "ten times as slow, and of two hosts the one with a quarter at most: {seen:?}");
}

/// A name server that says what the test wants.
#[derive(Debug, Default)]
struct Names(Mutex<Vec<SocketAddr>>);

#[async_trait::async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "models.test");
        let known = self.0.lock().unwrap().clone();
        if known.is_empty() { Err(std::io::Error::other("no such name")) } else { Ok(known) }
    }
}

/// The service in front of whatever this name server says.
async fn behind_name(names: &Arc<Names>, flags: &[&str]) -> Spotter {
    let flags = settings(&[&["--serving", "http://models.test:8500"], flags].concat());
    let mut pool = flags.serving(&[]);
    pool.resolver = Arc::clone(names) as Arc<dyn Resolve>;
    let mut service = app::build(&flags).unwrap();
    let workers = &service.pipeline.workers;
    let (answers, series) = (flags.model_answers(), &service.pipeline.metrics.hosts);
    let backend = Serving::new(pool, workers.clone(), answers, series, &service.background);
    let model = Model::new(Profile::named("model"), Arc::new(backend.unwrap()), workers.clone());
    service.catalog = Catalog::new(vec![model]);
    Spotter::run(service).await
}

#[tokio::test]
async fn a_name_whose_hosts_are_all_silent_is_resolved_at_once() {
    let [old, new] = [SCORES[0], SCORES[1]].map(ServingProcess::start);
    let address = |process: &ServingProcess| process.url().strip_prefix("http://").unwrap().parse().unwrap();
    let names = Arc::new(Names(Mutex::new(vec![address(&old)])));
    let patience = ["--serving-silence-ms", "100", "--request-timeout-ms", "4000"];
    let spotter = behind_name(&names, &[&["--serving-resolve-ms", "3600000"], &patience[..]].concat()).await;
    until_used(&spotter, SCORES[0]).await;
    old.freeze();
    *names.0.lock().unwrap() = vec![address(&new)];
    until_used(&spotter, SCORES[1]).await;
}

#[tokio::test]
async fn a_name_is_resolved_again_and_its_hosts_come_and_go() {
    let mut addresses = Vec::new();
    let mut serving = Vec::new();
    for score in SCORES {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        serving.push(ScriptedServing::on(listener, Script::answering(response_with_score(score))));
    }
    let names = Arc::new(Names::default());
    let spotter = behind_name(&names, &["--serving-resolve-ms", "10"]).await;

    assert_eq!(ask(&spotter).await, (503, "MODEL_UNAVAILABLE".to_owned()), "the name is not known");
    let down = r#"spotter_serving_host_up{host="http://models.test:8500"} 0"#;
    let scraped = async || spotter.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(scraped().await.lines().any(|line| line == down), "whoever watches is told");
    *names.0.lock().unwrap() = addresses[..2].to_vec();
    until_used(&spotter, SCORES[0]).await;
    until_used(&spotter, SCORES[1]).await;
    assert!(!scraped().await.lines().any(|line| line == down));
    *names.0.lock().unwrap() = addresses[1..].to_vec();
    until_used(&spotter, SCORES[2]).await;
    let seen = load(&spotter, 4, 10).await;
    assert!(!seen.contains_key(&(200, SCORES[0].to_string())), "it is gone: {seen:?}");
    names.0.lock().unwrap().clear();
    let seen = load(&spotter, 4, 10).await;
    assert!(all_answered(&seen), "a name server that is down takes no model server away: {seen:?}");
}

#[tokio::test]
async fn a_unix_socket_is_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tf.sock");
    let _serving = ScriptedServing::on_socket_file(&path, Script::answering(response_with_score(0.5)));
    let spotter = Spotter::start(&["--serving", &format!("unix:{}", path.display())]).await;
    assert_eq!(ask(&spotter).await, (200, "0.5".to_owned()));
}

/// An authority, and what it vouches for: a certificate and its key in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn certificate(&self) -> String {
        std::fs::read_to_string(self.path("ca.pem")).unwrap()
    }

    /// Certificate and key for a name, in PEM and as files.
    fn vouch_for(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let pair = (parameters.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem());
        std::fs::write(self.path(&format!("{name}.pem")), &pair.0).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), &pair.1).unwrap();
        pair
    }
}

#[tokio::test]
async fn model_servers_are_spoken_to_over_tls_and_know_who_asks() {
    let authority = Authority::new();
    let (certificate, key) = authority.vouch_for("localhost");
    authority.vouch_for("spotter");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .client_ca_root(Certificate::from_pem(authority.certificate()));
    let serving = ScriptedServing::over_tls(tls, Script::answering(response_with_score(0.5))).await;
    // By name, which is both what is resolved and what the certificate must say.
    let url = serving.url().replace("http://127.0.0.1", "https://localhost");
    let (ca, cert, key) = (authority.path("ca.pem"), authority.path("spotter.pem"), authority.path("spotter.key"));
    let known = ["--serving-ca", &ca, "--serving-client-cert", &cert, "--serving-client-key", &key];
    let start = |url: &str, flags: &[&str]| {
        let flags: Vec<String> =
            ["--serving", url].into_iter().chain(flags.iter().copied()).map(ToOwned::to_owned).collect();
        async move { Spotter::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    assert_eq!(ask(&start(&url, &known).await).await, (200, "0.5".to_owned()));

    let unavailable = (503, "MODEL_UNAVAILABLE".to_owned());
    let stranger = Authority::new();
    let stranger = stranger.path("ca.pem");
    assert_eq!(ask(&start(&url, &["--serving-ca", &ca]).await).await, unavailable, "it shows no certificate");
    assert_eq!(ask(&start(&url, &["--serving-ca", &stranger]).await).await, unavailable, "another authority");
    assert_eq!(ask(&start(&url, &[]).await).await, unavailable, "an authority that the system does not trust");
    let by_number = url.replace("localhost", "127.0.0.1");
    assert_eq!(ask(&start(&by_number, &known).await).await, unavailable, "the certificate names another host");
}

#[tokio::test]
async fn files_of_tls_that_are_none_are_refused_at_the_start() {
    let refused = |flags: &[&str]| {
        let flags: Vec<_> = ["--serving", "https://localhost:1"].into_iter().chain(flags.iter().copied()).collect();
        let error = app::build(&settings(&flags)).err().expect("refused");
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    };
    let missing = refused(&["--serving-ca", "/nowhere/ca.pem"]);
    assert!(missing.contains("--serving-ca") && missing.contains("/nowhere/ca.pem"), "{missing}");
    let authority = Authority::new();
    let (certificate, _) = authority.vouch_for("spotter");
    let cert = authority.path("spotter.pem");
    std::fs::write(authority.path("none.pem"), "hello").unwrap();
    let none = authority.path("none.pem");
    assert!(refused(&["--serving-ca", &none]).contains("holds no certificate"));
    let no_key = refused(&["--serving-client-cert", &cert, "--serving-client-key", &cert]);
    assert!(!no_key.contains(certificate.lines().nth(1).unwrap()), "what is in the files is not told: {no_key}");
}

#[tokio::test]
async fn a_host_that_vanishes_from_its_name_finishes_what_it_has() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old_address = listener.local_addr().unwrap();
    let old = ScriptedServing::on(listener, Script::answering(response_with_score(SCORES[0])));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let new_address = listener.local_addr().unwrap();
    let _new = ScriptedServing::on(listener, Script::answering(response_with_score(SCORES[1])));
    let names = Arc::new(Names(Mutex::new(vec![old_address])));
    let spotter = behind_name(&names, &["--serving-resolve-ms", "10"]).await;
    until_used(&spotter, SCORES[0]).await;
    old.change(|script| script.hang = true);
    let before = old.received(|received| received.predicts.len());
    let waiting = async {
        let seen = ask(&spotter).await;
        assert_eq!(seen, (200, SCORES[0].to_string()));
    };
    let vanishing = async {
        old.until(|received| received.predicts.len() > before).await;
        // Others that still come here are answered; this one goes on waiting.
        old.change(|script| script.hang = false);
        *names.0.lock().unwrap() = vec![new_address];
        until_used(&spotter, SCORES[1]).await;
        old.release();
    };
    tokio::join!(waiting, vanishing);
}
