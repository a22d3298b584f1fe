//! `spotter openapi`.

use crate::cli::print;

/// Prints the document as it is committed in openapi/openapi.json.
pub(super) fn run() {
    print::line(crate::http::openapi().to_pretty_json().expect("the document is made of maps and strings"));
}
