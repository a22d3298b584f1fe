//! TensorFlow's label maps: a `StringIntLabelMap` in protobuf's text format.
//!
//! What TensorFlow's `label_map_util` makes of a file, this makes of it, with three differences:
//!
//! * unknown fields are skipped, for the sake of newer label maps;
//! * an empty `display_name` is none, so `name` is used;
//! * what would lose classes unseen is refused, although the text is well formed.
//!
//! The last are these:
//!
//! * a known field in other letters (`Item`, `displayName`), which protobuf refuses as unknown;
//! * fields, but no `item` among them: another kind of file;
//! * an `item` inside an `item`: a closing brace is missing;
//! * an item with two ids and two names: two classes share one pair of braces, and protobuf lets the last one win
//!   without a word (tensorflow/models#8632). Where only one of the two comes twice, the last wins here too.

use super::ClassId;
use super::decode::refuse_bom;
use super::entries::{Entries, is_background};
use super::error::LabelError;
use super::text_format::{Field, Message, Reader};

#[cfg(test)]
mod tests;

pub(super) fn parse(text: &str) -> Result<Entries, LabelError> {
    refuse_bom(text)?;
    let (mut reader, mut label_map) = Reader::new(text);
    let mut entries = Entries::default();
    let mut has_items = false;
    let mut first_unknown = None;

    while let Some(field) = reader.field(&mut label_map)? {
        if field.name == "item" {
            has_items = true;
            reader.messages(|reader, message| read_item(reader, field, message)?.add_to(reader, &mut entries))?;
        } else {
            skip_unknown(&mut reader, field, &["item"])?;
            first_unknown.get_or_insert(field);
        }
    }

    match first_unknown {
        Some(field) if !has_items => {
            let message = format!(
                "found the field `{}`, but no item in the whole file; a label map consists of \
                 `item {{ id: 1 name: \"person\" }}`",
                field.name
            );
            Err(reader.error(field.at, message))
        }
        _ => Ok(entries),
    }
}

/// What was read of an item so far.
struct Item {
    at: usize,
    id: Option<Id>,
    name: Option<String>,
    display_name: Option<String>,
    /// Their numbers and names.
    keypoints: Vec<(usize, String)>,
    /// The first id that was given and the first other one.
    two_ids: Option<(Id, Id)>,
    two_names: bool,
}

#[derive(Clone, Copy)]
struct Id {
    value: i32,
    at: usize,
}

fn read_item(reader: &mut Reader<'_>, item: Field<'_>, mut message: Message) -> Result<Item, LabelError> {
    let mut read = Item {
        at: item.at,
        id: None,
        name: None,
        display_name: None,
        keypoints: Vec::new(),
        two_ids: None,
        two_names: false,
    };
    while let Some(field) = reader.field(&mut message)? {
        match field.name {
            "id" => {
                let id = Id { value: reader.int32()?, at: field.at };
                if let Some(first) = read.id.replace(id).filter(|first| first.value != id.value) {
                    read.two_ids.get_or_insert((first, id));
                }
            }
            "name" => read.two_names |= replace(&mut read.name, reader.string()?),
            "display_name" => read.two_names |= replace(&mut read.display_name, reader.string()?),
            "keypoints" => reader.messages(|reader, message| {
                read.keypoints.extend(read_keypoint(reader, message)?);
                Ok(())
            })?,
            "item" => {
                let line = reader.line(item.at);
                let message = format!("found an item inside the item of line {line}; close that one with `}}` first");
                return Err(reader.error(field.at, message));
            }
            _ => skip_unknown(reader, field, &["id", "name", "display_name", "keypoints", "item"])?,
        }
    }
    Ok(read)
}

/// The number and the name of a keypoint; none where it has no name, or a number that no keypoint can have.
fn read_keypoint(reader: &mut Reader<'_>, mut message: Message) -> Result<Option<(usize, String)>, LabelError> {
    let (mut id, mut label) = (0, None);
    while let Some(field) = reader.field(&mut message)? {
        match field.name {
            "id" => id = reader.int32()?,
            "label" => label = Some(reader.string()?),
            _ => skip_unknown(reader, field, &["id", "label"])?,
        }
    }
    Ok(usize::try_from(id).ok().zip(label.filter(|label| !label.is_empty())))
}

/// Sets `name`, and answers whether it had another value before.
fn replace(name: &mut Option<String>, value: String) -> bool {
    let same = name.as_ref().is_none_or(|before| *before == value);
    *name = Some(value);
    !same
}

impl Item {
    fn add_to(self, reader: &Reader<'_>, entries: &mut Entries) -> Result<(), LabelError> {
        if let (Some((first, second)), true) = (self.two_ids, self.two_names) {
            let message = format!(
                "found a second id and a second name in one item, whose first id {} is on line {}; give every class \
                 its own `item {{ }}`",
                first.value,
                reader.line(first.at)
            );
            return Err(reader.error(second.at, message));
        }

        let (id, at) = self.id.map_or((0, self.at), |id| (id.value, id.at));
        let names = [&self.display_name, &self.name];
        let mut names = names.into_iter().flatten().map(String::as_str);
        // For id 0 it is enough that one of the two is "background", as for TensorFlow.
        let background = names.clone().find(|name| id == 0 && is_background(name));
        let label = background.or_else(|| names.find(|name| !name.is_empty()));

        if self.id.is_none() && background.is_none() {
            let message = "found an item without id, which protobuf takes for 0, and 0 is reserved for \
                           \"background\"; add an id, from 1";
            return Err(reader.error(at, message));
        }
        for (number, name) in &self.keypoints {
            entries.name_keypoint(ClassId::from(id), *number, name);
        }
        let added = entries.add(ClassId::from(id), label);
        added.map_err(|message| reader.error(at, message))
    }
}

/// Skips a field this reader has no use for, unless it is a known one misspelt in a way no other field will ever be.
fn skip_unknown(reader: &mut Reader<'_>, field: Field<'_>, known: &[&str]) -> Result<(), LabelError> {
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    match known.iter().find(|known| plain(known) == plain(field.name)) {
        None => reader.skip(),
        Some(known) => {
            let message = format!("found the field `{}`, expected `{known}`", field.name);
            Err(reader.error(field.at, message))
        }
    }
}
