//! `multipart/form-data`: the photo is a part, and each option another.

use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt;

use super::{IMAGE, IMAGE_URL, ROOM_BESIDE_IMAGE, check_beside, in_short};
use crate::detect::{NAMES, Param, check_count};
use crate::fault::{Code, Fault};
use crate::fetch::Source;

mod pieces;

use pieces::{Piece, Pieces};

/// The photo and the options of a form that has up to so many parts beside the photo.
pub(super) fn one_photo(body: &Bytes, boundary: &str, beside: usize) -> Result<(Source, Vec<Param>), Fault> {
    let Parts { photos, params, names } = Parts::read(body, boundary, 1, beside)?;
    // Of the two fields of a page's form, the one that was left alone is sent empty.
    let (nothing, mut photos): (Vec<_>, Vec<_>) = photos.into_iter().partition(Source::is_nothing);
    match (photos.pop(), photos.len(), nothing.len()) {
        (Some(_), 1.., _) | (None, _, 2..) => {
            let detail = "The form has several parts `image` or `image_url`. This route takes one photo; …/detect/batch takes several.";
            Err(Fault::new(Code::InvalidMultipart, detail))
        }
        (Some(photo), 0, _) => Ok((photo, params)),
        (None, _, 1) => Err(empty_part()),
        (None, _, 0) => Err(no_part(&names)),
    }
}

pub(super) fn empty_part() -> Fault {
    Fault::new(Code::MissingImage, "Part `image` is empty: no file was chosen.")
}

pub(super) fn no_part(names: &[String]) -> Fault {
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Fault::new(Code::MissingImage, format!("The form has no part `image`. Parts found: {found}."))
}

/// A part that is as long as photos are, and called otherwise.
fn misnamed(name: &str, bytes: usize) -> Fault {
    let detail =
        format!("The form has no part `image`, and part `{name}` of {bytes} bytes is no option. Call it `image`.");
    Fault::new(Code::MissingImage, detail)
}

/// A form taken apart.
pub(super) struct Parts {
    /// Files, of which some may be empty, and addresses, of which none is.
    pub(super) photos: Vec<Source>,
    pub(super) params: Vec<Param>,
    /// Of every part, in order.
    pub(super) names: Vec<String>,
}

impl Parts {
    /// `photos` is how many the form is expected to hold; it may have `beside` parts that are none, and so many in all.
    pub(super) fn read(body: &Bytes, boundary: &str, photos: usize, beside: usize) -> Result<Self, Fault> {
        let pieces = Pieces::of(body, boundary).map_err(|error| malformed(&error))?;
        let too_many = |max: usize, what: &str| {
            let detail = format!("The form has more than {max} parts{what}. Send fewer.");
            Fault::new(Code::InvalidMultipart, detail).with("max_parts", max)
        };
        let most = beside + photos;
        let (mut photos, mut params, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let (mut parts_beside, mut bytes_beside) = (0, 0);
        for piece in pieces {
            let Piece { head, content } = piece.map_err(|error| malformed(&error))?;
            let Head { name, is_file } = Head::read(&head).map_err(|error| malformed(&error))?;
            names.push(if name.is_empty() { "(unnamed)".to_owned() } else { name.chars().take(60).collect() });
            parts_beside += usize::from(name != IMAGE && name != IMAGE_URL);
            if parts_beside > beside {
                return Err(too_many(beside, " beside its photos"));
            }
            if names.len() > most {
                return Err(too_many(most, ""));
            }
            if name == IMAGE {
                photos.push(Source::Sent(content));
                continue;
            }
            let is_known = name == IMAGE_URL || NAMES.contains(&name.as_str());
            if photos.is_empty() && !is_known && content.len() > ROOM_BESIDE_IMAGE {
                return Err(misnamed(&names[names.len() - 1], content.len()));
            }
            bytes_beside += content.len();
            check_beside(bytes_beside)?;
            let text = |content: Bytes| {
                String::from_utf8(content.to_vec()).map_err(|error| {
                    Fault::new(Code::InvalidMultipart, format!("Part '{}' is not UTF-8 text.", names[names.len() - 1]))
                        .caused_by(error)
                })
            };
            if name == IMAGE_URL {
                let url = text(content)?;
                photos.extend((!url.trim().is_empty()).then_some(Source::At(url)));
            } else if is_file && !is_known {
                // Not an option; its name is kept, so that it is refused by name.
                params.push(Param::text(name, ""));
            } else {
                params.push(Param::text(name, text(content)?));
            }
            // Of a form for thousands of photos all might be options.
            check_count(params.len(), "The form")?;
        }
        Ok(Self { photos, params, names })
    }
}

fn malformed(error: &dyn std::error::Error) -> Fault {
    let error = in_short(error);
    Fault::new(Code::InvalidMultipart, format!("The multipart body cannot be read: {error}."))
}

/// What the head of a part says.
struct Head {
    /// Empty where the part has none.
    name: String,
    /// Whether the part is a file, which has a name of its own.
    is_file: bool,
}

impl Head {
    /// Has multer read the head as that of a form with this one part, in which is nothing.
    fn read(lines: &[u8]) -> Result<Self, multer::Error> {
        let form = [b"--b\r\n", lines, b"\r\n\r\n--b--"].concat();
        let stream = futures::stream::once(std::future::ready(Ok::<_, Infallible>(Bytes::from(form))));
        let mut form = multer::Multipart::new(stream, "b");
        // All of it is there, so that nothing is waited for.
        let part = form.next_field().now_or_never().ok_or(multer::Error::IncompleteStream)??;
        let part = part.ok_or(multer::Error::IncompleteStream)?;
        Ok(Self { name: part.name().unwrap_or_default().to_owned(), is_file: part.file_name().is_some() })
    }
}

/// Whether a body of this type is a form.
pub(super) fn is_multipart(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
}

/// The boundary of a form, quoted or not: some libraries send characters without quotes that would need them.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let (_, value) = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(file: &[u8]) -> Source {
        Source::Sent(Bytes::copy_from_slice(file))
    }

    #[test]
    fn boundaries_are_read_as_libraries_write_them() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data; boundary=----=_P", Some("----=_P")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
        ] {
            assert!(is_multipart(content_type));
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
    }

    fn form(body: &str) -> Result<(Source, Vec<Param>), Fault> {
        let body = body.replace('\n', "\r\n");
        one_photo(&Bytes::from(body), "b", 64)
    }

    #[test]
    fn forms_as_real_clients_send_them() {
        let (image, params) = form(concat!(
            "--b\nContent-Disposition: form-data; name=\"min_score\"\n\n0.5\n",
            "--b\nContent-Disposition: form-data; name=\"image\"; filename=\"テスト.jpg\"\n\nphoto\n",
            "--b\nContent-Disposition: form-data; name=\"classes\"\n\ncat\n--b--\n"
        ))
        .expect("no type on the part, a Japanese name, options around it");
        assert_eq!(image, sent(b"photo"));
        assert_eq!(params, [Param::text("min_score", "0.5"), Param::text("classes", "cat")]);

        let bare = form("--b\nContent-Disposition: form-data; name=\"image\"\n\nphoto\n--b--\n").expect("no file name");
        assert_eq!(bare.0, sent(b"photo"));

        let (photo, params) = form(concat!(
            "--b\nContent-Disposition: form-data; name=\"image\"; filename=\"\"\n\n\n",
            "--b\nContent-Disposition: form-data; name=\"image_url\"\n\nhttps://a.example/b\n",
            "--b\nContent-Disposition: form-data; name=\"classes\"\n\ncat\n--b--\n"
        ))
        .expect("an address, and a file input that was left alone");
        assert_eq!(photo, Source::At("https://a.example/b".to_owned()));
        assert_eq!(params, [Param::text("classes", "cat")]);
    }

    #[test]
    fn forms_without_a_photo_say_what_they_had() {
        let fault =
            form("--b\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\n\nx\n--b--\n").expect_err("file");
        assert_eq!(
            (fault.code(), fault.detail()),
            (Code::MissingImage, "The form has no part `image`. Parts found: file.")
        );
        let photo = "x".repeat(70_000);
        let part =
            |name: &str| format!("--b\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\n\n{photo}\n");
        let fault = form(&(part("file") + "--b--\n")).expect_err("as long as photos are");
        assert_eq!(
            (fault.code(), fault.detail()),
            (
                Code::MissingImage,
                "The form has no part `image`, and part `file` of 70000 bytes is no option. Call it `image`."
            )
        );
        let both = form(&(part("image") + &part("file") + "--b--\n")).expect_err("too much beside the photo");
        assert_eq!(both.code(), Code::PayloadTooLarge);
        let empty = form("--b\nContent-Disposition: form-data; name=\"image\"; filename=\"\"\n\n\n--b--\n");
        assert_eq!(empty.expect_err("empty").code(), Code::MissingImage);
        assert_eq!(
            form("--b\nContent-Disposition: form-data; name=\"image\"\n\nx").expect_err("cut").code(),
            Code::InvalidMultipart
        );
        assert_eq!(form("nonsense").expect_err("no boundary").code(), Code::InvalidMultipart);
        let many = "--b\nContent-Disposition: form-data; name=\"classes\"\n\ncat\n".repeat(66) + "--b--\n";
        let fault = form(&many).expect_err("too many");
        assert_eq!((fault.code(), &fault.facts()["max_parts"]), (Code::InvalidMultipart, &64.into()));
        let images = "--b\nContent-Disposition: form-data; name=\"image\"\n\nx\n".repeat(66) + "--b--\n";
        assert_eq!(form(&images).expect_err("too many").facts()["max_parts"], 65);
        let headers = format!("--b\n{}\nx\n--b--\n", "a: b\n".repeat(1000));
        let fault = form(&headers).expect_err("too many headers");
        assert_eq!(fault.code(), Code::InvalidMultipart);
        assert!(fault.detail().len() < 300, "{fault}");
    }
}
