//! Bytes to text.

use super::error::LabelError;

const BOM: char = '\u{feff}';

/// The text of a label map. Only UTF-8 is read: guessing an encoding would spoil labels silently.
pub(super) fn text(bytes: &[u8]) -> Result<&str, LabelError> {
    // Windows PowerShell writes UTF-16 when it redirects into a file.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "the file is in UTF-16, expected UTF-8; save it as UTF-8";
        return Err(LabelError::at("", 0, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (before, rest) = bytes.split_at(error.valid_up_to());
        let before = std::str::from_utf8(before).unwrap_or_default();
        let byte = rest.first().copied().unwrap_or_default();
        let message = format!("found the byte 0x{byte:02X}, which is not UTF-8; save the file as UTF-8");
        LabelError::at(before, before.len(), message)
    })?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(LabelError::at(
            text,
            at,
            "found a NUL character: the file is in UTF-16 or it is not text; save it as UTF-8",
        )),
    }
}

/// `text` without the byte order mark some editors put first, which would become a part of the first label and could
/// not be seen there.
pub(super) fn without_bom(text: &str) -> &str {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// Refuses a byte order mark.
pub(super) fn refuse_bom(text: &str) -> Result<(), LabelError> {
    match text.strip_prefix(BOM) {
        None => Ok(()),
        Some(_) => Err(LabelError::at(
            text,
            0,
            "found a byte order mark (BOM, the bytes EF BB BF), which protobuf refuses; save the \
             file as UTF-8 without BOM",
        )),
    }
}
