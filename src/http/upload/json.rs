//! `application/json`: the photo is a field in base64, or its address is one, and each option another.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::base64::base64;
use super::{IMAGE, IMAGE_URL, check_beside, in_short};
use crate::detect::{MAX_PARAMS, NAMES, Param, check_count};
use crate::fault::{Code, Fault, FieldError};
use crate::fetch::Source;

/// The photo and the options of a JSON object; `what` is what it is called where it is wrong.
pub(super) fn one_photo(body: &[u8], what: &str) -> Result<(Source, Vec<Param>), Fault> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(Code::MissingImage, "The body is empty. Send {\"image\": \"<base64>\"}."));
    }
    let malformed = |error| malformed(what, error);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = Object.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    let params = params(object.options, what)?;
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

/// The error quotes what it did not expect, which may be a whole photo: neither the client nor the log is told all of it.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn malformed(what: &str, error: serde_json::Error) -> Fault {
    let error = in_short(&error);
    Fault::new(Code::InvalidJson, format!("{what} is not the JSON object that is expected: {error}."))
}

pub(super) fn no_field(name: &str, what: &str, params: &[Param]) -> Fault {
    let found: Vec<_> = params.iter().take(20).map(|param| param.name().chars().take(60).collect::<String>()).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Fault::new(Code::MissingImage, format!("{what} has no field `{name}`. Fields found: {found}."))
}

/// The members of an object that are options: as many as may be, and how many there are.
#[derive(Default)]
pub(super) struct Options<'de> {
    listed: Vec<(String, &'de RawValue)>,
    count: usize,
}

impl<'de> Options<'de> {
    /// Takes the value of this name, which is the next one.
    pub(super) fn take<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        self.count += 1;
        if self.count > MAX_PARAMS {
            return map.next_value().map(|IgnoredAny| ());
        }
        self.listed.push((name, map.next_value()?));
        Ok(())
    }
}

/// What an object holds beside its photo.
pub(super) fn params(Options { listed: options, count }: Options<'_>, what: &str) -> Result<Vec<Param>, Fault> {
    check_count(count, what)?;
    check_beside(options.iter().map(|(name, value)| name.len() + value.get().len()).sum())?;
    let param = |(name, value): (String, &RawValue)| {
        // An option that does not exist is refused by its name, whatever its value.
        let is_known = NAMES.contains(&name.as_str());
        let read = |error| malformed(what, error);
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
    options: Options<'de>,
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
                    fields.options.take(name, &mut map)?;
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn sent(file: &[u8]) -> Source {
        Source::Sent(Bytes::copy_from_slice(file))
    }

    #[test]
    fn json_keeps_the_options_and_names_what_is_wrong() {
        let (photo, params) =
            one_photo(br#"{"min_score": 0.5, "image": "AQID", "classes": ["cat"]}"#, "The body").expect("fine");
        assert_eq!(photo, sent(&[1, 2, 3]));
        let expected = [Param::json("min_score", 0.5.into()), Param::json("classes", vec!["cat"].into())];
        assert_eq!(params, expected);
        let (escaped, _) = one_photo(br#"{"image": "A\u0051ID"}"#, "The body").expect("escapes are fine");
        assert_eq!(escaped, sent(&[1, 2, 3]));
        for body in [
            &br#"{"image_url": "https://a.example/b", "min_score": 0.5}"#[..],
            br#"{"image": "", "min_score": 0.5, "image_url": "https://a.example/b"}"#,
        ] {
            let (photo, params) = one_photo(body, "The body").expect("an address");
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
            let fault = one_photo(body, "The body").expect_err("refused");
            assert_eq!(fault.code(), code, "{}", String::from_utf8_lossy(body));
        }
        let deep = format!("{{\"image\": \"AQID\", \"classes\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(one_photo(deep.as_bytes(), "The body").expect_err("too deep").code(), Code::InvalidJson);
        let many = format!("{{\"image\": \"AQID\"{}}}", r#","":0"#.repeat(MAX_PARAMS + 1));
        let fault = one_photo(many.as_bytes(), "The body").expect_err("too many");
        assert_eq!((fault.code(), &fault.facts()["max_options"]), (Code::InvalidOption, &MAX_PARAMS.into()));
        let text = format!("\"{}\"", "ä".repeat(1_000_000));
        let fault = one_photo(text.as_bytes(), "The body").expect_err("a text");
        assert!(fault.detail().len() < 600 && fault.detail().contains("expected an object with"), "{fault}");
        let large = format!("{{\"image\": \"AQID\", \"zzz\": [0{}]}}", ",0".repeat(100_000));
        assert_eq!(one_photo(large.as_bytes(), "The body").expect_err("too large").code(), Code::PayloadTooLarge);
    }
}
