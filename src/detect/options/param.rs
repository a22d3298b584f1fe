//! One option as a request brought it, before anybody knows whether there is such an option and what it may say.

use serde_json::Value;

/// One option as it arrived: its name, and text from a query or a form, or a value from JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    name: String,
    value: Raw,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Json(Value),
}

impl Param {
    /// From a query, a form field or a flag.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Raw::Text(value.into()) }
    }

    /// From a JSON object.
    pub fn json(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value: Raw::Json(value) }
    }

    /// Which option it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says, for options that are written in one way as text and in another in JSON.
    pub(super) fn value(&self) -> &Raw {
        &self.value
    }

    /// An empty value counts as absent: forms send one for every field left blank.
    pub fn is_absent(&self) -> bool {
        match &self.value {
            Raw::Text(text) => text.trim().is_empty(),
            Raw::Json(Value::Null) => true,
            Raw::Json(Value::String(text)) => text.trim().is_empty(),
            Raw::Json(_) => false,
        }
    }

    /// The value as people would write it, short enough to repeat in an answer.
    pub(super) fn shown(&self) -> String {
        const MAX: usize = 60;
        let text = match &self.value {
            Raw::Text(text) | Raw::Json(Value::String(text)) => format!("'{text}'"),
            Raw::Json(Value::Array(_)) => "a list".to_owned(),
            Raw::Json(Value::Object(_)) => "an object".to_owned(),
            Raw::Json(value) => value.to_string(),
        };
        if text.chars().count() > MAX { text.chars().take(MAX).chain(['…']).collect() } else { text }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match &self.value {
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::Json(value) => value.as_f64(),
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match &self.value {
            Raw::Text(text) => text.trim().parse().ok(),
            Raw::Json(value) => value.as_i64(),
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match &self.value {
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Raw::Json(value) => value.as_bool(),
        }
    }

    pub(super) fn string(&self) -> Option<&str> {
        match &self.value {
            Raw::Text(text) | Raw::Json(Value::String(text)) => Some(text.trim()),
            Raw::Json(_) => None,
        }
    }
}
