//! The commands. Each is one file; this one reads the command line and turns failures into exit codes.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::app::StartError;
use crate::background::Background;
use crate::config::{self, CommandLine, LogFormat, Reading, Refused, Settings, Sources};
use crate::fault::chain;
use crate::telemetry::log::Log;
use crate::telemetry::traces::Traces;

mod allocator;
mod config_command;
mod detect;
mod doctor;
mod health;
mod open_files;
mod openapi;
mod print;
mod serve;

/// The command line is wrong, or a setting is (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;
/// Anything else went wrong.
const BROKEN: u8 = 1;

/// What `--version` says: which of the two builds this is (docs/adr/0004-jpeg-decoder.md) shows nowhere else.
const VERSION_AND_DECODER: &str = if cfg!(feature = "turbojpeg") {
    concat!(env!("CARGO_PKG_VERSION"), "\nJPEG: libjpeg-turbo (C), with jpeg-decoder behind it")
} else {
    concat!(env!("CARGO_PKG_VERSION"), "\nJPEG: jpeg-decoder (Rust)")
};

/// For whoever types `spotter --help` first.
const EXAMPLES: &str = "Examples:
  spotter
      serves on http://127.0.0.1:8080 with the detector inside; open it in a browser
  spotter --serving http://tf-serving:8500 --model my_detector --labels label_map.pbtxt
      serves with a model at TensorFlow Serving
  spotter doctor --serving http://tf-serving:8500 --model my_detector --labels label_map.pbtxt
      says whether that would work
  spotter detect photo.jpg --annotated boxes.jpg
      draws what is found into a picture, without a server";

#[derive(Debug, Parser)]
#[command(
    name = "spotter",
    version,
    long_version = VERSION_AND_DECODER,
    about = "Photo in, labelled pixel boxes out",
    long_about = "Finds objects in photos: over HTTP or on the command line, with TensorFlow Serving or with the small detector inside.\n\nWithout a command it serves. Every setting is a flag, an environment variable and a key of the configuration file: `spotter config` lists them.",
    override_usage = "spotter [COMMAND] [OPTIONS]\n       spotter [OPTIONS]            those of `serve`",
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer photos over HTTP (what happens without a command)
    Serve(Settings),
    /// Find objects in photos, without a server
    Detect(Box<detect::Arguments>),
    /// Say whether the model can be used, and what to do where it cannot
    Doctor(Settings),
    /// Ask a running service whether it is well: exit code 0 if it is, 1 if not
    Health(Box<health::Arguments>),
    /// Print every setting, its value and where it came from
    Config(Settings),
    /// Print the OpenAPI document
    Openapi,
}

impl Command {
    fn settings_mut(&mut self) -> Option<&mut Settings> {
        match self {
            Self::Serve(settings) | Self::Doctor(settings) | Self::Config(settings) => Some(settings),
            Self::Detect(arguments) => Some(&mut arguments.settings),
            Self::Health(arguments) => Some(&mut arguments.settings),
            Self::Openapi => None,
        }
    }
}

/// Why a command ends without success.
enum Failure {
    /// It has said so itself.
    Said,
    /// To be told.
    Start(StartError),
}

impl Failure {
    /// What the process ends with.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Start(
                StartError::Labels(_)
                | StartError::ModelFile { .. }
                | StartError::Unfit { .. }
                | StartError::OnnxRuntime { .. }
                | StartError::Keys(_)
                | StartError::ServingTls(_)
                | StartError::OpenToAll { .. }
                | StartError::Fetch(_)
                | StartError::Traces(_)
                | StartError::Tls(_),
            ) => USAGE,
            Self::Said
            | Self::Start(
                StartError::BuiltIn(_) | StartError::Listen { .. } | StartError::Serve(_) | StartError::Crashed(_),
            ) => BROKEN,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Runs the command of these arguments, of which the first is the program's name, and says what the process is to end with.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    run_with(arguments, |_| {})
}

/// The same, with tasks beside those of the service, once it listens: for the test in which one breaks.
#[doc(hidden)]
pub fn run_with(arguments: impl IntoIterator<Item = OsString>, beside: impl FnOnce(&Background)) -> u8 {
    let arguments = with_default_command(arguments.into_iter().collect());
    let command_line = CommandLine::new(Cli::command(), arguments.clone());
    // What variables hold is what `spotter config` says; in the help, an empty `=` behind each name would only be in the way.
    let parser = Cli::command().mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)));
    let Sources { matches, file } = match config::read(parser, &arguments) {
        Ok(sources) => sources,
        Err(Refused::Usage(error)) => return usage(&error),
        Err(Refused::Mistakes(mistakes)) => {
            eprintln!("{mistakes}");
            return USAGE;
        }
    };
    let mut command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => return usage(&error),
    };
    if let (Some(settings), Some(file)) = (command.settings_mut(), &file) {
        settings.declared.clone_from(&file.models);
    }
    let outcome = match command {
        Command::Serve(settings) => {
            allocator::keep_what_is_freed();
            let given = matches.subcommand_matches("serve").expect("it was parsed");
            let reading = Reading::new(settings.clone(), given, file.as_ref());
            with_runtime(&settings, || serve::run(command_line, reading, beside))
        }
        Command::Detect(arguments) => with_runtime(&arguments.settings, || detect::run(&arguments)),
        Command::Doctor(settings) => with_runtime(&settings, || doctor::run(&settings)),
        Command::Health(arguments) => with_runtime(&arguments.settings, || health::run(&arguments)),
        Command::Config(settings) => {
            let matches = matches.subcommand_matches("config").expect("it was parsed");
            config_command::run(&config::rows(matches, file.as_ref()), &settings);
            Ok(())
        }
        Command::Openapi => {
            openapi::run();
            Ok(())
        }
    };
    outcome.err().map_or(0, |failure| failure.exit_code())
}

/// `spotter --listen …` means `spotter serve --listen …`.
fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    let names_command = first.is_some_and(|first| !first.starts_with('-'));
    let asks_for_help = matches!(first, Some("-h" | "--help" | "-V" | "--version"));
    if !names_command && !asks_for_help {
        arguments.insert(1.min(arguments.len()), "serve".into());
    }
    arguments
}

/// Prints what clap has to say: help and version on success, else what is wrong with the command line.
fn usage(error: &clap::Error) -> u8 {
    // Nothing is left to do if even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() { USAGE } else { 0 }
}

/// Runs a command on a runtime, with a log in which it says why it fails, and whose last line it waits for.
fn with_runtime<F>(settings: &Settings, command: impl FnOnce() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let log = Log::to(io::stderr());
    let outcome = with_log(settings, &log, command);
    if let Err(Failure::Start(error)) = &outcome {
        // Printed, it would wait for whoever reads the log. That it goes there in one piece is what makes it a line.
        let line = format!("spotter: {}\n", chain(error));
        (&*log).write_all(line.as_bytes()).expect("it waits for nobody, and so nothing can go wrong");
    }
    log.close();
    outcome
}

fn with_log<F>(settings: &Settings, log: &Arc<Log>, command: impl FnOnce() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Serve)?;
    let traces = {
        let _inside = runtime.enter();
        let traces = settings.otlp_endpoint.as_deref().map(Traces::to).transpose().map_err(StartError::Traces)?;
        start_log(settings, Arc::clone(log), traces.as_ref())?;
        traces
    };
    let outcome = runtime.block_on(command());
    if let Some(traces) = traces {
        traces.close();
    }
    // Dropped, it would wait for work on its threads (a photo, a file, a name that is looked up) that nobody waits for any
    // more, and while it waits no signal is listened to.
    runtime.shutdown_background();
    outcome
}

/// The log goes to standard error; standard output belongs to the command.
fn start_log(settings: &Settings, log: Arc<Log>, traces: Option<&Traces>) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&settings.log).map_err(|error| {
        eprintln!("spotter: --log '{}' is no filter: {error}", settings.log);
        Failure::Said
    })?;
    let log = tracing_subscriber::fmt::layer().with_writer(log);
    let log = match settings.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(log.with_filter(filter)).with(traces.map(Traces::layer)).init();
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic goes to the log: printed, as it is without this, it would wait for whoever reads that.
fn log_panic(panic: &PanicHookInfo<'_>) {
    // There is one where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(panic = panic.to_string(), backtrace, "panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_operator_can_mend_is_told_from_what_broke() {
        let address = std::net::SocketAddr::from(([0, 0, 0, 0], 8080));
        assert_eq!(Failure::from(StartError::Crashed("warm-up")).exit_code(), 1);
        assert_eq!(Failure::Said.exit_code(), 1);
        assert_eq!(Failure::from(StartError::OpenToAll { address }).exit_code(), 64);
    }

    #[test]
    fn without_a_command_it_serves() {
        let full = |arguments: &[&str]| {
            let arguments = with_default_command(arguments.iter().map(OsString::from).collect());
            arguments.into_iter().map(|argument| argument.into_string().expect("text")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(full(&["spotter"]), "spotter serve");
        assert_eq!(full(&["spotter", "--log", "debug"]), "spotter serve --log debug");
        assert_eq!(full(&["spotter", "--help"]), "spotter --help");
        assert_eq!(full(&["spotter", "detect", "a.jpg"]), "spotter detect a.jpg");
    }
}
