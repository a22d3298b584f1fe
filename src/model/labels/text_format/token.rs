//! The words of protobuf's text format.

/// A token and where it starts, in bytes from the start of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    Word(&'a str),
    /// Anything that starts like a number, sign included, with whatever letters follow.
    Number(&'a str),
    /// What stands between two quotes; escapes are still to be resolved.
    Quoted(&'a str),
    /// A string that does not end in its line: the quote and the rest of the line.
    Unclosed(&'a str),
    /// Any other character, also such as do not belong here.
    Symbol(char),
    End,
}

/// Cuts a text into tokens. This never fails: what is wrong is a token of its own kind, and is refused when the reader
/// gets there, so that the first mistake is the one reported.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token; after the last one, [`Kind::End`] for ever.
    pub(super) fn next(&mut self) -> Token<'a> {
        let rest = skip_blank(&self.text[self.at..]);
        let at = self.text.len() - rest.len();
        let (kind, length) = first_of(rest);
        self.at = at + length;
        Token { kind, at }
    }
}

/// `text` without the white space and comments at its start. White space is Unicode's, as for protobuf in Python:
/// no-break spaces come along when examples are copied from web pages.
fn skip_blank(text: &str) -> &str {
    let mut rest = text.trim_start();
    while rest.starts_with('#') {
        let comment = rest.find('\n').unwrap_or(rest.len());
        rest = rest[comment..].trim_start();
    }
    rest
}

/// The token `text` starts with and its length in bytes.
fn first_of(text: &str) -> (Kind<'_>, usize) {
    let mut characters = text.chars();
    let Some(first) = characters.next() else {
        return (Kind::End, 0);
    };
    let second_is_digit = characters.next().is_some_and(|c| c.is_ascii_digit());
    match first {
        'a'..='z' | 'A'..='Z' | '_' => {
            let word = leading(text, |c| c.is_ascii_alphanumeric() || c == '_');
            (Kind::Word(word), word.len())
        }
        '.' if !second_is_digit => (Kind::Symbol('.'), 1),
        '0'..='9' | '+' | '-' | '.' => {
            let number = leading(text, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'));
            (Kind::Number(number), number.len())
        }
        '"' | '\'' => string(text, first),
        other => (Kind::Symbol(other), other.len_utf8()),
    }
}

fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    &text[..end]
}

fn string(text: &str, quote: char) -> (Kind<'_>, usize) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return (Kind::Unclosed(&text[..at]), at),
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return (Kind::Quoted(&text[1..at]), at + 1),
            _ => {}
        }
    }
    (Kind::Unclosed(text), text.len())
}
