//! The log's way to standard error, for which nobody waits.
//!
//! Who reads it may be slow or stuck: a collector, a terminal, a disk. So lines wait here, and a thread of the log's own hands
//! them on. Where too many wait the next are dropped and counted, and the log says so once there is room again.
//!
//! Written out, because tracing-appender bounds the lines that wait and not their bytes, and where they are too many at the end
//! it prints to standard output, which may be stuck as well.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use memchr::memchr_iter;
use prometheus_client::metrics::counter::Counter;

/// Bytes of lines that wait, and as many may be on their way: some ten thousand requests.
const ROOM: usize = 4 << 20;
/// Time that the last lines have when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines that this process has dropped. It has one log, and whoever counts for the metrics knows nothing of it.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// For the metrics.
pub(super) fn dropped() -> Counter {
    DROPPED.clone()
}

/// The log of this process. What is written to it in one piece is a line.
#[derive(Debug)]
pub struct Log {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    room: usize,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// There are lines on their way beside those.
    is_writing: bool,
}

impl Log {
    /// To there. The thread that sees to it ends with the process.
    pub fn to(out: impl Write + Send + 'static) -> Arc<Self> {
        Self::with(out, ROOM, dropped())
    }

    fn with(out: impl Write + Send + 'static, room: usize, dropped: Counter) -> Arc<Self> {
        let log = Arc::new(Self { waiting: Mutex::default(), changed: Condvar::new(), room, dropped });
        let own = Arc::clone(&log);
        thread::Builder::new().name("log".to_owned()).spawn(move || own.hand_on(out)).expect("a thread for the log");
        log
    }

    /// Waits until every line is written, and not for long where nobody reads them.
    pub fn close(&self) {
        let is_open = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // What is not written by then never will be.
        let _ = self.changed.wait_timeout_while(self.waiting(), LAST_WORDS, is_open);
    }

    fn hand_on(&self, mut out: impl Write) {
        let mut told = self.dropped.get();
        loop {
            let lines = self.next();
            match out.write_all(&lines) {
                Ok(()) => {
                    let dropped = self.dropped.get();
                    if dropped > told {
                        let lines = dropped - told;
                        tracing::warn!(lines, "lines of the log were dropped here: standard error was not read");
                        told = dropped;
                    }
                }
                // Told when somebody reads again.
                Err(_) => _ = self.dropped.inc_by(memchr_iter(b'\n', &lines).count() as u64),
            }
            self.waiting().is_writing = false;
            self.changed.notify_all();
        }
    }

    /// All lines that wait, once there are any.
    fn next(&self) -> Vec<u8> {
        let is_empty = |waiting: &mut Waiting| waiting.lines.is_empty();
        let waiting = self.changed.wait_while(self.waiting(), is_empty);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        std::mem::take(&mut waiting.lines)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Whole after every statement.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.waiting();
        if waiting.lines.len() + line.len() > self.room {
            self.dropped.inc();
        } else {
            waiting.lines.extend_from_slice(line);
            self.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// A reader that takes nothing until it is told to, and what it has read.
    struct Stuck {
        tried: Sender<()>,
        go: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.tried.send(()).expect("the test is there");
            // Once the test has let go of it, it reads on.
            let _ = self.go.recv();
            self.read.send(lines.to_vec()).expect("the test is there");
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_past_the_room_are_dropped_and_counted_and_the_end_waits_for_a_stuck_reader_no_longer_than_it_must() {
        let ((tried, is_tried), (go, may_go), (read, was_read)) = (channel(), channel(), channel());
        let dropped = Counter::default();
        let log = Log::with(Stuck { tried, go: may_go, read }, 10, dropped.clone());
        let say = |line: &str| (&*log).write_all(line.as_bytes()).expect("it never fails");
        say("one\n");
        is_tried.recv().expect("it is being written");
        for line in ["two\n", "three\n", "four\n", "5\n"] {
            say(line);
        }
        assert_eq!(dropped.get(), 2, "ten bytes wait");
        let begin = Instant::now();
        log.close();
        assert!(begin.elapsed() >= LAST_WORDS, "as long as it takes to be sure");
        drop(go);
        log.close();
        let read: Vec<u8> = was_read.try_iter().flatten().collect();
        assert_eq!(String::from_utf8(read).expect("text"), "one\ntwo\nthree\n", "all of it is written at the end");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = Counter::default();
        let log = Log::with(Gone, 100, dropped.clone());
        (&*log).write_all(b"one\n").expect("it never fails");
        log.close();
        assert_eq!(dropped.get(), 1);
    }
}
