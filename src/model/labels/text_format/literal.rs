//! Values of protobuf's text format.

/// A whole number: decimal, hexadecimal with `0x`, or octal with a leading 0, as in C.
pub(super) fn integer(number: &str) -> Option<i64> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    let (radix, digits) = if let Some(hex) = digits.strip_prefix("0x") {
        (16, hex)
    } else if let Some(hex) = digits.strip_prefix("0X") {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits)
    } else {
        (10, digits)
    };
    // Rust would take a sign here, also the one of "-+1" and "0x-1".
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// Whether this is a number of any kind: a whole number, or one such as `1.5`, `.5e-3` or `1f`.
pub(super) fn is_number(number: &str) -> bool {
    let is_float = |number: &str| number.parse::<f64>().is_ok();
    integer(number).is_some() || is_float(number) || number.strip_suffix(['f', 'F']).is_some_and(is_float)
}

/// An escape that does not exist, and how many bytes into the string it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadEscape<'a> {
    pub(super) at: usize,
    pub(super) escape: &'a str,
}

/// Appends what `quoted` means: the text between two quotes with its escapes resolved. The result is bytes, because an
/// octal or hexadecimal escape is a byte, and several make a character.
pub(super) fn unescape<'a>(quoted: &'a str, bytes: &mut Vec<u8>) -> Result<(), BadEscape<'a>> {
    let mut rest = quoted;
    while let Some(backslash) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..backslash]);
        let at = quoted.len() - rest.len() + backslash;
        let after = &rest[backslash + 1..];
        let Some(length) = escape(after, bytes) else {
            let shown = after.char_indices().nth(1).map_or(after.len(), |(end, _)| end);
            let escape = &rest[backslash..backslash + 1 + shown];
            return Err(BadEscape { at, escape });
        };
        rest = &after[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(())
}

/// Appends what the escape at the start of `text` means, the text after the backslash, and answers how long it is.
fn escape(text: &str, bytes: &mut Vec<u8>) -> Option<usize> {
    let byte = match text.as_bytes().first()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        literal @ (b'\\' | b'\'' | b'"' | b'?') => *literal,
        b'0'..=b'7' => {
            let digits = digits(text, 8, 3);
            bytes.push(u8::from_str_radix(digits, 8).ok()?);
            return Some(digits.len());
        }
        b'x' => {
            let digits = digits(&text[1..], 16, 2);
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            return Some(1 + digits.len());
        }
        wide @ (b'u' | b'U') => {
            let length = if *wide == b'u' { 4 } else { 8 };
            let digits = digits(&text[1..], 16, length);
            if digits.len() < length {
                return None;
            }
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(1 + digits.len());
        }
        _ => return None,
    };
    bytes.push(byte);
    Some(1)
}

/// The digits at the start of `text`, but no more than `most`.
fn digits(text: &str, radix: u32, most: usize) -> &str {
    let digit = |c: &char| c.is_digit(radix);
    &text[..text.chars().take(most).take_while(digit).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_in_c() {
        for (number, value) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("0XfF", Some(255)),
            ("-0x1", Some(-1)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("08", None),
            ("1.0", None),
            ("1e3", None),
            ("1_000", None),
            ("0x", None),
            ("0x-1", None),
            ("--1", None),
            ("-+1", None),
            ("+1", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(integer(number), value, "{number}");
        }
    }

    #[test]
    fn numbers_of_all_kinds_are_recognised() {
        for number in ["1", "0x1F", "1.5", "1.", ".5", "-.5e-3", "1e9", "2.5f", "3F", "-inf"] {
            assert!(is_number(number), "{number}");
        }
        for not_a_number in ["1a", "0xg", "1.2.3", "-", "1-2", "1e"] {
            assert!(!is_number(not_a_number), "{not_a_number}");
        }
    }

    #[test]
    fn escapes_become_bytes() {
        for (quoted, expected) in [
            (r#"a\n\t\"\'\\\?b"#, &b"a\n\t\"'\\?b"[..]),
            (r"\303\251\x41\x4\x414", b"\xc3\xa9A\x04A4"),
            (r"\0\08\1234", b"\0\x008S4"),
            (r"\u00e9\U0001F600", "é😀".as_bytes()),
            (r"\a\b\f\r\v", b"\x07\x08\x0c\r\x0b"),
            ("é", "é".as_bytes()),
        ] {
            let mut bytes = Vec::new();
            assert_eq!(unescape(quoted, &mut bytes), Ok(()), "{quoted}");
            assert_eq!(bytes, expected, "{quoted}");
        }
    }

    #[test]
    fn escapes_that_do_not_exist_are_named() {
        for (quoted, at, escape) in [
            (r"a\d", 1, r"\d"),
            (r"\é", 0, r"\é"),
            (r"\777", 0, r"\7"),
            (r"\xg", 0, r"\x"),
            (r"\u12", 0, r"\u"),
            (r"\u+123", 0, r"\u"),
            (r"\ud83d\ude00", 0, r"\u"),
            (r"\U00110000", 0, r"\U"),
            (r"a\", 1, r"\"),
        ] {
            let refused = unescape(quoted, &mut Vec::new());
            assert_eq!(refused, Err(BadEscape { at, escape }), "{quoted}");
        }
    }
}
