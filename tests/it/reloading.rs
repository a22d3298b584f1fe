//! Configuration, label maps, keys and certificates that change while the service runs: by SIGHUP, and by a mount that is
//! exchanged by its link, as Kubernetes does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::cli::{Serving, serve};
use crate::support::photos::photo;
use crate::support::scripted_serving::{Script, ScriptedServing};
use crate::support::service::until_ready;

/// A folder as the kubelet mounts configuration and secrets: the names link into `..data`, which links to a folder of one moment.
struct Mount {
    folder: tempfile::TempDir,
    moment: usize,
}

impl Mount {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut mount = Self { folder: tempfile::tempdir().unwrap(), moment: 0 };
        mount.exchange(files);
        for (name, _) in files {
            symlink(format!("..data/{name}"), mount.path(name)).unwrap();
        }
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flag(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// All files at once are these; none of them is written to.
    fn exchange(&mut self, files: &[(&str, &str)]) {
        self.moment += 1;
        let moment = format!("..moment_{}", self.moment);
        fs::create_dir(self.path(&moment)).unwrap();
        for (name, text) in files {
            fs::write(self.path(&moment).join(name), text).unwrap();
        }
        symlink(&moment, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }
}

/// A service of its own process, its log and a client.
struct Running {
    process: Serving,
    url: String,
    log: mpsc::Receiver<Value>,
    client: reqwest::Client,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let own = ["--listen", "127.0.0.1:0", "--log-format", "json"];
        let (mut process, banner) = serve(&[&own[..], flags].concat());
        let url = banner[1].split_whitespace().last().unwrap().to_owned();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(process.0.stderr.take().unwrap()));
        let (sender, log) = mpsc::channel();
        // Read all along: a full pipe would stop the service.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, url, log, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn ready(&self) {
        until_ready(&self.client, &format!("{}/readyz", self.url)).await;
    }

    /// The next line of the log of which this is true, and those before it.
    fn said(&self, what: impl Fn(&Value) -> bool) -> (Value, Vec<Value>) {
        let mut before = Vec::new();
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|_| panic!("it is not said within a minute: {before:?}"));
            if what(&line) {
                return (line, before);
            }
            before.push(line);
        }
    }

    /// What became of a thing that was read again, and what was said before.
    fn read_again(&self, thing: &str) -> (Value, Vec<Value>) {
        self.said(|line| line["what"] == thing)
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    async fn detect(&self, path: &str) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).body(photo("chelsea.png"));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn models(&self) -> Vec<String> {
        let list = self.get("/v1/models").await;
        list["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    }
}

const ONE: &str = "min_score = 0.9\n[[models]]\nname = \"one\"\nbackend = \"embedded\"\nlabels = \"labels.txt\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn models_defaults_limits_and_labels_are_read_again_on_sighup_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (config, labels) = (folder.path().join("spotter.toml"), folder.path().join("labels.json"));
    let text = |more: &str, score: f32, label: &str| {
        fs::write(&labels, format!("{{\"16\": \"{label}\"}}")).unwrap();
        let models = "[[models]]\nname = \"one\"\nbackend = \"embedded\"\nlabels = \"labels.json\"\n";
        fs::write(&config, format!("min_score = {score}\n{more}\n{models}")).unwrap();
    };
    text("", 0.9, "cat");
    let running = Running::start(&["--config", config.to_str().unwrap(), "--watch-files-ms", "0"]);
    running.ready().await;
    let (status, body) = running.detect("/v1/detect").await;
    assert_eq!((status, body["detections"].as_array().unwrap().len()), (200, 0), "none is as sure as that: {body}");

    text("workers = 3\nmax_image_pixels = 200000", 0.3, "lynx");
    running.process.signal("HUP");
    let (line, before) = running.read_again("configuration");
    assert_eq!(line["message"], "read again", "{line}");
    let waits = before.iter().find(|line| line["message"].as_str().unwrap().starts_with("--workers is '3' now"));
    let waits = waits.unwrap_or_else(|| panic!("{before:?}"))["message"].as_str().unwrap();
    assert!(waits.contains("spotter.toml:2") && waits.ends_with("stays '0' until the next start"), "{waits}");
    let (status, body) = running.detect("/v1/detect").await;
    assert_eq!((status, &body["detections"][0]["label"]), (200, &"lynx".into()), "{body}");
    let large = running.client.post(format!("{}/v1/detect", running.url)).body(photo("astronaut.png"));
    assert_eq!(large.send().await.unwrap().status(), 413, "262,144 pixels are more than 200,000 now");

    text("max_sied = 1\nmin_scores = 2\nmax_tiles = 999", 0.3, "cow");
    running.process.signal("HUP");
    let (line, before) = running.read_again("configuration");
    assert!(line["level"] == "ERROR" && line["cause"].as_str().unwrap().starts_with("3 mistakes"), "{line}");
    for (number, what) in [(2, "max_sied"), (3, "min_scores"), (4, "max_tiles")] {
        let place = format!("spotter.toml:{number}: ");
        let told = |line: &Value| line["mistake"].as_str().is_some_and(|it| it.contains(&place) && it.contains(what));
        assert!(before.iter().any(told), "{place}: {before:?}");
    }
    let (status, body) = running.detect("/v1/detect").await;
    assert_eq!((status, &body["detections"][0]["label"]), (200, &"lynx".into()), "all is as it was: {body}");

    // A file that the configuration names is as good a reason, and the rest of the new one is not taken either.
    text("", 0.3, "lynx");
    fs::write(&labels, "{").unwrap();
    running.process.signal("HUP");
    let (line, _) = running.read_again("configuration");
    assert!(line["level"] == "ERROR" && line["cause"].as_str().unwrap().contains("labels.json"), "{line}");
    let large = running.client.post(format!("{}/v1/detect", running.url)).body(photo("astronaut.png"));
    assert_eq!(large.send().await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_configuration_is_read_when_it_is_exchanged() {
    let files = |config: &'static str, label: &'static str| [("spotter.toml", config), ("labels.txt", label)];
    let mut mount = Mount::new(&files(ONE, "cat\n"));
    let running = Running::start(&["--config", &mount.flag("spotter.toml"), "--watch-files-ms", "10"]);
    running.ready().await;
    assert_eq!(running.models().await, ["one"]);

    mount.exchange(&files(ONE, "lynx\n"));
    assert_eq!(running.read_again("configuration").0["message"], "read again");
    let labels = running.get("/v1/models/one/labels").await;
    assert_eq!(labels["labels"][0]["label"], "lynx", "the label map alone has changed");

    let two =
        "[[models]]\nname = \"two\"\nbackend = \"embedded\"\n[[models]]\nname = \"one\"\nbackend = \"embedded\"\n";
    mount.exchange(&files(two, "lynx\n"));
    assert_eq!(running.read_again("configuration").0["message"], "read again");
    assert_eq!(running.models().await, ["two", "one"]);

    mount.exchange(&files("models = 7", "lynx\n"));
    assert_eq!(running.read_again("configuration").0["level"], "ERROR");
    assert_eq!(running.models().await, ["two", "one"]);
    running.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounted_keys_and_certificates_are_read_when_they_are_exchanged() {
    let key = |key: &'static str| [("shop", key)];
    let mut keys = Mount::new(&key("0123456789abcdef-old"));
    let running = Running::start(&["--api-keys", &keys.flag("."), "--watch-files-ms", "10"]);
    let ask = async |key: &str| {
        let request = running.client.get(format!("{}/v1/models", running.url)).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("0123456789abcdef-old").await, 200);
    keys.exchange(&key("0123456789abcdef-new"));
    assert_eq!(running.read_again("keys").0["message"], "read again");
    assert_eq!((ask("0123456789abcdef-old").await, ask("0123456789abcdef-new").await), (401, 200));
    keys.exchange(&key("short"));
    assert_eq!(running.read_again("keys").0["level"], "ERROR");
    assert_eq!(ask("0123456789abcdef-new").await, 200);

    let pair = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().clone())
    };
    let (certificate, key, _) = pair();
    let mut secret = Mount::new(&[("tls.crt", &certificate), ("tls.key", &key)]);
    let flags =
        ["--tls-certificate", &secret.flag("tls.crt"), "--tls-key", &secret.flag("tls.key"), "--watch-files-ms", "10"];
    let running = Running::start(&flags);
    let (certificate, key, new) = pair();
    secret.exchange(&[("tls.crt", &certificate), ("tls.key", &key)]);
    assert_eq!(running.read_again("certificate and key").0["message"], "read again");
    crate::tls::connect(running.url.strip_prefix("https://").unwrap(), &new, &[]).await;
    secret.exchange(&[("tls.crt", &certificate), ("tls.key", &pair().1)]);
    assert_eq!(running.read_again("certificate and key").0["level"], "ERROR");
    crate::tls::connect(running.url.strip_prefix("https://").unwrap(), &new, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_keeps_the_models_it_began_with() {
    let serving = ScriptedServing::start(Script::image_tensor()).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("spotter.toml");
    let write = |name: &str, label: &str| {
        fs::write(folder.path().join("labels.json"), format!("{{\"17\": \"{label}\"}}")).unwrap();
        let text = format!(
            "serving_channels = 1\nserving = \"{}\"\nlabels = \"labels.json\"\n[[models]]\nname = \"{name}\"\nmodel = \"model\"\nbackend = \"serving\"\n",
            serving.url()
        );
        fs::write(&config, text).unwrap();
    };
    write("old", "cat");
    let running = Running::start(&["--config", config.to_str().unwrap(), "--watch-files-ms", "0"]);
    running.ready().await;
    let peers = serving.received(|received| received.peers.clone());

    let hanging = async {
        serving.change(|script| script.hang = true);
        running.detect("/v1/models/old/detect").await
    };
    let exchanged = async {
        let photos = |received: &crate::support::scripted_serving::Received| {
            let sides =
                received.predicts.iter().map(|(_, predict)| predict.inputs["input_tensor"].tensor_content.len());
            sides.filter(|bytes| *bytes == 451 * 300 * 3).count()
        };
        tokio::time::timeout(Duration::from_secs(60), serving.until(|received| photos(received) == 1)).await.unwrap();
        write("new", "lynx");
        running.process.signal("HUP");
        assert_eq!(running.read_again("configuration").0["message"], "read again");
        assert_eq!(running.detect("/v1/models/old/detect").await.0, 404);
        serving.change(|script| script.hang = false);
        // One for the photo, one for a blank picture that may wait as well.
        serving.release();
        serving.release();
    };
    let ((status, body), ()) = tokio::join!(hanging, exchanged);
    assert_eq!((status, &body["model"]["name"]), (200, &"old".into()), "{body}");
    assert_eq!(body["detections"][0]["label"], "cat");
    let (status, body) = running.detect("/v1/models/new/detect").await;
    assert_eq!((status, &body["detections"][0]["label"]), (200, &"lynx".into()), "{body}");
    assert_eq!(serving.received(|received| received.peers.clone()), peers, "the connections are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_again_on_sighup_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let (old, new) = ("0123456789abcdef-old", "0123456789abcdef-new");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write(&format!("shop: {old}\n"));
    let running = Running::start(&["--api-keys", path.to_str().unwrap(), "--watch-files-ms", "0"]);
    let holds = async |key: &str| {
        let request = running.client.get(format!("{}/v1/models", running.url)).bearer_auth(key);
        request.send().await.unwrap().status() == 200
    };
    let hangup = || {
        running.process.signal("HUP");
        running.read_again("keys")
    };
    let told = |lines: &[Value], what: &str| lines.iter().any(|line| line["message"] == what);
    assert!(holds(old).await && !holds(new).await);

    write(&format!("shop: {new}\n"));
    assert!(holds(old).await, "nobody has said so yet");
    let (line, before) = hangup();
    assert_eq!(line["message"], "read again");
    assert!(told(&before, "other keys hold from now on"), "{before:?}");
    assert!(!holds(old).await && holds(new).await);

    write("shop: short\n");
    let (line, _) = hangup();
    assert!(line["level"] == "ERROR" && !line.to_string().contains("short\\n"), "{line}");
    assert!(!holds(old).await && holds(new).await);

    write(&format!("# as before\nshop: {new}\n"));
    let (line, before) = hangup();
    assert_eq!(line["message"], "read again");
    assert!(told(&before, "the keys are those that held before"), "{before:?}");
    assert!(holds(new).await);
}

/// What would open the service to everybody is a mistake while it runs as much as at its start.
#[tokio::test(flavor = "multi_thread")]
async fn taking_the_keys_away_beyond_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (config, keys) = (folder.path().join("spotter.toml"), folder.path().join("keys"));
    fs::write(&keys, "shop: 0123456789abcdef").unwrap();
    fs::write(&config, "api_keys = \"keys\"").unwrap();
    let flags = ["--config", config.to_str().unwrap(), "--listen", "0.0.0.0:0", "--log-format", "json"];
    let (mut process, banner) = serve(&flags);
    let url = banner[1].split_whitespace().last().unwrap().to_owned();
    let mut log = std::io::BufRead::lines(std::io::BufReader::new(process.0.stderr.take().unwrap()));
    fs::write(&config, "").unwrap();
    process.signal("HUP");
    let line = log.find_map(|line| line.ok().filter(|line| line.contains("\"what\":\"configuration\""))).unwrap();
    assert!(line.contains("ERROR") && line.contains("--allow-anonymous"), "{line}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(client.get(format!("{url}/v1/models")).send().await.unwrap().status(), 401);
}
