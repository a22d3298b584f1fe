//! The scripted model server as a process of its own, to be killed and frozen: this test binary once more, told by the
//! environment to serve instead of to test.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpListener;

use super::scripted_serving::{Script, ScriptedServing, response_with_boxes};

/// Where the process is to listen; set only for it.
const LISTEN: &str = "SPOTTER_TEST_SERVING_LISTEN";
/// The score of what it sees, by which its answers are known.
const SCORE: &str = "SPOTTER_TEST_SERVING_SCORE";
/// How often it sees it.
const BOXES: &str = "SPOTTER_TEST_SERVING_BOXES";
const LINE: &str = "scripted serving at ";

/// The process; it ends with this.
pub struct ServingProcess {
    child: Child,
    address: SocketAddr,
    score: f32,
    boxes: usize,
}

impl ServingProcess {
    /// On a free port; it sees one cat.
    pub fn start(score: f32) -> Self {
        Self::answering_with(score, 1)
    }

    /// It sees as many cats.
    pub fn answering_with(score: f32, boxes: usize) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), score, boxes)
    }

    fn at(address: SocketAddr, score: f32, boxes: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "support::serving_process::serve_until_killed", "--ignored", "--nocapture"])
            .env(LISTEN, address.to_string())
            .env(SCORE, score.to_string())
            .env(BOXES, boxes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| line.split_once(LINE).map(|(_, address)| address.parse().unwrap()))
            .expect("it says where it listens");
        Self { child, address, score, boxes }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// SIGKILL: connections are reset, nothing is finished.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Another process on the same port.
    pub fn restart(&mut self) {
        *self = Self::at(self.address, self.score, self.boxes);
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for ServingProcess {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test: the other end of [`ServingProcess`].
#[tokio::test]
#[ignore = "serves until it is killed; started by the tests that need a model server as a process"]
async fn serve_until_killed() {
    let Ok(listen) = std::env::var(LISTEN) else { return };
    let score: f32 = std::env::var(SCORE).unwrap().parse().unwrap();
    let boxes: usize = std::env::var(BOXES).unwrap().parse().unwrap();
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let _serving = ScriptedServing::on(listener, Script::answering(response_with_boxes(score, boxes)));
    println!("{LINE}{address}");
    std::io::stdout().flush().unwrap();
    // Its parent holds the other end of this pipe: without a parent it ends as well.
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await.unwrap().unwrap();
}
