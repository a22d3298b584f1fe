//! Where the parts of a form lie in its body, which is in memory: no byte is copied.
//!
//! Only the lines of the boundary are looked for here (RFC 2046, 5.1.1); what a part's head says is read by multer. multer
//! would read all of the form, but out of a copy.

use bytes::Bytes;
use memchr::memmem::{self, Finder};

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
    /// A boundary is longer than it may be.
    #[error("what stands behind boundary {0} is neither a line break nor the form's end")]
    Boundary(usize),
    /// The form ends before its last boundary.
    #[error("it ends within part {0}")]
    CutOff(usize),
}

/// The pieces of a form, in order; none follows an error.
pub(super) struct Pieces<'a> {
    body: &'a Bytes,
    /// A boundary with the line break before it, which is its own and not the content's.
    delimiter: Finder<'a>,
    /// Behind the delimiter that is next, or nothing once the form has ended.
    at: Option<usize>,
    count: usize,
}

impl<'a> Pieces<'a> {
    /// `delimiter` is what [`delimiter`] makes of the boundary.
    pub(super) fn of(body: &'a Bytes, delimiter: &'a [u8]) -> Result<Self, Malformed> {
        // The first has no line before it, unless that is a preamble.
        let first = delimiter.strip_prefix(CRLF).unwrap_or(delimiter);
        let at = memmem::find(body, first).ok_or(Malformed::NoBoundary)? + first.len();
        Ok(Self { body, delimiter: Finder::new(delimiter), at: Some(at), count: 0 })
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
        let empty_line = head + memmem::find(&self.body[head..], b"\r\n\r\n").ok_or_else(cut_off)?;
        let content = empty_line + 2 * CRLF.len();
        let end = content + self.delimiter.find(&self.body[content..]).ok_or_else(cut_off)?;
        self.at = Some(end + self.delimiter.needle().len());
        let head = self.body.slice(head..empty_line + CRLF.len());
        Ok(Some(Piece { head, content: self.body.slice(content..end) }))
    }
}

const CRLF: &[u8] = b"\r\n";

/// What stands between two parts of a form with this boundary.
pub(super) fn delimiter(boundary: &str) -> Vec<u8> {
    [CRLF, b"--", boundary.as_bytes()].concat()
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

    use super::*;

    /// The contents of all parts; nothing where the form is malformed.
    fn ours(body: &Bytes) -> Option<Vec<Bytes>> {
        let delimiter = delimiter("b");
        let pieces = Pieces::of(body, &delimiter).ok()?;
        pieces.map(|piece| piece.ok().map(|piece| piece.content)).collect()
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

    proptest! {
        /// Of forms cut anywhere, with anything between their boundaries.
        #[test]
        fn the_parts_are_those_that_multer_finds(
            lines in prop::collection::vec(prop::sample::select(vec![
                "--b", "\r\n--b", "\r\n--b--", "--b--", "\r\n", "\r\n\r\n", "A: b", "--", "-", "b", "\r", "\n", " ", "\t", "x", "\u{e4}",
            ]), 0..40),
        ) {
            let body = Bytes::from(lines.concat());
            // multer also reads the heads, which ours leaves to whoever takes the pieces.
            if let Some(contents) = multers(&body) {
                prop_assert_eq!(ours(&body), Some(contents));
            }
        }

        #[test]
        fn a_form_that_is_well_is_taken_apart_wherever_it_is_cut(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let part = |content: &Vec<u8>| [b"--b\r\nA: b\r\n\r\n", &content[..], b"\r\n"].concat();
            let body = [contents.iter().flat_map(part).collect(), b"--b--".to_vec()].concat();
            let whole = Bytes::from(body);
            prop_assert_eq!(ours(&whole), multers(&whole));
            prop_assert_eq!(ours(&whole).map(|found| found.len()), Some(contents.len()));
            let cut = whole.slice(..cut.index(whole.len()));
            prop_assert_eq!(ours(&cut).is_some(), multers(&cut).is_some());
        }
    }

    #[test]
    fn what_is_no_form_is_told_apart() {
        let delimiter = delimiter("b");
        let error = |body: &str| {
            let body = Bytes::from(body.replace('\n', "\r\n"));
            let found = Pieces::of(&body, &delimiter).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.expect_err("no form")
        };
        assert_eq!(error("nonsense"), Malformed::NoBoundary);
        assert_eq!(error("--b"), Malformed::CutOff(1));
        assert_eq!(error("--b\nA: b\n\nx\n--bc\nA: b\n\ny\n--b--"), Malformed::Boundary(2));
        assert_eq!(error("--b\nA: b\n\nx\n--b\nA: b\n\ny"), Malformed::CutOff(2));
    }

    #[test]
    fn contents_are_slices_of_the_body() {
        let body = Bytes::from_static(b"--b\r\nA: b\r\n\r\nphoto\r\n--b--");
        let delimiter = delimiter("b");
        let piece = Pieces::of(&body, &delimiter).expect("a form").next().expect("one part").expect("a part");
        assert_eq!((&piece.head[..], &piece.content[..]), (&b"A: b\r\n"[..], &b"photo"[..]));
        assert!(body.as_ptr_range().contains(&piece.content.as_ptr()));
    }
}
