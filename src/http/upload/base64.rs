//! A file in base64, as people's encoders write it.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use crate::fault::{Code, Fault};

/// Both alphabets, padding or none, as people's encoders differ.
const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);

/// A file from base64, alone or as a `data:` URI; line breaks are skipped.
pub(super) fn base64(text: &str) -> Result<Bytes, Fault> {
    let text = payload(text.trim())?;
    if text.get(..8).is_some_and(|start| start.starts_with("http://") || start.starts_with("https://")) {
        let detail = "Field `image` holds a URL. It takes the file itself, its bytes as base64; an address goes into field `image_url`, where the service allows that.";
        return Err(Fault::new(Code::InvalidBase64, detail));
    }
    // Nearly every client writes the standard alphabet in one line.
    let usual = if text.ends_with('=') { base64_simd::STANDARD } else { base64_simd::STANDARD_NO_PAD };
    if let Ok(file) = usual.decode_to_vec(text) {
        return Ok(file.into());
    }
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n' | b'\t');
    let compact: Cow<'_, [u8]> = if text.bytes().any(|byte| is_break(&byte)) {
        Cow::Owned(text.bytes().filter(|byte| !is_break(byte)).collect())
    } else {
        Cow::Borrowed(text.as_bytes())
    };
    let engine = if compact.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    match engine.decode(&compact) {
        Ok(file) => Ok(file.into()),
        Err(error) => {
            let hint = if compact.contains(&b' ') {
                " A space stands where '+' stood before the text was form-decoded: send JSON, or use the URL-safe alphabet."
            } else {
                ""
            };
            let found = error.to_string();
            let detail = format!("Field `image` is not valid base64: {}.{hint}", found.trim_end_matches('.'));
            Err(Fault::new(Code::InvalidBase64, detail).caused_by(error))
        }
    }
}

/// What follows `data:image/jpeg;base64,`.
fn payload(text: &str) -> Result<&str, Fault> {
    if !text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        return Ok(text);
    }
    let wrong = || Fault::new(Code::InvalidBase64, "Field `image` is a data: URI without `;base64,`.");
    let (head, payload) = text.split_once(',').ok_or_else(wrong)?;
    let is_base64 = head.rsplit(';').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
    if is_base64 { Ok(payload.trim_start()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_base64_gives_the_same_file() {
        // Bytes whose base64 has both special characters and padding.
        let file = [0xfb, 0xef, 0xbe, 0xff, 0xfe];
        for text in [
            "++++//4=",
            "++++//4",
            "----__4=",
            "----__4",
            "++++\r\n//4=\n",
            "  ++++//4=  ",
            "data:image/png;base64,++++//4=",
            "DATA:image/png;charset=x;BASE64, ++++//4",
            "data:;base64,----__4",
        ] {
            assert_eq!(base64(text).expect(text), file[..], "{text}");
        }
        for text in ["++++/ /4=", "*", "data:image/png,++++", "data:image/png;base64", "+-+-", "ä"] {
            assert_eq!(base64(text).expect_err(text).code(), Code::InvalidBase64, "{text}");
        }
        let spaced = base64("++++/ /4=").expect_err("a space");
        assert!(spaced.detail().contains("form-decoded"), "{spaced}");
    }
}
