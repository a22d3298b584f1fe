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
use crate::service::BodyShape;

/// Where in a body an object stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// What it is called where it is wrong.
    what: &'static str,
    /// Objects and lists around its fields, its own braces among them.
    levels: usize,
}

impl Place {
    /// It is the body.
    pub(super) const BODY: Self = Self { what: "The body", levels: 1 };
    /// It is in the list of the body's object.
    pub(super) const ITEM: Self = Self { what: "The item", levels: 3 };
}

/// The photo and the options of a JSON object.
pub(super) fn one_photo(body: &[u8], place: Place, shape: BodyShape) -> Result<(Source, Vec<Param>), Fault> {
    let Place { what, .. } = place;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Fault::new(Code::MissingImage, "The body is empty. Send {\"image\": \"<base64>\"}."));
    }
    let malformed = |error| malformed(place, error);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let object = Object.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    let params = params(object.options, place, shape)?;
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
        (None, None) => Err(no_field(IMAGE, place, &params)),
    }
}

/// The error quotes what it did not expect, which may be a whole photo: neither the client nor the log is told all of it.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn malformed(Place { what, .. }: Place, error: serde_json::Error) -> Fault {
    let error = in_short(&error);
    Fault::new(Code::InvalidJson, format!("{what} is not the JSON object that is expected: {error}."))
}

pub(super) fn no_field(name: &str, Place { what, .. }: Place, params: &[Param]) -> Fault {
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
pub(super) fn params(options: Options<'_>, place: Place, shape: BodyShape) -> Result<Vec<Param>, Fault> {
    let Options { listed: options, count } = options;
    check_count(count, place.what)?;
    check_beside(options.iter().map(|(name, value)| name.len() + value.get().len()).sum())?;
    let param = |(name, value): (String, &RawValue)| {
        // An option that does not exist is refused by its name, whatever its value.
        let is_known = NAMES.contains(&name.as_str());
        let value = if is_known { option(&name, value.get(), place, shape)? } else { Value::Null };
        Ok(Param::json(name, value))
    };
    options.into_iter().map(param).collect()
}

/// The value of an option. Only here a value is read that may hold others, by a function that calls itself for each.
fn option(name: &str, value: &str, place: Place, shape: BodyShape) -> Result<Value, Fault> {
    let (found, max) = (place.levels + levels(value), shape.depth);
    if found > max {
        let detail = format!(
            "With option `{name}` the body is {found} objects and lists deep; this server reads up to {max}. No option needs more than one of its own."
        );
        return Err(Fault::new(Code::InvalidJson, detail).with("max_depth", max));
    }
    serde_json::from_str(value).map_err(|error| malformed(place, error))
}

/// How deep objects and lists are nested in JSON that is well-formed.
fn levels(json: &str) -> usize {
    let (mut depth, mut deepest, mut bytes) = (0usize, 0, json.bytes());
    let mut is_text = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            // Whatever follows is a part of the text.
            b'\\' => _ = bytes.next(),
            b'{' | b'[' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
    use proptest::prelude::*;

    use super::*;

    const SHAPE: BodyShape = BodyShape { parts: 64, depth: 5 };

    fn sent(file: &[u8]) -> Source {
        Source::Sent(Bytes::copy_from_slice(file))
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
            _ => 0,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || {
            prop::collection::vec(prop::sample::select(vec!['[', ']', '{', '}', '"', '\\', 'a', '\u{1}', 'é']), 0..5)
        };
        let text = move || text().prop_map(|letters| letters.into_iter().collect::<String>());
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text().prop_map(Value::from)];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn levels_are_those_of_the_value(value in value()) {
            prop_assert_eq!(levels(&value.to_string()), depth(&value));
            prop_assert_eq!(levels(&format!("{value:#}")), depth(&value));
        }
    }

    #[test]
    fn json_keeps_the_options_and_names_what_is_wrong() {
        let (photo, params) =
            one_photo(br#"{"min_score": 0.5, "image": "AQID", "classes": ["cat"]}"#, Place::BODY, SHAPE).expect("fine");
        assert_eq!(photo, sent(&[1, 2, 3]));
        let expected = [Param::json("min_score", 0.5.into()), Param::json("classes", vec!["cat"].into())];
        assert_eq!(params, expected);
        let (escaped, _) = one_photo(br#"{"image": "A\u0051ID"}"#, Place::BODY, SHAPE).expect("escapes are fine");
        assert_eq!(escaped, sent(&[1, 2, 3]));
        for body in [
            &br#"{"image_url": "https://a.example/b", "min_score": 0.5}"#[..],
            br#"{"image": "", "min_score": 0.5, "image_url": "https://a.example/b"}"#,
        ] {
            let (photo, params) = one_photo(body, Place::BODY, SHAPE).expect("an address");
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
            let fault = one_photo(body, Place::BODY, SHAPE).expect_err("refused");
            assert_eq!(fault.code(), code, "{}", String::from_utf8_lossy(body));
        }
        let deep =
            |levels| format!("{{\"image\": \"AQID\", \"classes\": {}1{}}}", "[".repeat(levels), "]".repeat(levels));
        for (levels, place, deepest) in
            [(4, Place::BODY, 5), (5, Place::BODY, 6), (2, Place::ITEM, 5), (3, Place::ITEM, 6)]
        {
            let outcome = one_photo(deep(levels).as_bytes(), place, SHAPE);
            assert_eq!(outcome.is_ok(), deepest <= SHAPE.depth, "{levels} in {place:?}");
        }
        let fault = one_photo(deep(10_000).as_bytes(), Place::BODY, SHAPE).expect_err("too deep");
        assert_eq!((fault.code(), &fault.facts()["max_depth"]), (Code::InvalidJson, &SHAPE.depth.into()));
        assert!(fault.detail().contains("`classes`") && fault.detail().contains("10001"), "{fault}");
        let many = format!("{{\"image\": \"AQID\"{}}}", r#","":0"#.repeat(MAX_PARAMS + 1));
        let fault = one_photo(many.as_bytes(), Place::BODY, SHAPE).expect_err("too many");
        assert_eq!((fault.code(), &fault.facts()["max_options"]), (Code::InvalidOption, &MAX_PARAMS.into()));
        let text = format!("\"{}\"", "ä".repeat(1_000_000));
        let fault = one_photo(text.as_bytes(), Place::BODY, SHAPE).expect_err("a text");
        assert!(fault.detail().len() < 600 && fault.detail().contains("expected an object with"), "{fault}");
        let large = format!("{{\"image\": \"AQID\", \"zzz\": [0{}]}}", ",0".repeat(100_000));
        assert_eq!(
            one_photo(large.as_bytes(), Place::BODY, SHAPE).expect_err("too large").code(),
            Code::PayloadTooLarge
        );
    }
}
