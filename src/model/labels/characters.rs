//! Characters that get into label maps by accident, named for the person who has to find them.

/// Why a plain quote is needed, and how the other one got there: the commonest mistake in label maps by far.
const PLAIN_QUOTES: &str = "word processors and web pages put such quotes in; type a plain \" or ' instead";

/// The character as a person can find it: itself where it can be seen, and its number where it cannot or where it is
/// easily taken for another.
pub(super) fn describe(c: char) -> String {
    let number = u32::from(c);
    match c {
        '\u{feff}' => "a byte order mark (BOM, U+FEFF)".into(),
        _ if is_typographic_quote(c) => format!("the typographic quote {c} (U+{number:04X})"),
        _ if c.is_ascii_graphic() => format!("`{c}`"),
        _ if c.is_alphanumeric() => format!("the character {c} (U+{number:04X})"),
        _ => format!("the character U+{number:04X}"),
    }
}

/// What to do about `c`, where there is something to say.
pub(super) fn way_out(c: char) -> Option<&'static str> {
    match c {
        _ if is_typographic_quote(c) => Some(PLAIN_QUOTES),
        '=' => Some("a label map has `:` between a name and its value"),
        '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => Some("it cannot be seen; delete it"),
        _ => None,
    }
}

pub(super) fn is_typographic_quote(c: char) -> bool {
    matches!(c, '\u{2018}'..='\u{201f}' | '\u{2032}' | '\u{2033}' | '«' | '»' | '`' | '´')
}
