//! Values of settings with a form of their own, and how each is read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use ipnet::IpNet;

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where labels come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// The 80 classes of COCO under TensorFlow's ids.
    Coco,
    /// A file.
    File(PathBuf),
}

impl FromStr for Labels {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "coco" { Self::Coco } else { Self::File(text.into()) })
    }
}

/// Requests a second, for clap.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.0..=1e6).contains(rate));
    rate.ok_or_else(|| "a rate is a number of requests a second, from 0 to 1000000".to_owned())
}

/// A network or a single address, for clap.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network
        .map(|network| network.trunc())
        .ok_or_else(|| "write a network as 10.0.0.0/8, or a single address".to_owned())
}

/// A collector's address, for clap.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let is_url =
        ["http://", "https://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    if is_url {
        Ok(text.to_owned())
    } else {
        Err("write a collector as http://host:4317 or https://host:4317".to_owned())
    }
}

/// A score, for clap.
pub(super) fn score(text: &str) -> Result<f32, String> {
    let score = text.parse::<f32>().ok().filter(|score| (0.0..=1.0).contains(score));
    score.ok_or_else(|| "a score is a number from 0 to 1".to_owned())
}

/// A model's name, for clap: it becomes a segment of a path and part of a message.
pub(super) fn model_name(text: &str) -> Result<String, String> {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !text.is_empty() && text.len() <= 128 && text.chars().all(fit) {
        Ok(text.to_owned())
    } else {
        Err("a model's name has 1 to 128 letters, digits, '_', '-' and '.'".to_owned())
    }
}
