//! From which of its sources each setting comes: a flag, else the environment, else the file, else its default.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};

use crate::config::file::File;
use crate::config::mistake::{Mistake, Mistakes};
use crate::config::models::Runs;
use crate::config::{CONFIG, Settings};

/// Why there are no settings.
pub enum Refused {
    /// clap says it, or was asked for help.
    Usage(clap::Error),
    /// Everything that is wrong.
    Mistakes(Mistakes),
}

/// The command line with the environment and the file behind it.
pub struct Sources {
    /// What clap made of all of them.
    pub matches: ArgMatches,
    /// The file, where there is one.
    pub file: Option<File>,
}

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// Its variable.
    Environment,
    /// The configuration file, at this line.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Source {
    /// Where a parsed setting came from. What a file says stands in the place of clap's defaults.
    pub(super) fn of(id: &str, matches: &ArgMatches, file: Option<&File>) -> Self {
        match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Self::Flag,
            Some(ValueSource::EnvVariable) => Self::Environment,
            _ => match file.and_then(|file| Some((&file.path, file.values.get(id)?))) {
                Some((path, given)) => Self::File(path.clone(), given.line),
                None => Self::Default,
            },
        }
    }
}

/// The settings as one command.
pub(super) fn settings_command() -> Command {
    Settings::augment_args(Command::new("settings"))
}

/// Reads the command line, the environment and the file that they name.
///
/// # Errors
/// Everything that is wrong with the values of all three, or what clap says of the command line itself.
pub fn read(command: Command, arguments: &[OsString]) -> Result<Sources, Refused> {
    let command = without_empty_variables(command);
    let strict = command.clone().try_get_matches_from(arguments);
    // Only values can be told all at once; an unknown flag leaves open what the others are.
    if let Err(error) = &strict
        && !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation)
    {
        return Err(Refused::Usage(strict.expect_err("just seen")));
    }
    let loose = with_settings(command.clone(), |arg| {
        if arg.get_action().takes_values() { arg.value_parser(ValueParser::os_string()) } else { arg }
    });
    let loose = loose.try_get_matches_from(arguments).map_err(Refused::Usage)?;
    let Some((_, given)) = loose.subcommand().filter(|(_, given)| has_settings(given)) else {
        return strict.map(|matches| Sources { matches, file: None }).map_err(Refused::Usage);
    };

    let mut mistakes = given_values(given);
    let path = given.get_one::<OsString>(CONFIG).map(PathBuf::from);
    let file = match path.map(|path| File::read(&path, &settings_command())).transpose() {
        Ok(file) => file,
        Err(Mistakes(wrong)) => {
            mistakes.extend(wrong);
            None
        }
    };
    mistakes.extend(conflicts(given, file.as_ref()));
    match (strict, &mistakes[..]) {
        // clap says it with the usage beside it.
        (Err(error), [] | [_]) => return Err(Refused::Usage(error)),
        (Ok(_), []) => {}
        _ => return Err(Refused::Mistakes(Mistakes(mistakes))),
    }
    let values = |id: &str| file.as_ref().and_then(|file| file.values.get(id));
    let complete = with_settings(command, |arg| match values(arg.get_id().as_str()) {
        Some(given) => arg.default_values(given.values.iter().cloned()),
        None => arg,
    });
    let matches = complete.try_get_matches_from(arguments).map_err(Refused::Usage)?;
    Ok(Sources { matches, file })
}

/// Whether a value is one that the argument takes; else why not.
pub(super) fn check(argument: &Arg, values: &[String]) -> Result<(), String> {
    if !argument.get_action().takes_values() {
        return Ok(());
    }
    let flag = format!("--{}", argument.get_long().unwrap_or_default());
    let line = values.iter().map(|value| OsString::from(format!("{flag}={value}")));
    // One value after the other, so that a list is not refused as a repetition.
    for words in line {
        let alone = Command::new("settings").arg(argument.clone().env(None::<&str>));
        if let Err(error) = alone.try_get_matches_from([OsString::from("settings"), words]) {
            return Err(said(&error));
        }
    }
    Ok(())
}

/// What clap says, without its frame.
pub(super) fn said(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.split("\n\nFor more information").next().unwrap_or(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is wrong with the values of flags and variables, each by itself.
fn given_values(given: &ArgMatches) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for argument in settings_command().get_arguments() {
        let id = argument.get_id().as_str();
        let source = match given.value_source(id) {
            Some(ValueSource::CommandLine) => String::new(),
            Some(ValueSource::EnvVariable) => {
                argument.get_env().map(|name| format!(" ({})", name.to_string_lossy())).unwrap_or_default()
            }
            _ => continue,
        };
        let text = |value: &OsStr| value.to_string_lossy().into_owned();
        let values: Vec<_> = given.get_raw(id).into_iter().flatten().map(text).collect();
        if let Err(why) = check(argument, &values) {
            mistakes.push(Mistake { place: None, what: format!("{why}{source}") });
        }
    }
    mistakes
}

/// Settings that mean nothing without another. Said here and not to clap, which does not know what stands in the file.
const NEEDS: [(&str, &str); 6] = [
    ("key_rate", "api_keys"),
    ("key_burst", "api_keys"),
    ("tls_certificate", "tls_key"),
    ("tls_key", "tls_certificate"),
    ("serving_client_cert", "serving_client_key"),
    ("serving_client_key", "serving_client_cert"),
];

/// Settings that exclude or need each other, wherever they come from.
fn conflicts(given: &ArgMatches, file: Option<&File>) -> Vec<Mistake> {
    let source = |id: &str| match Source::of(id, given, file) {
        Source::Default => None,
        source => Some(source),
    };
    let place = |source: &Source| match source {
        Source::File(path, line) => Some((path.clone(), *line)),
        Source::Flag | Source::Environment | Source::Default => None,
    };
    let mut mistakes = Vec::new();
    let mut wrong = |source: &Source, what: String| mistakes.push(Mistake { place: place(source), what });
    let serving = source("serving");
    if let (Some(file), Some(serving)) = (source("model_file"), &serving) {
        wrong(
            &file,
            format!("--model-file ({file}) cannot be used with --serving ({serving}): a model runs here or there."),
        );
    }
    if let (Some(model), None) = (source("model"), &serving) {
        wrong(&model, format!("--model ({model}) is a name at TensorFlow Serving; give --serving with its address."));
    }
    for (id, needed) in NEEDS {
        if let (Some(one), None) = (source(id), source(needed)) {
            let [flag, other] = [id, needed].map(|id| id.replace('_', "-"));
            wrong(&one, format!("--{flag} ({one}) means nothing without --{other}; give both."));
        }
    }
    let Some((file, first)) = file.and_then(|file| Some((file, file.models.first()?))) else { return mistakes };
    let line = first.line.unwrap_or_default();
    for id in ["model", "model_file"] {
        if let Some(one) = source(id) {
            let flag = id.replace('_', "-");
            wrong(
                &one,
                format!(
                    "--{flag} ({one}) cannot be used with [[models]] ({}:{line}), which names the models.",
                    file.path.display()
                ),
            );
        }
    }
    for model in &file.models {
        if let (Runs::Serving { addresses, .. }, None) = (&model.runs, &serving)
            && addresses.is_empty()
        {
            let source = Source::File(file.path.clone(), model.line.unwrap_or_default());
            wrong(
                &source,
                format!("the model '{}' has no addresses; give it some, or serving for all models.", model.name),
            );
        }
    }
    mistakes
}

/// The command with each setting of each of its subcommands changed.
fn with_settings(command: Command, change: impl Fn(Arg) -> Arg) -> Command {
    let settings = settings_command();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| {
            command.mut_args(|arg| {
                let is_setting = settings.get_arguments().any(|setting| setting.get_id() == arg.get_id());
                if is_setting { change(arg) } else { arg }
            })
        })
    })
}

fn has_settings(matches: &ArgMatches) -> bool {
    matches.ids().any(|id| id == "listen")
}

/// The command with variables that are set to nothing left out: compose files and charts write `SPOTTER_SERVING=` for
/// "none".
fn without_empty_variables(command: Command) -> Command {
    with_settings(command, |arg| {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(None::<&str>) } else { arg }
    })
}

/// The text of a file, as [`read`] reads it; `path` is where it stands, which relative paths in it go out from.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(path: &Path, text: &str) -> Result<File, Mistakes> {
    File::parse(path, text, &settings_command())
}
