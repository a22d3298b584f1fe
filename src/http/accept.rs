//! What the client wants back: boxes, or the photo with boxes on it.

use axum::http::{HeaderMap, header};
use mime::Mime;

use crate::fault::{Code, Fault};
use crate::image::encode::Picture;

/// In which form an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Json,
    Picture(Picture),
}

impl Answer {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Json, "application", "json"),
        (Self::Picture(Picture::Jpeg), "image", "jpeg"),
        (Self::Picture(Picture::Png), "image", "png"),
    ];

    /// That JSON is accepted, where nothing else is answered.
    ///
    /// # Errors
    /// `NOT_ACCEPTABLE`.
    pub(super) fn json_only(headers: &HeaderMap) -> Result<(), Fault> {
        let ranges = ranges(headers);
        if ranges.is_empty() || quality(&ranges, "application", "json") > 0 {
            return Ok(());
        }
        Err(Fault::new(
            Code::NotAcceptable,
            "The Accept header does not allow application/json, which a batch is answered in.",
        ))
    }

    /// The best of the accepted forms (RFC 9110, 12.5.1); without a wish, JSON. Equal wishes go to JSON first, and
    /// `image/*` is JPEG.
    ///
    /// # Errors
    /// `NOT_ACCEPTABLE` where none of the forms is accepted.
    pub(super) fn negotiate(headers: &HeaderMap) -> Result<Self, Fault> {
        let ranges = ranges(headers);
        if ranges.is_empty() {
            return Ok(Self::Json);
        }
        let quality = |(_, kind, subtype): &(Self, &str, &str)| quality(&ranges, kind, subtype);
        let mut best: Option<((Self, &str, &str), u16)> = None;
        for form in Self::ALL {
            let quality = quality(&form);
            if quality > best.map_or(0, |(_, best)| best) {
                best = Some((form, quality));
            }
        }
        best.map(|((answer, _, _), _)| answer).ok_or_else(|| {
            let detail = "The Accept header allows none of application/json, image/jpeg and image/png.";
            Fault::new(Code::NotAcceptable, detail)
        })
    }
}

/// What the Accept header lists.
fn ranges(headers: &HeaderMap) -> Vec<Mime> {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|range| range.trim().parse().ok()).collect()
}

/// How much a type is wanted, in thousandths; the most specific range that matches decides.
fn quality(ranges: &[Mime], kind: &str, subtype: &str) -> u16 {
    let specificity = |range: &Mime| match (range.type_().as_str(), range.subtype().as_str()) {
        (k, s) if k == kind && s == subtype => Some(2),
        (k, "*") if k == kind => Some(1),
        ("*", "*") => Some(0),
        _ => None,
    };
    let best =
        ranges.iter().filter_map(|range| Some((specificity(range)?, range))).max_by_key(|(specific, _)| *specific);
    best.map_or(0, |(_, range)| {
        let q = range.get_param("q").and_then(|q| q.as_str().parse::<f32>().ok()).unwrap_or(1.0);
        (q.clamp(0.0, 1.0) * 1000.0) as u16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &str) -> Option<Answer> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))]);
        Answer::negotiate(&headers).ok()
    }

    #[test]
    fn the_best_of_the_accepted_forms_is_answered() {
        let (jpeg, png) = (Some(Answer::Picture(Picture::Jpeg)), Some(Answer::Picture(Picture::Png)));
        assert_eq!(Answer::negotiate(&HeaderMap::new()).ok(), Some(Answer::Json));
        assert_eq!(negotiate("*/*"), Some(Answer::Json));
        assert_eq!(negotiate("image/jpeg"), jpeg);
        assert_eq!(negotiate("image/*"), jpeg);
        assert_eq!(negotiate("image/png, image/jpeg;q=0.5"), png);
        assert_eq!(negotiate("image/webp, image/png;q=0.1"), png);
        assert_eq!(negotiate("application/json;q=0.1, image/png"), png);
        assert_eq!(negotiate("text/html, */*;q=0.1"), Some(Answer::Json));
        assert_eq!(negotiate("*/*, application/json;q=0"), jpeg);
        assert_eq!(negotiate("text/html"), None);
        assert_eq!(negotiate("image/webp"), None);
    }

    #[test]
    fn a_batch_is_answered_in_json_or_not_at_all() {
        let json_only = |accept: &str| {
            Answer::json_only(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().expect("a header"))])).is_ok()
        };
        assert!(Answer::json_only(&HeaderMap::new()).is_ok());
        assert!(json_only("image/jpeg, */*;q=0.1") && json_only("application/*"));
        assert!(!json_only("image/jpeg") && !json_only("application/json;q=0, */*"));
    }
}
