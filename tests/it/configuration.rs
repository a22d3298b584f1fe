//! The configuration file: several models, what is said of each, and mistakes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use spotter::backend::serving::proto::tensorflow::DataType;

use crate::support::photos::{CHELSEA, assert_found, photo};
use crate::support::repo;
use crate::support::scripted_serving::{Script, ScriptedServing, floats, response};
use crate::support::service::{Spotter, problem};

/// A file in a folder of its own, which goes with it.
struct Configuration {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Configuration {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spotter.toml");
        std::fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }
}

fn spotter(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotter"));
    let own = std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("SPOTTER_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments).args(["--config", file.to_str().unwrap()]);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn refused(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    text(&output.stderr).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn several_models_are_served_each_as_it_is_declared() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let file = Configuration::new(&format!(
        r#"
        [[models]]
        name = "built-in"
        backend = "embedded"

        [[models]]
        name = "animals"
        default = true
        backend = "serving"
        addresses = ["{}"]
        model = "model"
        version = 3
        labels = "animals.json"
        min_score = 0.05
        max_detections = 1
        max_side = 64
        "#,
        serving.url()
    ));
    std::fs::write(file.path.with_file_name("animals.json"), r#"{"17": "tiger", "18": "wolf"}"#).unwrap();
    let spotter = Spotter::configured(&file.path).await;

    let models: Value = spotter.get("/v1/models").send().await.unwrap().json().await.unwrap();
    let entry = |name: &str, default: bool, backend: &str, labels: usize| json!({"name": name, "default": default, "backend": backend, "labels": labels});
    let expected = [entry("animals", true, "tensorflow-serving", 2), entry("built-in", false, "embedded", 80)];
    assert_eq!(models["models"], json!(expected));

    assert_found(&spotter.detect("/v1/models/built-in/detect", photo("chelsea.png")).await, CHELSEA);
    let answer = spotter.detect("/v1/detect", photo("chelsea.png")).await;
    assert_eq!(answer["model"], json!({"name": "animals", "version": "3"}));
    assert_found(&answer, &[(17, "tiger", 0.9, [113, 75, 338, 225])]);
    let (_, sent) = serving.last_predict();
    let spec = sent.model_spec.unwrap();
    assert_eq!(spec.name, "model");
    assert!(format!("{:?}", spec.version_choice).contains("Version(3)"), "{spec:?}");
    let sides: Vec<_> =
        sent.inputs["input_tensor"].tensor_shape.as_ref().unwrap().dim.iter().map(|dim| dim.size).collect();
    assert_eq!(sides, [1, 43, 64, 3]);

    let answer = spotter.detect("/v1/detect?max_detections=5", photo("chelsea.png")).await;
    assert_eq!(answer["detections"].as_array().unwrap().len(), 2, "the request says otherwise");
    let body = problem(spotter.post("/v1/detect?version=4").body("GIF89a"), 415, "UNSUPPORTED_MEDIA_TYPE").await;
    assert!(body["detail"].is_string());
}

#[tokio::test]
async fn a_model_whose_outputs_say_nothing_is_read_as_the_file_says() {
    let mut script = Script::detector("x", DataType::DtFloat, &[1, 50, 100, 3]);
    let outputs = std::mem::take(&mut script.signature.outputs);
    for (key, like) in [("o0", "detection_boxes"), ("o1", "detection_scores"), ("o2", "detection_classes")] {
        script.signature.outputs.insert(key.to_owned(), outputs[like].clone());
    }
    // In pixels of the stretched canvas of 100 x 50: the left upper quarter, class 16 from 0.
    let answer = response(&[
        ("o0", floats(&[1, 1, 4], &[0.0, 0.0, 50.0, 25.0])),
        ("o1", floats(&[1, 1], &[0.9])),
        ("o2", floats(&[1, 1], &[16.0])),
    ]);
    script.predict = std::sync::Arc::new(move |_| Ok(answer.clone()));
    let serving = ScriptedServing::start(script).await;
    let declared = |more: &str| {
        format!(
            r#"
            serving = "{url}"
            [[models]]
            name = "model"
            backend = "serving"
            addresses = ["{url}"]
            labels = "coco"
            {more}
            "#,
            url = serving.url()
        )
    };
    let mapping = r#"
        class_offset = 1
        [models.input]
        range = [0, 1]
        resize = "stretch"
        [models.mapping]
        kind = "boxes"
        boxes = "o0"
        scores = "o1"
        classes = "o2"
        box_format = "xyxy"
        box_frame = "pixels"
    "#;
    let file = Configuration::new(&declared(mapping));
    let spotter = Spotter::configured(&file.path).await;
    assert_found(&spotter.detect("/v1/detect", photo("chelsea.png")).await, &[(17, "cat", 0.9, [0, 0, 226, 150])]);
    let (_, sent) = serving.last_predict();
    let floats = sent.inputs["x"].tensor_content.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let brightest = floats.fold(0.0, f32::max);
    assert!((0.5..=1.0).contains(&brightest), "{brightest}");

    let file = Configuration::new(&declared(""));
    let spotter = Spotter::configured(&file.path).await;
    let body = problem(spotter.get("/readyz"), 502, "MODEL_CONTRACT").await;
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("Found: x: float32 [1, 50, 100, 3] ->") && detail.contains("needs"), "{detail}");

    let file = Configuration::new(&declared("[models.input]\nsize = [640, 640]"));
    let spotter = Spotter::configured(&file.path).await;
    let body = problem(spotter.get("/readyz"), 502, "MODEL_CONTRACT").await;
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("[1, 640, 640, 3]; the signature says float32 [1, 50, 100, 3]"), "{detail}");
    let doctor = tokio::task::spawn_blocking(move || self::spotter(&["doctor"], &file.path).output().unwrap());
    let doctor = doctor.await.unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(text(&doctor.stdout).contains("the signature says float32 [1, 50, 100, 3]"), "{}", text(&doctor.stdout));
}

#[tokio::test]
async fn a_model_takes_no_more_photos_at_once_than_its_limit() {
    let serving = ScriptedServing::start(Script { hang: true, ..Script::image_tensor() }).await;
    let file = Configuration::new(&format!(
        "[[models]]\nname = \"model\"\nbackend = \"serving\"\naddresses = \"{}\"\nmax_in_flight = 1\n",
        serving.url()
    ));
    let spotter = Spotter::configured(&file.path).await;
    let (one, two) =
        (spotter.upload("/v1/detect", photo("chelsea.png")), spotter.upload("/v1/detect", photo("chelsea.png")));
    let released = async {
        serving.until(|received| received.predicts.len() == 1).await;
        serving.release();
        serving.until(|received| received.predicts.len() == 2).await;
        assert_eq!(serving.received(|received| received.cancelled), 0);
        serving.release();
    };
    let (one, two, ()) = tokio::join!(one, two, released);
    assert_eq!((one.status().as_u16(), two.status().as_u16()), (200, 200));
}

#[test]
fn five_mistakes_in_a_file_are_told_all_five_with_their_lines() {
    let file = Configuration::new(
        r#"max_sied = 640
min_score = 1.5
workers = "four"
log_format = "xml"
[[models]]
name = "one"
backend = "serving"

[[models]]
name = "one"
backend = "embedded"
"#,
    );
    let lines = refused(&spotter(&["config"], &file.path).output().unwrap());
    let expected = [
        (1, "Did you mean max_side?"),
        (2, "from 0 to 1"),
        (3, "a whole number"),
        (4, "possible values: text, json"),
        (9, "'one', as is the model of line 5"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (found, (line, what)) in lines.iter().zip(expected) {
        assert!(found.starts_with(&format!("{}:{line}: ", file.path.display())), "{found}");
        assert!(found.contains(what), "{found}");
    }
}

#[test]
fn mistakes_of_flags_variables_and_file_are_told_together() {
    let file = Configuration::new("max_tiles = 999\n");
    let mut command = spotter(&["config", "--max-side", "5", "--min-score", "2"], &file.path);
    let lines = refused(&command.env("SPOTTER_LOG_FORMAT", "xml").output().unwrap());
    for what in
        ["--max-side", "--min-score", "possible values: text, json] (SPOTTER_LOG_FORMAT)", "spotter.toml:1: max_tiles"]
    {
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
    }
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[test]
fn settings_that_exclude_each_other_are_told_with_their_sources() {
    let file = Configuration::new("serving = [\"http://tf:8500\"]\n[[models]]\nname = \"a\"\nbackend = \"embedded\"\n");
    let lines = refused(&spotter(&["config", "--model-file", "x.onnx", "--model", "b"], &file.path).output().unwrap());
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(
        lines[0].contains("--model-file (flag) cannot be used with --serving") && lines[0].contains("toml:1)"),
        "{lines:#?}"
    );
    assert!(lines[1].contains("--model (flag) cannot be used with [[models]]"), "{lines:#?}");
    let file = Configuration::new("[[models]]\nname = \"a\"\nbackend = \"serving\"\n");
    let lines = refused(&spotter(&["serve"], &file.path).output().unwrap());
    assert!(lines[0].contains(":1: the model 'a' has no addresses"), "{lines:#?}");
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = Configuration::new("max_side = 100\nmax_tiles = 3\nworkers = 2\nserving = \"http://tf:8500\"\n");
    let mut command = spotter(&["config", "--max-side", "640", "--model", "a,b"], &file.path);
    let output = command.env("SPOTTER_MAX_TILES", "5").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let out = text(&output.stdout);
    let row = |flag: &str| -> Vec<String> {
        let line = out.lines().find(|line| line.split_whitespace().next() == Some(flag)).unwrap();
        line.split_whitespace().skip(2).map(str::to_owned).collect()
    };
    let at = |line: usize| format!("{}:{line}", file.path.display());
    assert_eq!(row("--max-side"), ["640", "flag"]);
    assert_eq!(row("--max-tiles"), ["5", "environment"]);
    assert_eq!(row("--workers"), ["2", &at(3)]);
    assert_eq!(row("--serving"), ["http://tf:8500", &at(4)]);
    assert_eq!(row("--min-score"), ["0.3", "default"]);
    assert!(out.contains("a (default)") && out.contains("'b', latest version"), "{out}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let lines = refused(&spotter(&["config"], Path::new("nowhere.toml")).output().unwrap());
    assert!(lines[0].contains("--config nowhere.toml cannot be read"), "{lines:?}");
}

#[test]
fn the_documented_example_is_one_that_is_accepted() {
    let guide = std::fs::read_to_string(repo("docs/CONFIG.md")).unwrap();
    let examples: Vec<_> = guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 2, "the whole file and the mappings");
    for example in &examples {
        let file = Configuration::new(example);
        config_is_accepted(&file, example);
    }
    let whole = examples[0];
    let settings = <spotter::config::Settings as clap::Args>::augment_args(clap::Command::new("settings"));
    for argument in settings.get_arguments().filter(|argument| argument.get_id() != "config") {
        let name = argument.get_id().as_str();
        let stands = whole.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
        assert!(stands, "docs/CONFIG.md lacks {name}");
    }
}

fn config_is_accepted(file: &Configuration, example: &str) {
    let output = spotter(&["config"], &file.path).output().unwrap();
    assert!(output.status.success(), "{}\n{example}", text(&output.stderr));
}
