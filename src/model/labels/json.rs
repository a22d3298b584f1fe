//! Label maps in JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor, value};

use super::ClassId;
use super::characters::is_typographic_quote;
use super::entries::Entries;
use super::error::LabelError;

pub(super) fn parse(text: &str) -> Result<Entries, LabelError> {
    match serde_json::from_str(text) {
        Ok(Document(entries)) => Ok(entries),
        Err(error) => Err(place(text, &error)),
    }
}

/// An error of `serde_json` at its place in `text`, which `serde_json` gives in bytes and repeats in the message.
fn place(text: &str, error: &serde_json::Error) -> LabelError {
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let line = line.unwrap_or_default();
    let mut before = error.column().saturating_sub(1).min(line.len());
    while !line.is_char_boundary(before) {
        before -= 1;
    }
    let (before, after) = line.split_at(before);

    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let message = if after.starts_with(is_typographic_quote) {
        format!("{said}; the quote here is a typographic one, type a plain \" instead")
    } else {
        said.into()
    };
    LabelError { line: error.line().max(1), column: before.chars().count() + 1, message }
}

/// The whole file. Every rule is checked inside a visitor, because `serde_json` adds the place to an error there.
struct Document(Entries);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor).map(Self)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"1": "person"} or ["person"] or [{"id": 1, "name": "person"}]"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some(key) = map.next_key::<String>()? {
            let Ok(id) = key.parse() else {
                return Err(A::Error::custom(format!(
                    r#"found the key {key:?}, expected a class id as in {{"1": "person"}}"#
                )));
            };
            map.next_value_seed(LabelOf { id, entries: &mut entries })?;
        }
        Ok(entries)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entries, A::Error> {
        let mut array = Array::default();
        while seq.next_element_seed(&mut array)?.is_some() {}
        array.entries.number(array.labels.iter().map(String::as_str));
        Ok(array.entries)
    }
}

/// The value of a key in the object: the label of `id`, or `null` for none.
struct LabelOf<'a> {
    id: ClassId,
    entries: &'a mut Entries,
}

impl<'de> DeserializeSeed<'de> for LabelOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for LabelOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a label such as "person", or null"#)
    }

    fn visit_str<E: Error>(self, label: &str) -> Result<(), E> {
        add(self.entries, self.id, Some(label))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        add(self.entries, self.id, None)
    }
}

/// What was read of an array: labels that are yet to be numbered, or objects with ids of their own.
#[derive(Default)]
struct Array {
    entries: Entries,
    labels: Vec<String>,
    has_objects: bool,
}

#[derive(Deserialize)]
struct Object {
    id: Option<ClassId>,
    name: Option<String>,
    /// `displayName` is how protobuf spells it in JSON.
    #[serde(alias = "displayName")]
    display_name: Option<String>,
}

impl Array {
    fn refuse_mixture<E: Error>(&self) -> Result<(), E> {
        if self.has_objects && !self.labels.is_empty() {
            return Err(E::custom("found both labels and objects in one array, expected the same kind throughout"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Array {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Array {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a label such as "person", null, or {"id": 1, "name": "person"}"#)
    }

    fn visit_str<E: Error>(self, label: &str) -> Result<(), E> {
        self.labels.push(label.into());
        self.refuse_mixture()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.has_objects = true;
        self.refuse_mixture()?;
        let object = Object::deserialize(value::MapAccessDeserializer::new(map))?;
        let id = object.id.ok_or_else(|| A::Error::custom("found an object without \"id\""))?;
        let display_name = object.display_name.filter(|label| !label.is_empty());
        add(&mut self.entries, id, display_name.or(object.name).as_deref())
    }
}

/// Unlike TensorFlow with its label maps, refuses a second label for an id: no existing file depends on it, and one of
/// the two would be lost.
fn add<E: Error>(entries: &mut Entries, id: ClassId, label: Option<&str>) -> Result<(), E> {
    if let Some(first) = entries.get(id) {
        return Err(E::custom(format!(
            "found the id {id} a second time, it is already called {first:?}; give every class its own id"
        )));
    }
    entries.add(id, label).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(i64, String)> {
        let entries = parse(text).expect(text).labels.into_iter();
        entries.map(|(id, label)| (id, label.into())).collect()
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn an_object_maps_ids_to_labels() {
        assert_eq!(
            labels(r#"{"3": "cat", "1": "d\u00f6g", "0": "background", "7": ""}"#),
            [(0, "background".into()), (1, "dög".into()), (3, "cat".into()), (7, "class_7".into())]
        );
        assert_eq!(labels("{}"), []);
    }

    #[test]
    fn an_array_of_labels_is_numbered_like_the_lines_of_a_txt() {
        assert_eq!(labels(r#"["cat", null, "", "???", "dog"]"#), [(1, "cat".into()), (5, "dog".into())]);
        assert_eq!(labels(r#"["???", "cat"]"#), [(0, "background".into()), (1, "cat".into())]);
        assert_eq!(labels("[]"), []);
    }

    #[test]
    fn an_array_of_objects_is_read_like_the_items_of_a_pbtxt() {
        assert_eq!(
            labels(
                r#"[{"id": 2, "name": "NA", "display_name": "boat", "supercategory": {"x": [1]}},
                    {"id": 1, "name": "cat"}, {"id": 9}, {"id": 4, "name": "a", "display_name": ""},
                    {"id": 5, "name": "a", "displayName": "b"}]"#
            ),
            [(1, "cat".into()), (2, "boat".into()), (4, "a".into()), (5, "b".into()), (9, "class_9".into())]
        );
    }

    #[test]
    fn refusals_say_where_and_what() {
        for (text, expected) in [
            ("", "line 1, column 1: EOF while parsing a value"),
            (
                "{\"1\": \"cat\",\n \"dog\": 2}",
                "line 2, column 6: found the key \"dog\", expected a class id as in {\"1\": \
                 \"person\"}",
            ),
            (
                "{\n  \"0\": \"person\"\n}\n",
                "line 2, column 15: found \"person\" with the id 0, which is reserved for \
                 \"background\"; number the classes from 1",
            ),
            (
                "[\"ä\", {\"id\": 1}]",
                "line 1, column 7: found both labels and objects in one array, expected the same \
                 kind throughout",
            ),
            (
                "[{\"id\": 1}, {\"id\": 1}]",
                "line 1, column 21: found the id 1 a second time, it is already called \
                 \"class_1\"; give every class its own id",
            ),
            (
                "{“1”: \"cat\"}",
                "line 1, column 2: key must be a string; the quote here is a typographic one, type a plain \" instead",
            ),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_label_map_is_refused() {
        for text in [
            "null",
            "7",
            "\"cat\"",
            "{\"1\": 7}",
            "{\"1\": {\"name\": \"cat\"}}",
            "{\"-1\": \"cat\"}",
            "{\"2147483648\": \"cat\"}",
            "{\"1\": \"cat\", \"1\": \"dog\"}",
            "{\"1.0\": \"cat\"}",
            "[7]",
            "[[\"cat\"]]",
            "[{\"name\": \"cat\"}]",
            "[{\"id\": 1.0}]",
            "[{\"id\": \"1\"}]",
            "[\"cat\"] []",
            "[\"cat\"",
            "[\"\\ud800\"]",
        ] {
            refused(text);
        }
    }
}
