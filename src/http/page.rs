//! `GET /`: the page to try the service with, and its files under `/web`. What it does is in web/README.md.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::fault::{Code, Fault};

/// A file of the page.
struct Asset {
    /// Its name in the folder web/ and under `/web/`.
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($name:literal, $media_type:expr) => {
        Asset { name: $name, media_type: $media_type, bytes: include_bytes!(concat!("../../web/", $name)) }
    };
}

static PAGE: Asset = asset!("index.html", HTML);

static ASSETS: &[Asset] = &[
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("example.jpg", "image/jpeg"),
    asset!("main.js", JAVASCRIPT),
    asset!("answer.js", JAVASCRIPT),
    asset!("api.js", JAVASCRIPT),
    asset!("color.js", JAVASCRIPT),
    asset!("element.js", JAVASCRIPT),
    asset!("found.js", JAVASCRIPT),
    asset!("key.js", JAVASCRIPT),
    asset!("language.js", JAVASCRIPT),
    asset!("models.js", JAVASCRIPT),
    asset!("photo.js", JAVASCRIPT),
    asset!("picture.js", JAVASCRIPT),
    asset!("problem.js", JAVASCRIPT),
    asset!("request.js", JAVASCRIPT),
    asset!("stage.js", JAVASCRIPT),
    asset!("strings.js", JAVASCRIPT),
    asset!("webcam.js", JAVASCRIPT),
];

/// What the page may do in a browser: run its own scripts and ask its own server, nothing else. Photos and frames of the
/// webcam are `blob:`.
pub(super) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
);

/// For `X-Content-Type-Options`: a file is what its type says, and never run as something else.
pub(super) const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");

/// The page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    let mut response = PAGE.answer(&headers);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    let camera_only = HeaderValue::from_static("camera=(self), microphone=(), geolocation=()");
    response.headers_mut().insert("permissions-policy", camera_only);
    response
}

/// One of its files.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    let asset = asset.ok_or_else(|| Fault::new(Code::NotFound, "The page has no file of this name."))?;
    Ok(asset.answer(&headers))
}

impl Asset {
    /// The file, or 304 where the browser has it.
    ///
    /// Kept but asked about each time: the names stay the same from release to release, and while replicas are being
    /// replaced a page may get its files from either release; an "immutable" one would stay wrong.
    fn answer(&self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let mut response = if is_known(request, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.media_type)], self.bytes).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }

    /// Its entity tag: equal in every replica of a release. Against accidents, not attacks: 64 bits do.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

/// Whether `If-None-Match` names this tag; compared weakly (RFC 9110, 13.1.2), as proxies weaken tags when they compress.
fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let lines = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(','));
    tags.any(|known| matches!(known.trim(), "*") || known.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<_> = names.filter(|name| name != "README.md").collect();
        let served = ASSETS.iter().chain([&PAGE]).map(|asset| asset.name.to_owned()).collect();
        assert_eq!(there, served);
    }

    /// Without words of its own a failure is shown in the server's English.
    #[test]
    fn every_failure_has_words_in_the_page_s_table() {
        let table = include_str!("../../web/strings.js");
        let absent: Vec<_> =
            Code::ALL.into_iter().filter(|code| !table.contains(&format!("\n  {}: {{", code.name()))).collect();
        assert!(absent.is_empty(), "web/strings.js, PROBLEMS: add {absent:?}");
    }

    #[test]
    fn a_known_tag_is_found_in_every_way_to_send_it() {
        let known =
            |line: &str| is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, line.parse().unwrap())]), "\"a\"");
        assert!(known("\"a\"") && known("W/\"a\"") && known("\"b\", \"a\"") && known("*"));
        assert!(!known("\"b\"") && !known("a") && !is_known(&HeaderMap::new(), "\"a\""));
    }
}
