//! Three request forms, one upload: a photo, or its address, and the options that came with it.
//!
//! The body is read and bounded first, whatever its form, and taken apart afterwards; on a core where it is long, because
//! base64 and boundaries of a large photo take milliseconds, and beside the photos in work, because only then is it known whether
//! there is a photo in it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mime::Mime;

use crate::arriving::Room;
use crate::backend::Call;
use crate::detect::{MAX_PARAMS, Model, Param, check_count};
use crate::fault::{Code, Fault, FieldError};
use crate::fetch::Source;
use crate::http::server::BodyLeft;
use crate::service::Service;

/// The part and the field that hold the photo.
const IMAGE: &str = "image";
/// The part and the field that say where the photo is instead.
const IMAGE_URL: &str = "image_url";
/// Room for options, part headers and boundaries beside the photo.
const ROOM_BESIDE_IMAGE: usize = 64 << 10;
/// A body up to this long is taken apart where it arrives: some tens of microseconds, as long as the way to a core and back
/// (docs/PERFORMANCE.md).
const SHORT_BODY: usize = 128 << 10;

mod base64;
mod batch;
mod body;
mod inflate;
mod json;
mod multipart;

pub(super) use batch::Batch;
use body::Patience;
pub(super) use body::drain;
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
    /// Reads the whole request, for this model where there is one of the name.
    ///
    /// # Errors
    /// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, `UPLOAD_TIMEOUT`, `OVERLOADED`, `MISSING_IMAGE`, or what is wrong in the form.
    pub(super) async fn receive(
        request: Request,
        service: &Service,
        model: Option<&Model>,
        call: &Call,
    ) -> Result<Self, Fault> {
        let max_bytes = service.pipeline.limits.max_bytes;
        let Received { form, bytes, query, room } = Received::read(request, max_bytes, service, model, call).await?;
        let (workers, shape) = (&service.pipeline.workers, service.shape);
        let (photo, more) = match form {
            Form::Raw => (Source::Sent(bytes), Vec::new()),
            // Text is a form of some other kind; anything else is a file, and is named by what it is.
            Form::Unsaid(found) if !bytes.is_empty() && is_text(&bytes) => return Err(unsupported(&found)),
            Form::Unsaid(_) => (Source::Sent(bytes), Vec::new()),
            Form::Json if bytes.len() <= SHORT_BODY => json::one_photo(&bytes, json::Place::BODY, shape)?,
            Form::Json => {
                let take_apart = move || json::one_photo(&bytes, json::Place::BODY, shape);
                workers.run_ahead(call.deadline, take_apart).await?
            }
            Form::Multipart { boundary } if bytes.len() <= SHORT_BODY => {
                multipart::one_photo(&bytes, &boundary, shape.parts)?
            }
            Form::Multipart { boundary } => {
                let take_apart = move || multipart::one_photo(&bytes, &boundary, shape.parts);
                workers.run_ahead(call.deadline, take_apart).await?
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
        service: &Service,
        model: Option<&Model>,
        call: &Call,
    ) -> Result<Self, Fault> {
        let Service { arriving, pipeline, .. } = service;
        let (parts, mut body) = request.into_parts();
        let headers = parts.headers;
        let known = || Ok((Form::of(&headers)?, Coding::of(&headers)?, query(parts.uri.query().unwrap_or_default())?));
        let (form, coding, query) = match known() {
            Ok(known) => known,
            Err(fault) => {
                drain(&mut body, &headers, 0, call.deadline).await;
                return Err(fault);
            }
        };
        let names_photo = query.iter().any(|param| param.name() == IMAGE_URL);
        let limit = form.limit(max_bytes);
        let mut room = arriving.begin();
        let patience = Patience { deadline: call.deadline, pause: arriving.pause() };
        let sent = body::read(body, &headers, limit, max_bytes, &mut room, patience).await?;
        // Others may have come while it arrived; unpacking it would be in vain.
        model.map_or(Ok(()), |model| pipeline.has_room(model, call))?;
        let bytes = match coding {
            None => sent,
            Some(coding) => {
                let inflate = move || {
                    let with_bound = |fault: Fault| match fault.code() {
                        Code::PayloadTooLarge => fault.with("max_bytes", max_bytes),
                        _ => fault,
                    };
                    coding.inflate(&sent, limit).map_err(with_bound)
                };
                let bytes = pipeline.workers.run_ahead(call.deadline, inflate).await?;
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
    let given: HashSet<_> = strong.iter().filter(|param| !param.is_absent()).map(Param::name).collect();
    let more: Vec<_> = weak.into_iter().filter(|param| !given.contains(param.name())).collect();
    strong.extend(more);
    strong
}

/// The answer to an upload that is refused by its head alone, at once. Over HTTP/1 a body that is short and nearly there is
/// read, so that the connection can be kept; any other is left, and the connection ends (adr/0015).
pub(super) async fn refuse_unread(fault: Fault, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let mut answer = fault.into_response();
    // Over HTTP/2 an answer may overtake the body.
    if parts.version < Version::HTTP_2 && !body.is_end_stream() && !body::glance(&mut body, &parts.headers).await {
        BodyLeft::mark(&mut answer);
    }
    answer
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Unsaid("no Content-Type".to_owned()));
        };
        let shown = || String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect::<String>();
        if let Some(text) = value.to_str().ok().filter(|text| multipart::is_multipart(text)) {
            let detail = "Content-Type multipart/form-data names no boundary. Let the HTTP client write this header.";
            let boundary = multipart::boundary(text).ok_or_else(|| Fault::new(Code::InvalidMultipart, detail))?;
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
fn query(text: &str) -> Result<Vec<Param>, Fault> {
    let options = form_urlencoded::parse(text.as_bytes()).map(|(name, value)| Param::text(name, value));
    let options: Vec<_> = options.take(MAX_PARAMS + 1).collect();
    check_count(options.len(), "The query")?;
    Ok(options)
}

/// What a parser says of a body, short enough to repeat: some of them quote all of the value that they did not expect, and
/// say only then what they did.
fn in_short(error: &dyn std::error::Error) -> String {
    const START: usize = 120;
    const END: usize = 120;
    let text = error.to_string();
    let ends = text.char_indices().map(|(at, _)| at);
    match (ends.clone().nth(START), ends.rev().nth(END - 1)) {
        (Some(start), Some(end)) if start < end => format!("{} … {}", &text[..start], &text[end..]),
        _ => text,
    }
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
