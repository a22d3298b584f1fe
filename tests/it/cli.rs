//! The commands, as a person runs them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use spotter::backend::serving::proto::tensorflow::DataType;

use crate::support::photos::{CHELSEA, COFFEE, assert_found};
use crate::support::repo;
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::{Spotter, until_ready};

pub fn spotter() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    // A developer's own settings are not the test's.
    let own = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("SPOTTER_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.current_dir(repo("tests/photos")).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    spotter().args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn detect_prints_a_table_for_people() {
    let output = run(&["detect", "chelsea.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("chelsea.png: 451 x 300 png, nanodet-g version 1, "), "{text}");
    let row: Vec<_> = text.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(row[0], "cat", "{text}");
    assert_eq!(row.len(), 6, "{text}");
}

#[test]
fn detect_prints_the_apis_json_in_the_order_of_the_photos() {
    let output = run(&["detect", "--json", "chelsea.png", "coffee.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_found(&answers[0], CHELSEA);
    assert_found(&answers[1], COFFEE);
    assert_eq!(answers[1]["file"], "coffee.png");
    assert_eq!(answers[1]["model"]["name"], "nanodet-g");
}

#[test]
fn detect_reads_standard_input_and_options() {
    let photo = std::fs::File::open(repo("tests/photos/coffee.png")).unwrap();
    let arguments = ["detect", "-", "--json", "--classes", "cup", "--max-detections", "1", "--normalized"];
    let output = spotter().args(arguments).stdin(photo).output().unwrap();
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_found(&answer, &COFFEE[1..2]);
    assert!(answer["detections"][0]["box_normalized"]["x_max"].is_number());
}

#[test]
fn detect_writes_annotated_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    assert!(run(&["detect", "chelsea.png", "--annotated", out.to_str().unwrap()]).status.success());
    assert_eq!(image::image_dimensions(&out).unwrap(), (451, 300));
    assert_eq!(image::guess_format(&std::fs::read(&out).unwrap()).unwrap(), image::ImageFormat::Png);

    let many = folder.path().join("many");
    assert!(run(&["detect", "chelsea.png", "coffee.png", "--annotated", many.to_str().unwrap()]).status.success());
    assert_eq!(image::image_dimensions(many.join("coffee.png.jpg")).unwrap(), (600, 400));
    assert!(many.join("chelsea.png.jpg").is_file());

    // One photo into a folder, and two of one name.
    let one = format!("{}/", folder.path().join("one").display());
    assert!(run(&["detect", "chelsea.png", "--annotated", &one]).status.success());
    assert!(Path::new(&one).join("chelsea.png.jpg").is_file());
    let twins = folder.path().join("twins");
    assert!(run(&["detect", "chelsea.png", "./chelsea.png", "--annotated", twins.to_str().unwrap()]).status.success());
    assert!(twins.join("chelsea.png.jpg").is_file() && twins.join("chelsea.png.2.jpg").is_file());
}

#[test]
fn a_bad_photo_does_not_keep_the_others_from_being_looked_at() {
    let output = run(&["detect", "--json", "missing.jpg", "chelsea.png", "../it/main.rs"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["file"], "missing.jpg");
    assert_found(&lines[1], CHELSEA);
    assert_eq!(lines[2]["code"], "UNSUPPORTED_IMAGE_FORMAT");
    let text = stderr(&output);
    assert!(text.contains("missing.jpg: cannot be read") && text.contains("main.rs"), "{text}");
}

#[test]
fn wrong_usage_says_what_is_right_and_exits_64() {
    for (arguments, expected) in [
        (&["--min-score", "2"][..], "from 0 to 1"),
        (&["--serving", "tf:8500"], "write it as http://host:8500"),
        (&["--serving", "http://tf:8500", "--model-file", "x.onnx"], "cannot be used with"),
        (&["--model", "other"], "give --serving"),
        (&["--nonsense"], "unexpected argument"),
        (&["detect"], "<PHOTO>"),
        (&["--labels", "missing.txt"], "missing.txt"),
        (&["--model-file", "chelsea.png"], "chelsea.png"),
        (&["--model-file", "missing.onnx"], "missing.onnx"),
        (&["--onnx-runtime", "missing.so"], "missing.so: cannot read the file"),
        (&["--onnx-runtime", "chelsea.png"], "chelsea.png: not a library of ONNX Runtime 1.17 or newer"),
        (&["--model", "a b"], "a model's name has"),
        (&["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--listen", "[::]:0"], "--api-keys FILE"),
        (&["--api-keys", "missing"], "missing cannot be read"),
        (&["--api-keys", "chelsea.png"], "it is no file of keys"),
        (&["--key-rate", "5"], "--api-keys"),
        (&["--address-rate", "2000000"], "from 0 to 1000000"),
        (&["--cors-origins", "https://shop.example/"], "an origin is a scheme"),
        (&["--trusted-proxies", "proxy"], "write a network as 10.0.0.0/8"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_label_map_with_a_mistake_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.pbtxt");
    std::fs::write(&path, "item {\n  id: 1\n  name: \u{201c}cat\u{201d}\n}\n").unwrap();
    let output = run(&["--labels", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64));
    let text = stderr(&output);
    assert!(text.contains("map.pbtxt") && text.contains("line 3, column 9"), "{text}");
}

#[test]
fn a_model_that_nothing_can_read_is_refused_at_start_with_what_was_found_and_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spotter.toml");
    let model = "[[models]]\nname = \"mine\"\nbackend = \"embedded\"\n[models.mapping]\nkind = \"ssd\"\n";
    std::fs::write(&path, model).unwrap();
    let output = run(&["--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    for expected in
        ["the model 'mine'", "Found: ", "[1, 3, 416, 416]", "SSD of the TFLite kind needs", "docs/MODELS.md"]
    {
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
    }
}

#[test]
fn config_tells_each_value_and_where_it_came_from() {
    let output = spotter().args(["config", "--max-side", "640"]).env("SPOTTER_MIN_SCORE", "0.5").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let row = |flag: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(flag));
        line.unwrap_or_else(|| panic!("no {flag} in {text}")).split_whitespace().collect()
    };
    assert_eq!(row("--max-side"), ["--max-side", "SPOTTER_MAX_SIDE", "640", "flag"]);
    assert_eq!(row("--min-score"), ["--min-score", "SPOTTER_MIN_SCORE", "0.5", "environment"]);
    assert_eq!(row("--listen"), ["--listen", "SPOTTER_LISTEN", "127.0.0.1:8080", "default"]);
    assert_eq!(row("--serving"), ["--serving", "SPOTTER_SERVING", "-", "default"]);
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let output = spotter().arg("config").env("SPOTTER_SERVING", "").env("SPOTTER_LABELS", "").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("SPOTTER_SERVING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_by_its_exit_code_whether_the_service_is_well() {
    let health = |listen: String, url: Option<String>| async move {
        let ask = move || spotter().arg("health").args(url).env("SPOTTER_LISTEN", listen).output().unwrap();
        let output = tokio::task::spawn_blocking(ask).await.unwrap();
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let service = Spotter::start(&[]).await;
    let address = service.url("").trim_start_matches("http://").to_owned();

    let (code, text) = health(address.clone(), None).await;
    assert!(code == Some(0) && text.contains("/livez answers 200 OK"), "{text}");
    let (code, text) = health(address, Some(service.url("/nothing"))).await;
    assert!(code == Some(1) && text.contains("/nothing answers 404"), "{text}");

    // Takes connections and says nothing; and, once it is gone, not even that.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hung.local_addr().unwrap().to_string();
    let (code, text) = health(address.clone(), None).await;
    assert!(code == Some(1) && text.contains("does not answer within 3 s"), "{text}");
    drop(hung);
    let (code, text) = health(address, None).await;
    assert!(code == Some(1) && text.contains("cannot be asked"), "{text}");
}

#[test]
fn openapi_prints_the_committed_document() {
    let committed = std::fs::read_to_string(repo("openapi/openapi.json")).unwrap();
    assert_eq!(stdout(&run(&["openapi"])), committed);
}

#[test]
fn doctor_is_content_with_the_embedded_detector() {
    let output = run(&["doctor"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    for expected in
        ["1 AVAILABLE", "NanoDet", "the label map fits the model's 80 classes", "is read as: person", "All is well."]
    {
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_each_failure_with_its_fix() {
    let mut serving = ScriptedServing::start(Script::image_tensor()).await;
    let doctor = |flags: Vec<String>| async move {
        let output = tokio::task::spawn_blocking(move || spotter().arg("doctor").args(flags).output().unwrap());
        let output = output.await.unwrap();
        (output.status.code(), stdout(&output))
    };
    let flags = |more: &[&str]| -> Vec<String> {
        ["--serving", &serving.url()].iter().chain(more).map(|flag| (*flag).to_owned()).collect()
    };
    let (code, text) = doctor(flags(&["--labels", "coco"])).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("TF Object Detection: input_tensor: uint8 [1, ?, ?, 3]"), "{text}");

    // COCO's 90 with a column for the background, and without; Pascal's 20.
    for (columns, expected) in [(91, Some(0)), (90, Some(0)), (21, Some(1))] {
        let scores =
            Script::image_tensor().declaring("detection_multiclass_scores", DataType::DtFloat, &[1, 100, columns]);
        serving.change(|script| script.signature = scores.signature);
        let (code, text) = doctor(flags(&["--labels", "coco"])).await;
        assert_eq!(code, expected, "{columns}: {text}");
    }

    let (code, text) = doctor(flags(&[])).await;
    assert!(code == Some(1) && text.contains("no label map") && text.contains("fix: --labels"), "{text}");
    let (code, text) = doctor(flags(&["--model", "other"])).await;
    assert!(code == Some(1) && text.contains("'other'") && text.contains("fix: check --serving"), "{text}");

    serving.change(|script| {
        script.signature.outputs.remove("detection_boxes");
    });
    let (code, text) = doctor(flags(&["--labels", "coco"])).await;
    assert!(code == Some(1) && text.contains("missing: detection_boxes") && text.contains("fix: export"), "{text}");

    let unreachable = flags(&["--labels", "coco"]);
    serving.stop();
    let (code, text) = doctor(unreachable).await;
    assert!(code == Some(1) && text.contains("cannot be reached") && text.contains("fix: check --serving"), "{text}");
}

#[test]
fn an_onnx_file_of_yolox_type_is_recognised_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("white.png");
    image::RgbImage::from_pixel(128, 128, image::Rgb([255; 3])).save(&photo).unwrap();
    let labels = folder.path().join("coco.txt");
    let coco = spotter::model::labels::LabelMap::coco();
    let dense: Vec<_> = coco.iter().map(|(_, label)| label).collect();
    std::fs::write(&labels, dense.join("\n")).unwrap();
    let model = repo("tests/models/tiny_yolox.onnx");
    let detect = |labels: &str, id: i64| {
        let flags =
            ["detect", photo.to_str().unwrap(), "--json", "--labels", labels, "--model-file", model.to_str().unwrap()];
        let output = run(&flags);
        assert!(output.status.success(), "{}", stderr(&output));
        let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(answer["model"]["name"], "tiny_yolox");
        assert_found(&answer, &[(id, "cat", 0.9, [16, 16, 80, 80])]);
    };
    detect("coco", 17);
    // Eighty lines have ids from 1 to 80; a place is a place in either.
    detect(labels.to_str().unwrap(), 16);
}

/// A running `spotter serve`, ended when the test is.
pub struct Serving(pub Child);

impl Serving {
    /// Sends it a signal: `TERM`, `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn serve(arguments: &[&str]) -> (Serving, Vec<String>) {
    running(spotter().args(arguments))
}

/// What the command starts, once it has said where it listens.
pub fn running(command: &mut Command) -> (Serving, Vec<String>) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut serving = Serving(child);
    let lines = BufReader::new(serving.0.stdout.take().unwrap()).lines();
    let banner = lines.map(Result::unwrap).take(4).collect();
    (serving, banner)
}

/// Its whole log, to be had when it has ended. Read all along: a full pipe would stop the service.
pub fn log_of(serving: &mut Serving) -> JoinHandle<String> {
    let stderr = serving.0.stderr.take().unwrap();
    std::thread::spawn(move || std::io::read_to_string(stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_says_where_it_listens_and_stops_when_told() {
    let (mut serving, banner) = serve(&["--listen", "127.0.0.1:0", "--log-format", "json"]);
    let url = banner[1].split_whitespace().last().unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{banner:?}");
    assert_eq!(banner[2].split_whitespace().last().unwrap(), format!("{url}/docs"));
    assert!(banner[3].contains(&format!("curl -s {url}/example.jpg | curl -F image=@- {url}/v1/detect")), "{banner:?}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    until_ready(&client, &format!("{url}/readyz")).await;
    let answer =
        client.get(format!("{url}/v1/models/none")).header("x-request-id", "from-the-test").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    drop(client);

    serving.signal("TERM");
    assert!(serving.0.wait().unwrap().success());
    let mut log = String::new();
    serving.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["code"] == "UNKNOWN_MODEL").unwrap_or_else(|| panic!("{log}"));
    assert_eq!(line["request_id"], "from-the-test", "{line}");
    assert_eq!(line["route"], "/v1/models/{model}", "{line}");
}

/// Connections that say nothing take every file that the process may open; whoever has a request is answered still.
#[tokio::test(flavor = "multi_thread")]
async fn without_file_descriptors_idle_connections_make_room() {
    let line = format!("ulimit -n 40; exec {} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_spotter"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_remove("SPOTTER_SERVING");
    let (_serving, banner) = running(&mut shell);
    let url = banner[1].split_whitespace().last().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let silent: Vec<_> = (0..80).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    for _ in 0..10 {
        let asking = client.get(format!("{url}/livez")).send();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(60), asking).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
    }
    drop(silent);
}

/// What is printed and logged while a key comes, works, and is replaced: its name, and never the key.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_change_hold_without_a_restart_and_are_never_logged() {
    let (old, new, guessed) = ("0123456789abcdef-old", "0123456789abcdef-new", "0123456789abcdef-guessed");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop");
    std::fs::write(&path, old).unwrap();
    let keys = folder.path().to_str().unwrap();
    let (mut serving, banner) =
        serve(&["--listen", "0.0.0.0:0", "--api-keys", keys, "--log-format", "json", "--log", "trace"]);
    let log = log_of(&mut serving);
    let url = banner[1].split_whitespace().last().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |key: &str| client.get(format!("{url}/v1/models")).bearer_auth(key).send().await.unwrap().status();
    assert_eq!(ask(old).await, 200);
    assert_eq!(ask(guessed).await, 401);

    std::fs::write(&path, new).unwrap();
    let changed = async {
        while ask(new).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), changed).await.expect("within a minute");
    assert_eq!(ask(old).await, 401);
    drop(client);

    serving.0.kill().unwrap();
    let log = banner.concat() + &log.join().unwrap();
    assert!(
        log.contains(r#""key":"shop""#)
            && log.contains("other keys hold from now on")
            && log.contains(r#""what":"keys""#),
        "{log}"
    );
    for key in [old, new, guessed] {
        assert!(!log.contains(key), "{key} in {log}");
    }
}

#[test]
fn a_taken_address_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}

#[test]
fn help_lists_every_command_and_setting() {
    let text = stdout(&run(&["--help"]));
    for command in ["serve", "detect", "doctor", "config", "openapi"] {
        assert!(text.contains(command), "{text}");
    }
    assert!(text.contains("Examples:") && text.contains("[COMMAND]"), "it serves without a command: {text}");
    let text = stdout(&run(&["serve", "--help"]));
    assert!(!text.contains("=]"), "names of variables without what they hold: {text}");
    assert!(text.contains("--serving <URL>") && text.contains("SPOTTER_SERVING"), "{text}");
    assert!(Path::new(env!("CARGO_BIN_EXE_spotter")).is_file());
}
