//! `X-Request-Timeout`: how long the client itself will wait. What it no longer waits for is not worked on.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use crate::fault::{Code, Fault};

pub(super) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");

/// What the header may look like, for the document.
pub(super) const PATTERN: &str = r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s)?$";

/// The client's wish: seconds, such as `2.5` or `2.5s`, or milliseconds, such as `1500ms`.
///
/// # Errors
/// `INVALID_REQUEST` where it is anything else, or nothing of a second.
pub(super) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let mut values = headers.get_all(REQUEST_TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = text.trim();
    let wish = read(text).filter(|wish| values.next().is_none() && !wish.is_zero());
    wish.map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let detail = format!(
            "Header X-Request-Timeout is '{shown}'; it takes one time above zero in seconds, such as 2.5, or in milliseconds, such as 1500ms."
        );
        Fault::new(Code::InvalidRequest, detail)
    })
}

fn read(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = (are_digits(whole) && are_digits(fraction)).then(|| number.parse::<f64>().ok())??;
    Some(Duration::from_secs_f64(seconds * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_milliseconds_are_read_and_nothing_else() {
        for (text, ms) in [("2", 2_000.0), ("2.5", 2_500.0), ("0.25s", 250.0), ("1500ms", 1_500.0), ("0.5ms", 0.5)] {
            let read = read(text).expect(text);
            assert_eq!(read, Duration::from_secs_f64(ms / 1000.0), "{text}");
        }
        for text in
            ["", "s", "ms", "-1", "+1", "1e3", ".5", "1.", "1,5", "1 s", "1m", "NaN", "inf", "1234567890", "1.5.5"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
