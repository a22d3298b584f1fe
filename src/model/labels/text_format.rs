//! A reader for protobuf's text format, without a schema.
//!
//! It reads one field after the other, and whoever asks says of which type each is or skips it. The format is that of
//! protobuf's Python implementation, which is what TensorFlow's tools read label maps with, as far as it agrees with
//! <https://protobuf.dev/reference/protobuf/textformat-spec/>. Where the two differ, what either accepts is skipped in
//! unknown fields, but in known ones the specification is followed: an escape such as `\d` and numbers such as `+1` and
//! `1_000` are refused.

mod literal;
mod token;

use super::characters::{describe, is_typographic_quote, way_out};
use super::error::{LabelError, line_of};
use token::{Kind, Token, Tokens};

/// How many messages may be open at once. protobuf recommends 100 for text of unknown origin; it bounds the recursion.
const MAX_DEPTH: usize = 100;

pub(super) struct Reader<'a> {
    text: &'a str,
    tokens: Tokens<'a>,
    /// Looked at, but not read yet.
    next: Token<'a>,
    /// How many messages are open.
    depth: usize,
}

/// A message that is being read: what ends it.
pub(super) struct Message {
    close: Option<char>,
    opened: usize,
    /// Whether a field was read, so that a separator may follow.
    begun: bool,
}

/// The name of a field and where it stands. An extension or the type of an `Any` has its brackets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`, and the message that is the whole of it.
    pub(super) fn new(text: &'a str) -> (Self, Message) {
        let mut tokens = Tokens::new(text);
        let next = tokens.next();
        let reader = Self { text, tokens, next, depth: 0 };
        let whole = Message { close: None, opened: 0, begun: false };
        (reader, whole)
    }

    /// The next field of `message`, or that there are no more. Its value is to be read next.
    pub(super) fn field(&mut self, message: &mut Message) -> Result<Option<Field<'a>>, LabelError> {
        // "For historical reasons", says protobuf.
        if message.begun && matches!(self.next.kind, Kind::Symbol(',' | ';')) {
            self.advance();
        }
        message.begun = true;

        let at = self.next.at;
        match (self.next.kind, message.close) {
            (Kind::End, None) => Ok(None),
            (Kind::Symbol(symbol), Some(close)) if symbol == close => {
                self.advance();
                self.depth -= 1;
                Ok(None)
            }
            (Kind::Word(name), _) => {
                self.advance();
                Ok(Some(Field { name, at }))
            }
            // Fields without a name are printed with their number.
            (Kind::Number(name), _) if is_digits(name) => {
                self.advance();
                Ok(Some(Field { name, at }))
            }
            (Kind::Symbol('['), _) => self.bracketed_name(at).map(Some),
            (_, None) => Err(self.unexpected("the name of a field")),
            (_, Some(close)) => {
                let line = line_of(self.text, message.opened);
                let expected = format!(
                    "the name of a field, or `{close}` for the bracket that was opened on line \
                     {line}"
                );
                Err(self.unexpected(&expected))
            }
        }
    }

    /// Reads the value of a message field: one message, or a list of them.
    pub(super) fn messages(
        &mut self,
        mut each: impl FnMut(&mut Self, Message) -> Result<(), LabelError>,
    ) -> Result<(), LabelError> {
        self.take(':');
        self.one_or_list(|reader| {
            let message = reader.open()?;
            each(reader, message)
        })
    }

    /// Reads the value of an `int32` field.
    pub(super) fn int32(&mut self) -> Result<i32, LabelError> {
        self.colon()?;
        let value = match self.next.kind {
            Kind::Number(number) => literal::integer(number).and_then(|n| n.try_into().ok()),
            _ => None,
        };
        match (value, self.next.kind) {
            (Some(value), _) => {
                self.advance();
                Ok(value)
            }
            (None, Kind::Number(number)) if number.starts_with('0') && is_digits(number) => {
                Err(self.unexpected("a whole number; a leading 0 makes it octal, remove that"))
            }
            (None, _) => Err(self.unexpected("a whole number up to 2147483647, without quotes")),
        }
    }

    /// Reads the value of a `string` field. Strings one after the other are one string.
    pub(super) fn string(&mut self) -> Result<String, LabelError> {
        self.colon()?;
        let start = self.next.at;
        let Kind::Quoted(_) = self.next.kind else {
            return Err(self.unexpected("a string in quotes such as \"cat\""));
        };
        let mut bytes = Vec::new();
        while let Kind::Quoted(quoted) = self.next.kind {
            literal::unescape(quoted, &mut bytes).map_err(|bad| {
                let at = self.next.at + '"'.len_utf8() + bad.at;
                let message =
                    format!("found the escape `{}`, which is not valid here; write `\\\\` for a backslash", bad.escape);
                LabelError::at(self.text, at, message)
            })?;
            self.advance();
        }
        String::from_utf8(bytes).map_err(|_| {
            let message = "the escapes of this string do not make UTF-8; write the characters \
                           themselves";
            LabelError::at(self.text, start, message)
        })
    }

    /// Skips the value of a field whose type is not known.
    pub(super) fn skip(&mut self) -> Result<(), LabelError> {
        // Only a message may come without a colon.
        let colon = self.take(':');
        self.one_or_list(|reader| match reader.next.kind {
            Kind::Symbol('{' | '<') => {
                let mut message = reader.open()?;
                while reader.field(&mut message)?.is_some() {
                    reader.skip()?;
                }
                Ok(())
            }
            _ if colon => reader.skip_scalar(),
            _ => Err(reader.unexpected("`:` and a value, or `{`")),
        })
    }

    /// An error at a place given in bytes from the start of the text.
    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> LabelError {
        LabelError::at(self.text, at, message)
    }

    /// The line of a place given in bytes from the start of the text.
    pub(super) fn line(&self, at: usize) -> usize {
        line_of(self.text, at)
    }

    fn one_or_list(&mut self, mut value: impl FnMut(&mut Self) -> Result<(), LabelError>) -> Result<(), LabelError> {
        if !self.take('[') {
            return value(self);
        }
        if self.take(']') {
            return Ok(());
        }
        loop {
            value(self)?;
            if self.take(']') {
                return Ok(());
            }
            if !self.take(',') {
                return Err(self.unexpected("`,` or `]` in this list"));
            }
        }
    }

    fn open(&mut self) -> Result<Message, LabelError> {
        let opened = self.next.at;
        let close = match self.next.kind {
            Kind::Symbol('{') => '}',
            Kind::Symbol('<') => '>',
            _ => return Err(self.unexpected("`{`")),
        };
        if self.depth == MAX_DEPTH {
            let message = format!("messages are nested more than {MAX_DEPTH} deep");
            return Err(self.error(opened, message));
        }
        self.depth += 1;
        self.advance();
        Ok(Message { close: Some(close), opened, begun: false })
    }

    /// An extension, `[package.name]`, or the type of an `Any`, `[domain/package.Name]`.
    fn bracketed_name(&mut self, start: usize) -> Result<Field<'a>, LabelError> {
        self.advance();
        while let Kind::Word(_) | Kind::Number(_) | Kind::Symbol('.' | '/' | '%' | '~') = self.next.kind {
            self.advance();
        }
        let end = self.next.at;
        if !self.take(']') {
            return Err(self.unexpected("the name of an extension and `]`"));
        }
        Ok(Field { name: &self.text[start..=end], at: start })
    }

    fn skip_scalar(&mut self) -> Result<(), LabelError> {
        match self.next.kind {
            Kind::Quoted(_) => {
                while let Kind::Quoted(_) = self.next.kind {
                    self.advance();
                }
                return Ok(());
            }
            // White space is allowed between the sign and the rest.
            Kind::Number("-") => {
                self.advance();
                let (Kind::Word(_) | Kind::Number(_)) = self.next.kind else {
                    return Err(self.unexpected("a number after the sign"));
                };
            }
            Kind::Word(_) => {}
            Kind::Number(number) if literal::is_number(number) => {}
            _ => return Err(self.unexpected("a value")),
        }
        self.advance();
        Ok(())
    }

    fn colon(&mut self) -> Result<(), LabelError> {
        if self.take(':') {
            return Ok(());
        }
        Err(self.unexpected("`:` and a value"))
    }

    fn take(&mut self, symbol: char) -> bool {
        let found = self.next.kind == Kind::Symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn advance(&mut self) {
        self.next = self.tokens.next();
    }

    /// An error at the next token, which is not what it should be.
    fn unexpected(&self, expected: &str) -> LabelError {
        let (found, way_out) = match self.next.kind {
            Kind::Word(word) => (format!("the word `{}`", short(word)), None),
            Kind::Number(number) => (format!("the number `{}`", short(number)), None),
            Kind::Quoted(quoted) => (format!("the string \"{}\"", short(quoted)), None),
            Kind::Symbol(symbol) => (describe(symbol), way_out(symbol)),
            Kind::End => ("the end of the file".into(), None),
            Kind::Unclosed(line) => {
                let quote = line.chars().next().unwrap_or_default();
                let found = format!("a string without its closing {quote} on the same line");
                let way_out = line
                    .chars()
                    .find(|c| is_typographic_quote(*c))
                    .and_then(way_out)
                    .unwrap_or("close it, and write `\\n` for a line break inside a label");
                (found, Some(way_out))
            }
        };
        let message = match way_out {
            Some(way_out) => format!("found {found}, expected {expected}; {way_out}"),
            None => format!("found {found}, expected {expected}"),
        };
        self.error(self.next.at, message)
    }
}

fn is_digits(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The start of a token, enough to recognise it.
fn short(token: &str) -> &str {
    let end = token.char_indices().nth(40).map_or(token.len(), |(end, _)| end);
    &token[..end]
}
