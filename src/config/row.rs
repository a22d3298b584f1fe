//! The settings as they stand, one row each.

use std::ffi::OsStr;

use clap::{Arg, ArgMatches};

use crate::config::File;
use crate::config::sources::{self, Source};

/// A setting as it stands, for `spotter config` and for the table in the README.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `--max-side`
    pub flag: String,
    /// `SPOTTER_MAX_SIDE`
    pub env: String,
    /// Its value; empty where none is set.
    pub value: String,
    /// What holds where nothing is set; empty for nothing.
    pub default: String,
    /// Where the value came from.
    pub source: Source,
    /// What it is.
    pub help: String,
}

/// Every setting of a parsed command, in the order of its help.
pub fn rows(matches: &ArgMatches, file: Option<&File>) -> Vec<Row> {
    let text = |value: &OsStr| value.to_string_lossy().into_owned();
    let row = |arg: &Arg| {
        let id = arg.get_id().as_str();
        let raw = matches.get_raw(id);
        Some(Row {
            flag: format!("--{}", arg.get_long()?),
            env: arg.get_env().map(text).unwrap_or_default(),
            value: raw.map(|values| values.map(text).collect::<Vec<_>>().join(",")).unwrap_or_default(),
            default: arg.get_default_values().iter().map(|value| text(value)).collect::<Vec<_>>().join(","),
            source: Source::of(id, matches, file),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
        })
    };
    sources::settings_command().get_arguments().filter_map(row).collect()
}
