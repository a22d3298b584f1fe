//! Signals, and what becomes of a service that breaks.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use spotter::app::{self, Listening, StartError};

use crate::cli::{Serving, log_of, running, serve, spotter};
use crate::support::service::{settings, until_ready};

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn url(banner: &[String]) -> String {
    banner[1].split_whitespace().last().unwrap().to_owned()
}

/// The lines of a service's log, one JSON object each.
fn log(serving: &mut Serving) -> impl Iterator<Item = Value> + use<> {
    let lines = BufReader::new(serving.0.stderr.take().unwrap()).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

/// How it ends, which it does without waiting for whatever hangs.
async fn ended(serving: &mut Serving) -> ExitStatus {
    let ended = async {
        loop {
            if let Some(status) = serving.0.try_wait().unwrap() {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends")
}

/// The service drains at the first signal of this kind, and is gone with the second.
async fn assert_the_second_one_ends_it(signal: &str) {
    let (mut serving, banner) = serve(&["--listen", "127.0.0.1:0", "--shutdown-delay-ms", "600000"]);
    let (client, readyz) = (client(), format!("{}/readyz", url(&banner)));
    until_ready(&client, &readyz).await;
    serving.signal(signal);
    while client.get(&readyz).send().await.unwrap().status() == 200 {}
    serving.signal(signal);
    assert_eq!(serving.0.wait().unwrap().code(), Some(1), "the second one stops at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    assert_the_second_one_ends_it("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_as_sigterm_does() {
    assert_the_second_one_ends_it("INT").await;

    let (mut serving, banner) = serve(&["--listen", "127.0.0.1:0"]);
    until_ready(&client(), &format!("{}/readyz", url(&banner))).await;
    serving.signal("INT");
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}

/// A file that is never read to its end: somebody holds the other end of a pipe.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_hangs_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.txt");
    std::fs::write(&path, "cat\n").unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--labels", path.to_str().unwrap(), "--watch-files-ms", "0"];
    let (mut serving, banner) = serve(&flags);
    until_ready(&client(), &format!("{}/readyz", url(&banner))).await;
    std::fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    serving.signal("HUP");
    // Opens as soon as the service reads from it.
    let _held = std::fs::File::options().write(true).open(&path).unwrap();
    serving.signal("TERM");
    assert_eq!(ended(&mut serving).await.code(), Some(0), "nobody waits for the file");
}

/// What reads the log is stuck, reads on, and is stuck again.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_stops_nothing_and_what_it_lost_is_told() {
    let flags = ["--listen", "127.0.0.1:0", "--log-format", "json", "--max-batch-photos", "1000"];
    let (mut serving, banner) = serve(&flags);
    let (client, url) = (client(), url(&banner));
    // Each that is no photo has a line.
    let batch = json!({ "images": vec![json!({ "image": "AQID" }); 1000] });
    let ask = async || {
        let answer = client.post(format!("{url}/v1/detect/batch")).json(&batch).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    let scrape = async || {
        let answer = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let count = answer.lines().find_map(|line| line.strip_prefix("spotter_log_lines_dropped_total "));
        count.unwrap().parse::<u64>().unwrap()
    };
    let lose = async || {
        let before = scrape().await;
        let losing = async {
            while scrape().await == before {
                ask().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), losing).await.expect("every request is answered");
    };
    lose().await;
    let mut log = BufReader::new(serving.0.stderr.take().unwrap());
    let told = log.by_ref().lines().map(Result::unwrap).find(|line| line.contains("lines of the log were dropped"));
    let told: Value = serde_json::from_str(&told.unwrap()).unwrap();
    assert!(told["lines"].as_u64().unwrap() > 0 && told["level"] == "WARN", "{told}");

    lose().await;
    assert_eq!(client.get(format!("{url}/livez")).send().await.unwrap().status(), 200);
    serving.signal("TERM");
    assert_eq!(ended(&mut serving).await.code(), Some(0), "nobody waits for the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_read_again_on_sighup_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.txt");
    std::fs::write(&path, "cat\ndog\n").unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--log-format", "json", "--labels", path.to_str().unwrap()];
    let (mut serving, banner) = serve(&flags);
    let url = format!("{}/v1/models/nanodet-g/labels", url(&banner));
    let (client, mut log) = (client(), log(&mut serving));
    let labels = || async {
        let list: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
        list["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["label"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(labels().await, ["cat", "dog"]);

    std::fs::write(&path, "lynx\nwolf\n").unwrap();
    serving.signal("HUP");
    let line = log.find(|line| line["what"] == "configuration").unwrap();
    assert_eq!(line["message"], "read again");
    assert_eq!(labels().await, ["lynx", "wolf"]);

    std::fs::write(&path, [0xff, 0xfe, 0xfd]).unwrap();
    serving.signal("HUP");
    let line = log.find(|line| line["what"] == "configuration").unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["cause"].as_str().unwrap().contains("labels.txt"), "{line}");
    assert_eq!(labels().await, ["lynx", "wolf"]);
}

#[tokio::test]
async fn a_task_that_breaks_ends_the_service() {
    let settings = settings(&[]);
    let service = app::build(&settings).unwrap();
    let background = service.background.clone();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = Listening::bind(service, settings.bounds(), loopback).await.unwrap();
    background.spawn("well", async {});
    background.spawn("broken", async { panic!("for the test") });
    let ended = listening.serve(std::future::pending(), settings.shutdown()).await;
    assert!(matches!(ended, Err(StartError::Crashed("broken"))), "{ended:?}");
}

/// This test binary once more, as the program with a task of the test's own in its background.
const BODY: &str = "lifecycle::serve_until_told_to_break";
/// Set only for that process: whoever runs ignored tests as well does not mean it.
const BREAKS: &str = "SPOTTER_TEST_TASK_BREAKS";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_task_breaks_ends_with_a_code_and_says_which() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", BODY, "--ignored", "--nocapture"]).env(BREAKS, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut serving = Serving(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(serving.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find_map(|line| line.trim().strip_prefix("listening").map(|url| url.trim().to_owned())).unwrap();
    let (client, log) = (client(), log_of(&mut serving));
    until_ready(&client, &format!("{url}/readyz")).await;

    writeln!(serving.0.stdin.take().unwrap(), "break").unwrap();
    assert_eq!(ended(&mut serving).await.code(), Some(1), "not 101, with which a process ends that panics itself");
    let log = log.join().unwrap();
    assert!(log.contains("panicked") && log.contains("for the test"), "{log}");
    assert!(log.lines().last().unwrap().starts_with("spotter: the task 'broken' broke"), "{log}");
    client.get(format!("{url}/livez")).send().await.expect_err("nobody is there");
}

#[test]
#[ignore = "it is a process of its own, started by the test above"]
fn serve_until_told_to_break() {
    if std::env::var_os(BREAKS).is_none() {
        return;
    }
    let code = spotter::cli::run_with(["spotter", "--listen", "127.0.0.1:0"].map(OsString::from), |background| {
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::io::stdin().lines().next();
            drop(tell);
        });
        background.spawn("well", async {});
        background.spawn("broken", async move {
            let _: () = told.await.expect("for the test");
        });
    });
    std::process::exit(code.into());
}

/// glibc reads its environment before `main`, so that the process is its own successor, once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_allocator_is_told_to_keep_what_is_freed_unless_the_operator_has_told_it_something() {
    let told = |serving: &Serving| {
        let environment = std::fs::read(format!("/proc/{}/environ", serving.0.id())).unwrap();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.find_map(|variable| variable.strip_prefix(b"GLIBC_TUNABLES=")).map(<[u8]>::to_vec)
    };
    let flags = ["--listen", "127.0.0.1:0"];
    let (serving, banner) = running(spotter().args(flags).env_remove("GLIBC_TUNABLES"));
    // glibc cuts the variable up as it reads it, where it stands.
    assert!(told(&serving).is_some_and(|told| told.starts_with(b"glibc.malloc.arena_max=2")), "{banner:?}");
    let (serving, _) = running(spotter().args(flags).env("GLIBC_TUNABLES", ""));
    assert_eq!(told(&serving), Some(Vec::new()));
    let (serving, _) = running(spotter().args(flags).env_remove("GLIBC_TUNABLES").env("MALLOC_ARENA_MAX", "4"));
    assert_eq!(told(&serving), None);
}
