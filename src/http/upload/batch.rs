//! Several photos in one request: parts `image` of a form, or a JSON list.

use std::fmt;

use axum::extract::Request;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::multipart::{Parts, empty_part, no_part};
use super::{Form, Received, Upload, json, stronger_first};
use crate::backend::Call;
use crate::detect::{Model, Param};
use crate::fault::{Code, Fault};
use crate::fetch::Source;
use crate::service::{BatchBounds, BodyShape, Service};

const IMAGES: &str = "images";

/// Photos in order, each with its options or with what is wrong with it alone.
pub(in crate::http) struct Batch {
    pub(in crate::http) photos: Vec<Result<Upload, Fault>>,
    /// The options that hold for all of them.
    pub(in crate::http) common: Vec<Param>,
}

/// What a body holds.
struct Contents {
    /// Each with its own options.
    photos: Vec<Result<(Source, Vec<Param>), Fault>>,
    common: Vec<Param>,
}

impl Batch {
    /// Reads the whole request, for this model where there is one of the name.
    ///
    /// # Errors
    /// What is wrong with the request itself: as for one photo, and `BATCH_TOO_LARGE`.
    pub(in crate::http) async fn receive(
        request: Request,
        service: &Service,
        model: Option<&Model>,
        call: &Call,
    ) -> Result<Self, Fault> {
        let (bounds, shape) = (service.batch, service.shape);
        let Received { form, bytes, query, room } =
            Received::read(request, bounds.max_bytes, service, model, call).await?;
        let take_apart = move || {
            let Contents { photos, common } = match form {
                Form::Json => list(&bytes, bounds, shape)?,
                Form::Multipart { boundary } => parts(&bytes, &boundary, bounds, shape)?,
                Form::Raw | Form::Unsaid(_) => {
                    let detail = "A batch is multipart/form-data with a part `image` a photo, or application/json with a list `images`.";
                    return Err(Fault::new(Code::UnsupportedMediaType, detail));
                }
            };
            let params = |own| stronger_first(stronger_first(query.clone(), own), common.clone());
            let upload = |(photo, own): (Source, _)| Upload { photo: photo.held(&room), params: params(own) };
            let photos = photos.into_iter().map(|photo| photo.map(upload)).collect();
            Ok(Self { photos, common: params(Vec::new()) })
        };
        service.pipeline.workers.run_ahead(call.deadline, take_apart).await
    }
}

/// The photos of a form, and its options.
fn parts(body: &Bytes, boundary: &str, bounds: BatchBounds, shape: BodyShape) -> Result<Contents, Fault> {
    let Parts { photos, params: common, names } = Parts::read(body, boundary, bounds.max_photos, shape.parts)?;
    if photos.is_empty() {
        return Err(no_part(&names));
    }
    bounds.check(photos.len())?;
    let photo = |photo: Source| if photo.is_nothing() { Err(empty_part()) } else { Ok((photo, Vec::new())) };
    Ok(Contents { photos: photos.into_iter().map(photo).collect(), common })
}

/// The photos of `{"images": [{"image": …, …own options}, …], …common options}`.
fn list(body: &[u8], bounds: BatchBounds, shape: BodyShape) -> Result<Contents, Fault> {
    let place = json::Place::BODY;
    let malformed = |error| json::malformed(place, error);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Object { images, options } =
        ObjectSeed { max: bounds.max_photos }.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    let common = json::params(options, place, shape)?;
    let List { items, count } = images.ok_or_else(|| json::no_field(IMAGES, place, &common))?;
    if count == 0 {
        return Err(Fault::new(Code::MissingImage, "The list `images` is empty."));
    }
    bounds.check(count)?;
    Ok(Contents {
        photos: items.iter().map(|item| json::one_photo(item.get().as_bytes(), json::Place::ITEM, shape)).collect(),
        common,
    })
}

/// The items are kept as they are written: one that cannot be read is its own problem.
struct Object<'de> {
    images: Option<List<'de>>,
    options: json::Options<'de>,
}

/// As many items as may be, and how many there are.
struct List<'de> {
    items: Vec<&'de RawValue>,
    count: usize,
}

struct ObjectSeed {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed {
    type Value = Object<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the list \"images\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut object = Object { images: None, options: json::Options::default() };
        while let Some(name) = map.next_key::<String>()? {
            if name != IMAGES {
                object.options.take(name, &mut map)?;
            } else if object.images.is_some() {
                return Err(A::Error::duplicate_field(IMAGES));
            } else {
                object.images = Some(map.next_value_seed(ListSeed { max: self.max })?);
            }
        }
        Ok(object)
    }
}

struct ListSeed {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects, each with the field \"image\"")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(List { count: items.len(), items }),
            }
        }
        let mut count = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(List { items, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(max_photos: usize) -> BatchBounds {
        BatchBounds { max_photos, max_bytes: usize::MAX, at_once: 1 }
    }

    const SHAPE: BodyShape = BodyShape { parts: 64, depth: 5 };

    #[test]
    fn an_item_that_cannot_be_read_is_its_own_problem() {
        let body = br#"{"images": [{"image": "AQID", "min_score": 0.5}, {"image": 7}, {}, "AQID", {"image": "%"}], "tiles": 2}"#;
        let Contents { photos, common } = list(body, at_most(9), SHAPE).expect("a list");
        assert_eq!(common, [Param::json("tiles", 2.into())]);
        let (photo, own) = photos[0].as_ref().expect("a photo");
        assert_eq!(*photo, Source::Sent(Bytes::from_static(&[1, 2, 3])));
        assert_eq!(own[..], [Param::json("min_score", 0.5.into())]);
        let codes: Vec<_> = photos[1..].iter().map(|photo| photo.as_ref().expect_err("none").code()).collect();
        assert_eq!(codes, [Code::InvalidJson, Code::MissingImage, Code::InvalidJson, Code::InvalidBase64]);
    }

    #[test]
    fn a_batch_that_is_none_is_refused_whole() {
        for (body, code) in [
            (&b"{"[..], Code::InvalidJson),
            (b"[]", Code::InvalidJson),
            (br#"{"images": {}}"#, Code::InvalidJson),
            (br#"{"images": [], "images": []}"#, Code::InvalidJson),
            (b"{}", Code::MissingImage),
            (br#"{"image": "AQID"}"#, Code::MissingImage),
            (br#"{"images": []}"#, Code::MissingImage),
            (br#"{"images": [1, 2, 3, 4]}"#, Code::BatchTooLarge),
        ] {
            let fault = list(body, at_most(3), SHAPE).err().expect("refused");
            assert_eq!(fault.code(), code, "{}", String::from_utf8_lossy(body));
        }
        let text = format!("{{\"images\": \"{}\"}}", "A".repeat(1_000_000));
        let fault = list(text.as_bytes(), at_most(3), SHAPE).err().expect("refused");
        assert!(fault.detail().len() < 400 && fault.detail().contains("expected a list of objects"), "{fault}");
        assert!(fault.cause_chain().is_none_or(|cause| cause.len() < 400));
        let endless = format!("{{\"images\": [0{}]}}", ",0".repeat(1_000_000));
        assert!(
            list(endless.as_bytes(), at_most(3), SHAPE).err().expect("refused").detail().contains("1000001 photos")
        );
    }
}
