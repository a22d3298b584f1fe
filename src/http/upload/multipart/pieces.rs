//! Where the parts of a form lie in its body, which is in memory: no byte is copied.
//!
//! Only the lines of the boundary are looked for here (RFC 2046, 5.1.1); what a part's head says is read by multer. multer
//! would read all of the form, but out of a copy.

use bytes::Bytes;
use memchr::memmem::{self, Finder};

/// Bytes of a part's head: its name, the name of the file and its type are a few hundred. Reading a head copies it.
const MAX_HEAD: usize = 16 << 10;
const CRLF: &[u8] = b"\r\n";

/// A part as it stands in the body.
#[derive(Debug)]
pub(super) struct Piece {
    /// The lines of its head, each with its line break, without the empty line behind them.
    pub(super) head: Bytes,
    /// What is in it.
    pub(super) content: Bytes,
}

/// A body that is no form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Malformed {
    /// No part begins.
    #[error("the boundary that Content-Type names does not occur")]
    NoBoundary,
    /// Behind a boundary stands something else than a line break or the form's end.
    #[error("what stands behind boundary {0} is neither a line break nor the form's end")]
    Boundary(usize),
    /// What a part says of itself is longer than any client writes.
    #[error("the head of part {0} has more than {MAX_HEAD} bytes")]
    Head(usize),
    /// The form ends before its last boundary.
    #[error("it ends within part {0}")]
    CutOff(usize),
}

/// The pieces of a form, in order; none follows an error.
pub(super) struct Pieces<'a> {
    body: &'a Bytes,
    /// A boundary with the line break before it, which is its own and not the content's.
    delimiter: Finder<'static>,
    /// Behind the delimiter that is next, or nothing once the form has ended.
    at: Option<usize>,
    count: usize,
}

impl<'a> Pieces<'a> {
    /// Of a form with this boundary.
    pub(super) fn of(body: &'a Bytes, boundary: &str) -> Result<Self, Malformed> {
        let delimiter = [CRLF, b"--", boundary.as_bytes()].concat();
        // The first has no line before it, unless that is a preamble.
        let first = &delimiter[CRLF.len()..];
        let at = memmem::find(body, first).ok_or(Malformed::NoBoundary)? + first.len();
        Ok(Self { body, delimiter: Finder::new(&delimiter).into_owned(), at: Some(at), count: 0 })
    }

    /// The piece behind a delimiter, where the form does not end there.
    fn piece(&mut self, at: usize) -> Result<Option<Piece>, Malformed> {
        let cut_off = || Malformed::CutOff(self.count);
        let rest = &self.body[at..];
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line_break = rest[padding..].get(..CRLF.len()).ok_or_else(cut_off)?;
        if line_break != CRLF {
            return Err(Malformed::Boundary(self.count));
        }
        let head = at + padding + CRLF.len();
        let in_reach = &self.body[head..self.body.len().min(head + MAX_HEAD)];
        let is_cut_off = head + in_reach.len() == self.body.len();
        let no_end = || if is_cut_off { cut_off() } else { Malformed::Head(self.count) };
        let empty_line = head + memmem::find(in_reach, b"\r\n\r\n").ok_or_else(no_end)?;
        let content = empty_line + 2 * CRLF.len();
        let end = content + self.delimiter.find(&self.body[content..]).ok_or_else(cut_off)?;
        self.at = Some(end + self.delimiter.needle().len());
        let head = self.body.slice(head..empty_line + CRLF.len());
        Ok(Some(Piece { head, content: self.body.slice(content..end) }))
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        self.count += 1;
        self.piece(at).transpose()
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    /// The contents of all parts; nothing where the form is malformed.
    fn ours(body: &Bytes) -> Option<Vec<Bytes>> {
        Pieces::of(body, "b").ok()?.map(|piece| piece.ok().map(|piece| piece.content)).collect()
    }

    /// The same by multer, which copies.
    fn multers(body: &Bytes) -> Option<Vec<Bytes>> {
        let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(body.clone())]);
        let mut form = multer::Multipart::new(stream, "b");
        block_on(async {
            let mut contents = Vec::new();
            while let Some(part) = form.next_field().await.ok()? {
                contents.push(part.bytes().await.ok()?);
            }
            Some(contents)
        })
    }

    /// What looks like a boundary and is none, or is one where none belongs.
    fn hostile() -> impl Strategy<Value = String> {
        const PIECES: [&str; 13] =
            ["\r\n--", "\r\r\n--b", "\r\n--b", "--b", "--b--", "\r\n--bc", "\r\n\r\n", "\r", "\n", "-", "b", " ", "x"];
        prop::collection::vec(select(&PIECES[..]), 0..6).prop_map(|pieces| pieces.concat())
    }

    /// A part, from its boundary to its last byte.
    fn part() -> impl Strategy<Value = String> {
        let padding = select(&["", "", "", " ", "\t "][..]);
        let head = select(&["A: b\r\n", "A: b\r\nC: d\r\n", "Content-Disposition: form-data; name=\"--b\"\r\n"][..]);
        (padding, head, hostile()).prop_map(|(padding, head, content)| format!("--b{padding}\r\n{head}\r\n{content}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_parts_are_those_that_multer_finds(
            parts in prop::collection::vec(part(), 1..5),
            preamble in select(&["", "", "\r\n", "a line\r\n", "--c\r\n"][..]),
            end in select(&["--b--", "--b--", "--b--\r\nmore", "--b", ""][..]),
            cut in prop::option::of(any::<Index>()),
        ) {
            let mut body = Bytes::from(format!("{preamble}{}\r\n{end}", parts.join("\r\n")));
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            // multer reads the heads as well, which are left here to whoever takes the pieces.
            let has_heads = |body| Pieces::of(body, "b").is_ok_and(|mut pieces| {
                pieces.all(|piece| piece.is_ok_and(|piece| piece.head.starts_with(b"A: ") || piece.head.starts_with(b"Content-")))
            });
            let (ours, multers) = (ours(&body), multers(&body));
            if multers.is_some() || has_heads(&body) {
                prop_assert_eq!(ours, multers);
            }
        }

        #[test]
        fn a_form_is_taken_apart_into_what_it_was_made_of(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5),
            cut in any::<Index>(),
        ) {
            let part = |content: &Vec<u8>| [b"--b\r\nA: b\r\n\r\n", &content[..], b"\r\n"].concat();
            let whole = Bytes::from([contents.iter().flat_map(part).collect(), b"--b--".to_vec()].concat());
            prop_assert_eq!(ours(&whole).expect("a form"), contents);
            prop_assert_eq!(ours(&whole.slice(..cut.index(whole.len()))), None);
        }
    }

    #[test]
    fn what_is_no_form_is_told_apart() {
        let error = |body: &str| {
            let body = Bytes::from(body.replace('\n', "\r\n"));
            let found = Pieces::of(&body, "b").and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.expect_err("no form")
        };
        assert_eq!(error("nonsense"), Malformed::NoBoundary);
        assert_eq!(error("--b"), Malformed::CutOff(1));
        assert_eq!(error("--b\nA: b\n\nx\n--bc\nA: b\n\ny\n--b--"), Malformed::Boundary(2));
        assert_eq!(error("--b\nA: b\n\nx\n--b\nA: b\n\ny"), Malformed::CutOff(2));
        assert_eq!(error(&format!("--b\n{}\n\nx\n--b--", "A: b".repeat(MAX_HEAD))), Malformed::Head(1));
        assert_eq!(error(&format!("--b\n{}", "A: b".repeat(1000))), Malformed::CutOff(1));
    }

    #[test]
    fn contents_are_slices_of_the_body() {
        let body = Bytes::from_static(b"--b\r\nA: b\r\n\r\nphoto\r\n--b--");
        let piece = Pieces::of(&body, "b").expect("a form").next().expect("one part").expect("a part");
        assert_eq!((&piece.head[..], &piece.content[..]), (&b"A: b\r\n"[..], &b"photo"[..]));
        assert!(body.as_ptr_range().contains(&piece.content.as_ptr()));
    }
}
