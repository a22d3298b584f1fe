//! Three request forms, one upload: a photo, or its address, and the options that came with it.
//!
//! The body is read and bounded first, whatever its form, and taken apart afterwards; on a core where it is long, because
//! base64 and boundaries of a large photo take milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use mime::Mime;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::arriving::{Arriving, Room};
use crate::backend::Call;
use crate::deadline::Deadline;
use crate::detect::{NAMES, Param};
use crate::fault::{Code, Fault, FieldError};
use crate::fetch::Source;
use crate::image::Limits;
use crate::workers::Workers;

/// The part and the field that hold the photo.
const IMAGE: &str = "image";
/// The part and the field that say where the photo is instead.
const IMAGE_URL: &str = "image_url";
/// Room for options, part headers and boundaries beside the photo.
const ROOM_BESIDE_IMAGE: usize = 64 << 10;
/// Parts of a form: the photo and every option a few times over.
const MAX_PARTS: usize = 64;
/// A body up to this long is taken apart where it arrives: some tens of microseconds, as long as the way to a core and back
/// (docs/PERFORMANCE.md).
const SHORT_BODY: usize = 128 << 10;
/// Room that is made for a body on its declared length alone.
const ROOM_AT_FIRST: usize = 1 << 20;
/// A refused body is read to its end up to this many bytes and this long, because a client that is still sending when
/// the connection closes sees a reset instead of the answer.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);

mod batch;
mod inflate;

pub(super) use batch::Batch;
pub(super) use inflate::ACCEPTED as ACCEPTED_ENCODINGS;
use inflate::Coding;

/// A photo and the options that came with it, in the query or in the body.
#[derive(Debug, PartialEq)]
pub(super) struct Upload {
    pub(super) photo: Source,
    pub(super) params: Vec<Param>,
}

/// A request whose body is read, and not yet taken apart.
struct Received {
    form: Form,
    bytes: Bytes,
    query: Vec<Param>,
    /// The body's share of the memory for bodies.
    room: Arc<Room>,
}

/// How the photo is packed.
#[derive(Debug, PartialEq)]
enum Form {
    Multipart {
        boundary: String,
    },
    Json,
    Raw,
    /// A type that says nothing of a photo but that clients send by default: taken if the bytes are an image.
    Unsaid(String),
}

impl Upload {
    /// Reads the whole request.
    ///
    /// # Errors
    /// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, `UPLOAD_TIMEOUT`, `OVERLOADED`, `MISSING_IMAGE`, or what is wrong in the form.
    pub(super) async fn receive(
        request: Request,
        limits: &Limits,
        arriving: &Arriving,
        workers: &Workers,
        call: &Call,
    ) -> Result<Self, Fault> {
        let Received { form, bytes, query, room } =
            Received::read(request, limits.max_bytes, arriving, workers, call).await?;
        let (photo, more) = match form {
            Form::Raw => (Source::Sent(bytes), Vec::new()),
            // Text is a form of some other kind; anything else is a file, and is named by what it is.
            Form::Unsaid(found) if !bytes.is_empty() && is_text(&bytes) => return Err(unsupported(&found)),
            Form::Unsaid(_) => (Source::Sent(bytes), Vec::new()),
            Form::Json if bytes.len() <= SHORT_BODY => json(&bytes, "The body")?,
            Form::Json => workers.run(call.deadline, move || json(&bytes, "The body")).await?,
            Form::Multipart { boundary } if bytes.len() <= SHORT_BODY => multipart(bytes, boundary).await?,
            Form::Multipart { boundary } => {
                workers.run(call.deadline, move || futures::executor::block_on(multipart(bytes, boundary))).await?
            }
        };
        Ok(Self { photo: photo.held(&room), params: stronger_first(query, more) })
    }
}

impl Received {
    /// Reads the whole body, so long that photos of `max_bytes` in all fit in.
    async fn read(
        request: Request,
        max_bytes: usize,
        arriving: &Arriving,
        workers: &Workers,
        call: &Call,
    ) -> Result<Self, Fault> {
        let (parts, mut body) = request.into_parts();
        let headers = parts.headers;
        let (form, coding) = match Form::of(&headers).and_then(|form| Ok((form, Coding::of(&headers)?))) {
            Ok(known) => known,
            Err(fault) => {
                drain(&mut body, &headers, 0, call.deadline).await;
                return Err(fault);
            }
        };
        let query = query(parts.uri.query().unwrap_or_default());
        let names_photo = query.iter().any(|param| param.name() == IMAGE_URL);
        let limit = form.limit(max_bytes);
        let mut room = arriving.begin();
        let patience = Patience { deadline: call.deadline, pause: arriving.pause() };
        let sent = read(body, &headers, limit, max_bytes, &mut room, patience).await?;
        let bytes = match coding {
            None => sent,
            Some(coding) => {
                let inflate = move || coding.inflate(&sent, limit).map_err(|fault| fault.with("max_bytes", max_bytes));
                let bytes = workers.run(call.deadline, inflate).await?;
                room.take(bytes.len())?;
                bytes
            }
        };
        if names_photo {
            return Err(address_in_query());
        }
        Ok(Self { form, bytes, query, room: Arc::new(room) })
    }
}

/// Options of two sources: one that stands in the first is not taken from the second as well.
///
/// The query goes before the body: what stands there is what somebody typed, and forms are sent with every field filled in.
fn stronger_first(mut strong: Vec<Param>, weak: Vec<Param>) -> Vec<Param> {
    let is_given = |name: &str| strong.iter().any(|param| param.name() == name && !param.is_absent());
    let more: Vec<_> = weak.into_iter().filter(|param| !is_given(param.name())).collect();
    strong.extend(more);
    strong
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Unsaid("no Content-Type".to_owned()));
        };
        let shown = || String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect::<String>();
        if let Some(text) = value.to_str().ok().filter(|text| is_multipart(text)) {
            let detail = "Content-Type multipart/form-data names no boundary. Let the HTTP client write this header.";
            let boundary = boundary(text).ok_or_else(|| Fault::new(Code::InvalidMultipart, detail))?;
            return Ok(Self::Multipart { boundary });
        }
        let mime: Mime = value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| unsupported(&shown()))?;
        match (mime.type_().as_str(), mime.subtype().as_str(), mime.suffix().map(|suffix| suffix.as_str())) {
            ("application", "json", _) | ("application", _, Some("json")) => Ok(Self::Json),
            ("image", _, _) | ("application", "octet-stream", _) => Ok(Self::Raw),
            // What curl sends with --data-binary unless told otherwise.
            ("application", "x-www-form-urlencoded", _) => Ok(Self::Unsaid(shown())),
            _ => Err(unsupported(&shown())),
        }
    }

    /// How many bytes a body of this form may have, so that photos of so many bytes fit in.
    fn limit(&self, max_bytes: usize) -> usize {
        match self {
            Self::Raw | Self::Unsaid(_) => max_bytes,
            Self::Multipart { .. } => max_bytes + ROOM_BESIDE_IMAGE,
            // Base64 is four thirds. A line break after every 64 characters is up to four more in JSON, and some encoders
            // escape every slash.
            Self::Json => max_bytes / 3 * 4 + max_bytes / 8 + ROOM_BESIDE_IMAGE,
        }
    }
}

/// Addresses are often signed, which makes them keys for a while, and queries are written into the logs of every proxy on
/// the way.
fn address_in_query() -> Fault {
    let detail = "image_url stands in the query. Send it in the body: as field `image_url` of a JSON object or as part `image_url` of a form.";
    Fault::invalid_options(vec![FieldError { field: IMAGE_URL.to_owned(), detail: detail.to_owned() }])
}

fn unsupported(found: &str) -> Fault {
    let detail = format!(
        "The request has {found}. Send multipart/form-data with part `image`, application/json with field `image`, or the raw image as image/* or application/octet-stream."
    );
    Fault::new(Code::UnsupportedMediaType, detail)
}

/// The options in a query.
fn query(text: &str) -> Vec<Param> {
    form_urlencoded::parse(text.as_bytes()).map(|(name, value)| Param::text(name, value)).collect()
}

/// How long a body is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the whole of it.
    deadline: Deadline,
    /// For the next piece.
    pause: Duration,
}

impl Patience {
    fn lost_at(self, bytes: usize) -> Fault {
        let detail = if self.deadline.passed() {
            format!("The upload stopped at {bytes} bytes and did not finish before the request's deadline.")
        } else {
            format!("The upload stopped at {bytes} bytes, and nothing came for {} ms.", self.pause.as_millis())
        };
        Fault::new(Code::UploadTimeout, detail)
    }
}

/// The body in one piece, no longer than the limit.
async fn read(
    mut body: Body,
    headers: &HeaderMap,
    limit: usize,
    max_bytes: usize,
    room: &mut Room,
    patience: Patience,
) -> Result<Bytes, Fault> {
    let deadline = patience.deadline;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(declared) = declared.filter(|&declared| declared > limit as u64) {
        drain(&mut body, headers, 0, deadline).await;
        return Err(too_large(&format!("{declared} bytes"), max_bytes));
    }
    // Room is taken as bytes arrive: a declared length is only a promise.
    let mut bytes = BytesMut::new();
    let mut stream = body.into_data_stream();
    loop {
        let chunk = deadline.at_most(patience.pause).bound(stream.next()).await;
        match chunk.map_err(|_| patience.lost_at(bytes.len()))? {
            None => return Ok(bytes.freeze()),
            Some(Ok(chunk)) if bytes.len() + chunk.len() > limit => {
                let seen = bytes.len() + chunk.len();
                drop(bytes);
                drain(&mut Body::from_stream(stream), headers, seen, deadline).await;
                return Err(too_large(&format!("more than {limit} bytes"), max_bytes));
            }
            Some(Ok(chunk)) => {
                if let Err(fault) = room.take(chunk.len()) {
                    let seen = bytes.len() + chunk.len();
                    drop(bytes);
                    drain(&mut Body::from_stream(stream), headers, seen, deadline).await;
                    return Err(fault);
                }
                if bytes.capacity() - bytes.len() < chunk.len() {
                    let declared = declared.map_or(0, |declared| declared as usize);
                    // All of the rest, once the first of it has come: doubling would make room for up to twice the body.
                    let room = if bytes.is_empty() {
                        declared.min(ROOM_AT_FIRST)
                    } else {
                        declared - declared.min(bytes.len())
                    };
                    bytes.reserve(room.max(chunk.len()));
                }
                bytes.extend_from_slice(&chunk);
            }
            Some(Err(error)) => {
                return Err(Fault::new(Code::InvalidRequest, "The body could not be read to its end.").caused_by(error));
            }
        }
    }
}

fn too_large(found: &str, max: usize) -> Fault {
    let detail = format!(
        "The body has {found}; this server accepts images up to {max} bytes ({:.1} MiB).",
        max as f64 / f64::from(1 << 20)
    );
    Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", max)
}

/// Reads and drops the rest of a body that is refused. A client that waits for 100 Continue has not sent it.
pub(super) async fn drain(body: &mut Body, headers: &HeaderMap, seen: usize, deadline: Deadline) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let rest = async {
        let mut seen = seen;
        let mut stream = std::mem::take(body).into_data_stream();
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > DRAIN_BYTES {
                return;
            }
        }
    };
    // Whether it ended or not, the answer is the same.
    let _ = deadline.at_most(DRAIN_TIME).bound(rest).await;
}

/// The photo and the options of a form.
async fn multipart(body: Bytes, boundary: String) -> Result<(Source, Vec<Param>), Fault> {
    let Parts { photos, params, names } = Parts::read(body, boundary, 1).await?;
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

fn empty_part() -> Fault {
    Fault::new(Code::MissingImage, "Part `image` is empty: no file was chosen.")
}

fn no_part(names: &[String]) -> Fault {
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Fault::new(Code::MissingImage, format!("The form has no part `image`. Parts found: {found}."))
}

/// A form taken apart.
struct Parts {
    /// Files, of which some may be empty, and addresses, of which none is.
    photos: Vec<Source>,
    params: Vec<Param>,
    /// Of every part, in order.
    names: Vec<String>,
}

impl Parts {
    /// `photos` is how many the form is expected to hold; it may have that many parts more.
    async fn read(body: Bytes, boundary: String, photos: usize) -> Result<Self, Fault> {
        let malformed = |error: multer::Error| {
            Fault::new(Code::InvalidMultipart, format!("The multipart body cannot be read: {error}.")).caused_by(error)
        };
        let max_parts = MAX_PARTS + photos;
        let stream = futures::stream::once(std::future::ready(Ok::<_, std::convert::Infallible>(body)));
        let mut form = multer::Multipart::new(stream, boundary);
        let (mut photos, mut params, mut names, mut beside) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while let Some(part) = form.next_field().await.map_err(malformed)? {
            if names.len() == max_parts {
                return Err(Fault::new(Code::InvalidMultipart, format!("The form has more than {max_parts} parts.")));
            }
            let name = part.name().unwrap_or_default().to_owned();
            let is_file = part.file_name().is_some();
            names.push(if name.is_empty() { "(unnamed)".to_owned() } else { name.chars().take(60).collect() });
            let content = content(part).await.map_err(malformed)?;
            if name == IMAGE {
                photos.push(Source::Sent(content));
                continue;
            }
            beside += content.len();
            check_beside(beside)?;
            let text = |content: Bytes| {
                String::from_utf8(content.to_vec()).map_err(|error| {
                    Fault::new(Code::InvalidMultipart, format!("Part '{}' is not UTF-8 text.", names[names.len() - 1]))
                        .caused_by(error)
                })
            };
            if name == IMAGE_URL {
                let url = text(content)?;
                photos.extend((!url.trim().is_empty()).then_some(Source::At(url)));
            } else if is_file && !NAMES.contains(&name.as_str()) {
                // Not an option; its name is kept, so that it is refused by name.
                params.push(Param::text(name, ""));
            } else {
                params.push(Param::text(name, text(content)?));
            }
        }
        Ok(Self { photos, params, names })
    }
}

/// All of a part. The body is in memory, so that a part nearly always comes in one piece, which is not copied.
async fn content(mut part: multer::Field<'_>) -> Result<Bytes, multer::Error> {
    let first = part.chunk().await?.unwrap_or_default();
    let Some(second) = part.chunk().await? else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while let Some(more) = part.chunk().await? {
        whole.extend_from_slice(&more);
    }
    Ok(whole.freeze())
}

/// Options are small; without a bound of their own they could be as large as a photo, and many times that once parsed.
fn check_beside(bytes: usize) -> Result<(), Fault> {
    if bytes <= ROOM_BESIDE_IMAGE {
        return Ok(());
    }
    let detail = format!("The options beside the image have more than {ROOM_BESIDE_IMAGE} bytes.");
    Err(Fault::new(Code::PayloadTooLarge, detail).with("max_bytes", ROOM_BESIDE_IMAGE))
}

/// Whether the body begins like text and not like a file.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().take(64).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

fn is_multipart(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
}

/// The boundary of a form, quoted or not: some libraries send characters without quotes that would need them.
fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
    let (_, value) = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.to_owned())
}

/// The photo and the options of a JSON object; `what` is what it is called where it is wrong.
fn json(body: &[u8], what: &str) -> Result<(Source, Vec<Param>), Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(Code::MissingImage, "The body is empty. Send {\"image\": \"<base64>\"}."));
    }
    let malformed = |error| malformed_json(what, error);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = Object.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    let params = json_params(object.options, what)?;
    // What a form library sends for a field that was left alone is as good as no field.
    let said = |text: &Cow<'_, str>| !text.trim().is_empty();
    match (object.image.as_ref().filter(|text| said(text)), object.image_url.filter(said)) {
        (Some(text), None) => Ok((Source::Sent(base64(text)?), params)),
        (None, Some(url)) => Ok((Source::At(url.into_owned()), params)),
        (Some(_), Some(_)) => {
            let detail = format!("{what} has both `image` and `image_url`. Send the photo or its address.");
            Err(Fault::invalid_options(vec![FieldError { field: IMAGE_URL.to_owned(), detail }]))
        }
        (None, None) if object.image.is_some() => Err(Fault::new(Code::MissingImage, "Field `image` is empty.")),
        (None, None) => Err(no_field(IMAGE, what, &params)),
    }
}

fn malformed_json(what: &str, error: serde_json::Error) -> Fault {
    Fault::new(Code::InvalidJson, format!("{what} is not the JSON object that is expected: {error}.")).caused_by(error)
}

fn no_field(name: &str, what: &str, params: &[Param]) -> Fault {
    let found: Vec<_> = params.iter().take(20).map(|param| param.name().chars().take(60).collect::<String>()).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Fault::new(Code::MissingImage, format!("{what} has no field `{name}`. Fields found: {found}."))
}

/// The members of an object that are options.
fn json_params(options: Vec<(String, &RawValue)>, what: &str) -> Result<Vec<Param>, Fault> {
    check_beside(options.iter().map(|(name, value)| name.len() + value.get().len()).sum())?;
    let param = |(name, value): (String, &RawValue)| {
        // An option that does not exist is refused by its name, whatever its value.
        let is_known = NAMES.contains(&name.as_str());
        let read = |error| malformed_json(what, error);
        let value = if is_known { serde_json::from_str(value.get()).map_err(read)? } else { Value::Null };
        Ok(Param::json(name, value))
    };
    options.into_iter().map(param).collect()
}

/// Reads the object without copying the photo's base64 out of the body, which it is nearly all of.
struct Object;

#[derive(Default)]
struct Fields<'de> {
    image: Option<Cow<'de, str>>,
    image_url: Option<Cow<'de, str>>,
    options: Vec<(String, &'de RawValue)>,
}

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Fields<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the field \"image\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            let (field, text) = match name.as_str() {
                IMAGE => (&mut fields.image, Text { what: "field \"image\" to be a base64 string" }),
                IMAGE_URL => (&mut fields.image_url, Text { what: "field \"image_url\" to be a string" }),
                _ => {
                    fields.options.push((name, map.next_value()?));
                    continue;
                }
            };
            if field.is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            *field = map.next_value_seed(text)?;
        }
        Ok(fields)
    }
}

/// A string borrowed from the body where it has no escapes, or null.
struct Text {
    /// What is expected.
    what: &'static str,
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }
}

/// Both alphabets, padding or none, as people's encoders differ.
const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);

/// A file from base64, alone or as a `data:` URI; line breaks are skipped.
fn base64(text: &str) -> Result<Bytes, Fault> {
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

    fn sent(file: &[u8]) -> Source {
        Source::Sent(Bytes::copy_from_slice(file))
    }

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

    #[test]
    fn json_keeps_the_options_and_names_what_is_wrong() {
        let (photo, params) =
            json(br#"{"min_score": 0.5, "image": "AQID", "classes": ["cat"]}"#, "The body").expect("fine");
        assert_eq!(photo, sent(&[1, 2, 3]));
        let expected = [Param::json("min_score", 0.5.into()), Param::json("classes", vec!["cat"].into())];
        assert_eq!(params, expected);
        let (escaped, _) = json(br#"{"image": "A\u0051ID"}"#, "The body").expect("escapes are fine");
        assert_eq!(escaped, sent(&[1, 2, 3]));
        for body in [
            &br#"{"image_url": "https://a.example/b", "min_score": 0.5}"#[..],
            br#"{"image": "", "min_score": 0.5, "image_url": "https://a.example/b"}"#,
        ] {
            let (photo, params) = json(body, "The body").expect("an address");
            assert_eq!(photo, Source::At("https://a.example/b".to_owned()));
            assert_eq!(params.len(), 1);
        }

        for (body, code) in [
            (&b"{"[..], Code::InvalidJson),
            (b"[]", Code::InvalidJson),
            (b"\xff", Code::InvalidJson),
            (br#"{"image": 7}"#, Code::InvalidJson),
            (br#"{"image": "AQID"} x"#, Code::InvalidJson),
            (br#"{"image": "AQID", "image": "AQID"}"#, Code::InvalidJson),
            (b" ", Code::MissingImage),
            (b"{}", Code::MissingImage),
            (br#"{"image": null}"#, Code::MissingImage),
            (br#"{"image": " "}"#, Code::MissingImage),
            (br#"{"image": "%"}"#, Code::InvalidBase64),
            (br#"{"image_url": 7}"#, Code::InvalidJson),
            (br#"{"image_url": "https://a.example/b", "image_url": "https://a.example/b"}"#, Code::InvalidJson),
            (br#"{"image_url": " "}"#, Code::MissingImage),
            (br#"{"image": "AQID", "image_url": "https://a.example/b"}"#, Code::InvalidOption),
        ] {
            let fault = json(body, "The body").expect_err("refused");
            assert_eq!(fault.code(), code, "{}", String::from_utf8_lossy(body));
        }
        let deep = format!("{{\"image\": \"AQID\", \"classes\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(json(deep.as_bytes(), "The body").expect_err("too deep").code(), Code::InvalidJson);
        let large = format!("{{\"image\": \"AQID\", \"zzz\": [0{}]}}", ",0".repeat(100_000));
        assert_eq!(json(large.as_bytes(), "The body").expect_err("too large").code(), Code::PayloadTooLarge);
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
        futures::executor::block_on(multipart(Bytes::from(body), "b".to_owned()))
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
        let empty = form("--b\nContent-Disposition: form-data; name=\"image\"; filename=\"\"\n\n\n--b--\n");
        assert_eq!(empty.expect_err("empty").code(), Code::MissingImage);
        assert_eq!(
            form("--b\nContent-Disposition: form-data; name=\"image\"\n\nx").expect_err("cut").code(),
            Code::InvalidMultipart
        );
        assert_eq!(form("nonsense").expect_err("no boundary").code(), Code::InvalidMultipart);
        let many = "--b\nContent-Disposition: form-data; name=\"classes\"\n\ncat\n".repeat(66) + "--b--\n";
        assert_eq!(form(&many).expect_err("too many").code(), Code::InvalidMultipart);
    }
}
