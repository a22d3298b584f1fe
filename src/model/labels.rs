//! What a class id is called.
//!
//! A model answers with numbers; people read labels. A [`LabelMap`] is read from one of three kinds of file, told apart
//! by the extension ([`LabelFormat`]), or is the built-in COCO map. All of them obey the same rules:
//!
//! * an id is a whole number from 0 to 2147483647 (`int32`, as in TensorFlow's label maps);
//! * ids may have gaps, and a gap never shifts a neighbour: an id without a label is called `class_N`;
//! * id 0 is the background and nothing else. Background is a name that can be looked up, but not a class: it is not
//!   counted, listed or suggested.

mod characters;
mod decode;
mod entries;
mod error;
mod format;
mod json;
mod pbtxt;
mod text_format;
mod txt;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use entries::Entries;

pub use error::{LabelError, LoadError};
pub use format::LabelFormat;

/// The number a model gives to a class. Wider than the `int32` of label maps because models answer with `int64` or
/// `float32` classes, and whatever they answer must have a name.
pub type ClassId = i64;

/// The largest label map file that is read. The largest one published with TensorFlow's models names 2854 classes in
/// 210 kB; a file beyond this is a wrong path, such as that of the model itself.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// What a label that is unknown or missing is called: `class_17`.
const UNNAMED: &str = "class_";

/// Labels by class id, in id order. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelMap {
    /// In id order, every id once, so that id 0 can only be the first.
    entries: Arc<[Entry]>,
    keypoints: Arc<entries::KeypointNames>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: ClassId,
    label: Box<str>,
}

impl LabelMap {
    /// A map without labels: every id is called `class_N`.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The 80 classes of COCO under the ids TensorFlow's detection models use: 1 to 90 with ten gaps.
    pub fn coco() -> Self {
        static COCO: LazyLock<LabelMap> = LazyLock::new(|| {
            LabelMap::parse(LabelFormat::Txt, include_bytes!("labels/coco.txt"))
                .expect("the built-in label map is valid, a test reads it")
        });
        COCO.clone()
    }

    /// Reads a label map from the bytes of a file.
    ///
    /// # Errors
    ///
    /// A [`LabelError`] with the line and column of the first thing that is wrong.
    pub fn parse(format: LabelFormat, bytes: &[u8]) -> Result<Self, LabelError> {
        let text = decode::text(bytes)?;
        let Entries { labels, keypoints } = match format {
            LabelFormat::Pbtxt => pbtxt::parse(text),
            LabelFormat::Txt => txt::parse(decode::without_bom(text)),
            LabelFormat::Json => json::parse(decode::without_bom(text)),
        }?;
        let entries = labels.into_iter().map(|(id, label)| Entry { id, label }).collect();
        Ok(Self { entries, keypoints: Arc::new(keypoints) })
    }

    /// Reads a label map file; the extension says in which format it is.
    ///
    /// # Errors
    ///
    /// A [`LoadError`] that names the file. Its source says what is wrong in it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let format = LabelFormat::of(path).ok_or_else(|| LoadError::Format(path.into()))?;
        let unreadable = |source| LoadError::Read { path: path.into(), source };

        // One byte over the limit is enough to know, also where the size is not known beforehand.
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(LoadError::TooLarge(path.into()));
        }

        Self::parse(format, &bytes).map_err(|source| LoadError::Content { path: path.into(), source })
    }

    /// What `id` is called: its label, or `class_17` where the map has none.
    pub fn name(&self, id: ClassId) -> Cow<'_, str> {
        match self.entry(id) {
            Some(entry) => Cow::Borrowed(&entry.label),
            None => Cow::Owned(unnamed(id)),
        }
    }

    /// What a keypoint of a class is called, counted from 0 as the model answers them; only `.pbtxt` has names for them.
    pub fn keypoint(&self, class: ClassId, number: usize) -> Option<&str> {
        self.keypoints.get(&(class, number)).map(|name| &**name)
    }

    /// The id of the class at `index` when the classes are counted from 0 in id order, for models that count classes
    /// without gaps: in COCO, 11 is "stop sign", id 13.
    pub fn nth(&self, index: usize) -> Option<ClassId> {
        self.classes().get(index).map(|class| class.id)
    }

    /// All ids called `label`, in id order: those that match exactly, or if there are none, those that match when upper
    /// and lower case are the same.
    ///
    /// This is the inverse of [`name`](Self::name): `class_17` is 17 where that id has no label.
    pub fn ids(&self, label: &str) -> impl Iterator<Item = ClassId> {
        let exact = self.entries.iter().any(|entry| *entry.label == *label);
        let labelled = self
            .entries
            .iter()
            .filter(move |entry| if exact { *entry.label == *label } else { same_but_for_case(&entry.label, label) });
        labelled.map(|entry| entry.id).chain(self.unlabelled_id(label))
    }

    /// The label most like `label`, for "did you mean": at most three typing errors away, and no more than one for
    /// every three letters.
    pub fn closest(&self, label: &str) -> Option<&str> {
        let wanted = label.to_lowercase();
        let letters = wanted.chars().count();
        let tolerated = (letters / 3).clamp(1, 3);

        let near = self.classes().iter().filter_map(|class| {
            // Spares the quadratic comparison, whatever the length of what was asked for.
            if class.label.chars().count().abs_diff(letters) > tolerated {
                return None;
            }
            let typos = strsim::osa_distance(&wanted, &class.label.to_lowercase());
            (typos <= tolerated).then_some((typos, &*class.label))
        });
        near.min_by_key(|(typos, _)| *typos).map(|(_, label)| label)
    }

    /// The classes of the map and what they are called, in id order.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &str)> {
        self.classes().iter().map(|class| (class.id, &*class.label))
    }

    /// How many classes the map has.
    pub fn len(&self) -> usize {
        self.classes().len()
    }

    /// Whether the map has no classes.
    pub fn is_empty(&self) -> bool {
        self.classes().is_empty()
    }

    fn entry(&self, id: ClassId) -> Option<&Entry> {
        let found = self.entries.binary_search_by_key(&id, |entry| entry.id);
        found.ok().map(|index| &self.entries[index])
    }

    /// The entries without the background.
    fn classes(&self) -> &[Entry] {
        match &*self.entries {
            [background, classes @ ..] if background.id == 0 => classes,
            classes => classes,
        }
    }

    /// The id that is called `label` only because it has no label of its own.
    fn unlabelled_id(&self, label: &str) -> Option<ClassId> {
        let id = label.strip_prefix(UNNAMED)?.parse().ok()?;
        // The comparison refuses other ways to write the number, such as class_007.
        (self.entry(id).is_none() && unnamed(id) == label).then_some(id)
    }
}

fn unnamed(id: ClassId) -> String {
    format!("{UNNAMED}{id}")
}

fn same_but_for_case(a: &str, b: &str) -> bool {
    let a = a.chars().flat_map(char::to_lowercase);
    a.eq(b.chars().flat_map(char::to_lowercase))
}
