//! Reading the settings again while the service runs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Command, FromArgMatches};

use crate::config::mistake::{Mistake, Mistakes};
use crate::config::sources::{self, Refused, said};
use crate::config::{File, Labels, Row, Runs, Settings, rows};
use crate::reload::{Stamp, stamps};

/// Settings that are used once, when the service starts: the address, what bounds its connections, threads, the log, and how
/// it ends. A file that changes one of them has to wait for the next start.
const AT_START: [&str; 24] = [
    "--config",
    "--listen",
    "--metrics-listen",
    "--otlp-endpoint",
    "--onnx-runtime",
    "--log",
    "--log-format",
    "--workers",
    "--request-timeout-ms",
    "--max-connections",
    "--max-head-bytes",
    "--max-headers",
    "--head-timeout-ms",
    "--keep-alive-ms",
    "--max-streams",
    "--max-stream-resets",
    "--max-stream-errors",
    "--tls-certificate",
    "--tls-key",
    "--shutdown-delay-ms",
    "--shutdown-grace-ms",
    "--watch-files-ms",
    "--serving-versions-ms",
    "--serving-max-answer-bytes-in-flight",
];

/// What the process was started with. Its file may say something else each time it is read.
#[derive(Debug, Clone)]
pub struct CommandLine {
    command: Command,
    arguments: Vec<OsString>,
}

/// The settings as they were found at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The settings.
    pub settings: Settings,
    rows: Vec<Row>,
    /// The file as it was before it was read.
    file: Option<Stamp>,
}

impl CommandLine {
    /// The command with all its subcommands, and the arguments that were given to it.
    pub fn new(command: Command, arguments: Vec<OsString>) -> Self {
        Self { command, arguments }
    }

    /// The settings of the subcommand that was asked for, from flags, environment and file.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(&self) -> Result<Reading, Mistakes> {
        let wrong = |error: &clap::Error| Mistakes(vec![Mistake { place: None, what: said(error) }]);
        let sources = sources::read(self.command.clone(), &self.arguments).map_err(|refused| match refused {
            Refused::Mistakes(mistakes) => mistakes,
            Refused::Usage(error) => wrong(&error),
        })?;
        let matches = sources.matches.subcommand().map_or(&sources.matches, |(_, matches)| matches);
        let mut settings = Settings::from_arg_matches(matches).map_err(|error| wrong(&error))?;
        if let Some(file) = &sources.file {
            settings.declared.clone_from(&file.models);
        }
        Ok(Reading::new(settings, matches, sources.file.as_ref()))
    }
}

impl Reading {
    /// Of the settings that a subcommand's matches gave.
    pub fn new(settings: Settings, matches: &ArgMatches, file: Option<&File>) -> Self {
        Self { settings, rows: rows(matches, file), file: file.and_then(|file| file.stamp.clone()) }
    }

    /// The state of the files that the settings name, and of their own as it was read.
    pub fn stamps(&self) -> Vec<Stamp> {
        let mut found = stamps(&self.settings.files());
        for stamp in &mut found {
            if let Some(file) = self.file.as_ref().filter(|file| file.path() == stamp.path()) {
                stamp.clone_from(file);
            }
        }
        found
    }

    /// What this one says of settings that only a start can change, where it differs from those in force.
    pub fn waits_for_a_start(&self, in_force: &Self) -> Vec<String> {
        let fixed = self.rows.iter().filter(|row| AT_START.contains(&row.flag.as_str()));
        let changed = fixed.filter_map(|row| {
            let old = in_force.rows.iter().find(|old| old.flag == row.flag && old.value != row.value)?;
            let value = |value: &str| if value.is_empty() { "not set".to_owned() } else { format!("'{value}'") };
            let (new, old) = (value(&row.value), value(&old.value));
            Some(format!("{} is {new} now ({}) and stays {old} until the next start", row.flag, row.source))
        });
        changed.collect()
    }

    /// This one, with the settings that only a start can change as they are in force.
    #[must_use]
    pub fn keeping_what_waits(self, in_force: &Self) -> Self {
        let kept = |row: &Row| {
            let old = in_force.rows.iter().find(|old| AT_START.contains(&old.flag.as_str()) && old.flag == row.flag);
            old.unwrap_or(row).clone()
        };
        let rows = self.rows.iter().map(kept).collect();
        let old = in_force.settings.clone();
        let settings = Settings {
            config: old.config,
            listen: old.listen,
            metrics_listen: old.metrics_listen,
            otlp_endpoint: old.otlp_endpoint,
            onnx_runtime: old.onnx_runtime,
            log: old.log,
            log_format: old.log_format,
            workers: old.workers,
            request_timeout_ms: old.request_timeout_ms,
            max_connections: old.max_connections,
            max_head_bytes: old.max_head_bytes,
            max_headers: old.max_headers,
            head_timeout_ms: old.head_timeout_ms,
            keep_alive_ms: old.keep_alive_ms,
            max_streams: old.max_streams,
            max_stream_resets: old.max_stream_resets,
            max_stream_errors: old.max_stream_errors,
            tls_certificate: old.tls_certificate,
            tls_key: old.tls_key,
            shutdown_delay_ms: old.shutdown_delay_ms,
            shutdown_grace_ms: old.shutdown_grace_ms,
            watch_files_ms: old.watch_files_ms,
            serving_versions_ms: old.serving_versions_ms,
            serving_max_answer_bytes_in_flight: old.serving_max_answer_bytes_in_flight,
            ..self.settings
        };
        Self { settings, rows, file: self.file }
    }
}

impl Settings {
    /// The files that the models are made of: the configuration, label maps, models, and what `https://` model servers are
    /// spoken to with.
    pub fn files(&self) -> Vec<PathBuf> {
        let labels = |labels: &Option<Labels>| match labels {
            Some(Labels::File(path)) => Some(path.clone()),
            Some(Labels::Coco) | None => None,
        };
        let declared = self.models();
        let of_models = declared.iter().flat_map(|model| {
            let file = match &model.runs {
                Runs::Embedded(file) => file.clone(),
                Runs::Serving { .. } => None,
            };
            [labels(&model.labels), file]
        });
        let tls = [&self.serving_ca, &self.serving_client_cert, &self.serving_client_key].map(Clone::clone);
        let own = [self.config.clone(), labels(&self.labels)];
        own.into_iter().chain(tls).chain(of_models).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    fn reading(arguments: &[&str]) -> Reading {
        let command = Command::new("spotter").subcommand(Settings::augment_args(Command::new("serve")));
        let arguments = ["spotter", "serve"].iter().chain(arguments).map(OsString::from).collect();
        CommandLine::new(command, arguments).read().expect("fine")
    }

    #[test]
    fn what_only_a_start_can_change_is_told_and_kept() {
        let old = reading(&["--workers", "2", "--max-side", "640"]);
        let new = reading(&["--workers", "4", "--max-side", "320", "--tls-certificate", "a", "--tls-key", "b"]);
        let waits = new.waits_for_a_start(&old);
        assert_eq!(waits.len(), 3, "{waits:?}");
        assert!(waits.iter().any(|said| said == "--workers is '4' now (flag) and stays '2' until the next start"));
        assert!(waits.iter().any(|said| said.starts_with("--tls-key is 'b' now") && said.contains("not set")));
        let kept = new.keeping_what_waits(&old);
        assert_eq!((kept.settings.workers, kept.settings.max_side), (2, 320));
        assert!(kept.settings.tls_key.is_none());
        assert!(kept.waits_for_a_start(&old).is_empty(), "it is told each time that it changes, and kept apart");
    }

    /// Whoever adds a setting says here, or in `AT_START`, what becomes of it when its file is read again.
    #[test]
    fn every_setting_is_read_again_or_waits_for_a_start() {
        // What `app::Assembly` makes a service of, and what is asked of the settings when they are read again.
        const READ_AGAIN: &[&str] = &[
            "--api-keys",
            "--allow-anonymous",
            "--key-rate",
            "--key-burst",
            "--address-rate",
            "--address-burst",
            "--trusted-proxies",
            "--cors-origins",
            "--image-url-schemes",
            "--serving",
            "--model",
            "--model-file",
            "--labels",
            "--min-score",
            "--max-side",
            "--max-tiles",
            "--max-image-bytes",
            "--max-batch-photos",
            "--max-batch-bytes",
            "--max-image-pixels",
            "--max-in-flight",
            "--max-queue-ms",
            "--max-pixels-in-flight",
            "--upload-pause-ms",
            "--max-form-parts",
            "--max-json-depth",
            "--max-upload-bytes-in-flight",
            "--serving-channels",
            "--serving-connect-timeout-ms",
            "--serving-resolve-ms",
            "--serving-silence-ms",
            "--serving-retries",
            "--serving-ca",
            "--serving-client-cert",
            "--serving-client-key",
            "--serving-max-request-bytes",
            "--serving-max-answer-bytes",
        ];
        let settings = reading(&[]);
        let undecided = settings.rows.iter().map(|row| row.flag.as_str());
        let undecided = undecided.filter(|flag| !AT_START.contains(flag) && !READ_AGAIN.contains(flag));
        assert_eq!(undecided.collect::<Vec<_>>(), Vec::<&str>::new(), "in neither list");
    }

    /// Every setting that is said to wait is one, and is kept.
    #[test]
    fn the_settings_that_wait_are_settings_that_are_kept() {
        let odd = [
            ("--config", None),
            ("--listen", Some("127.0.0.1:1")),
            ("--metrics-listen", Some("127.0.0.1:2")),
            ("--otlp-endpoint", Some("http://127.0.0.1:3")),
            ("--log", Some("error")),
            ("--log-format", Some("json")),
            ("--tls-certificate", Some("x")),
            ("--tls-key", Some("y")),
        ];
        let value = |flag: &str| odd.iter().find(|(odd, _)| *odd == flag).map_or(Some("7777"), |(_, value)| *value);
        let flags: Vec<_> = AT_START.iter().filter_map(|flag| Some([*flag, value(flag)?])).flatten().collect();
        let (plain, strange) = (reading(&[]), reading(&flags));
        assert_eq!(strange.waits_for_a_start(&plain).len(), flags.len() / 2, "each of them is a setting");
        let kept = strange.keeping_what_waits(&plain);
        assert_eq!(format!("{:?}", kept.settings), format!("{:?}", plain.settings));
    }
}
