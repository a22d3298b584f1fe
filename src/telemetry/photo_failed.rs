//! The line of a photo that failed beside others: the request as a whole has succeeded, so its own line does not tell.

use crate::fault::Fault;

/// Tells in the log what became of the photo of this number, in its batch or its stream.
pub fn photo_failed(photo: u64, fault: &Fault) {
    // As a value, which the log writes in quotes with its line breaks escaped: a client's own text may be in it.
    let (code, detail, cause) = (fault.code(), fault.detail(), fault.cause_chain());
    if code.row().status >= 500 {
        tracing::warn!(photo, code = code.name(), detail, cause, "a photo among others failed");
    } else {
        tracing::info!(photo, code = code.name(), detail, cause, "a photo among others failed");
    }
}
