//! What all formats agree on: which ids there can be, and what stands for "no label".

use std::collections::BTreeMap;

use super::{ClassId, unnamed};

/// What id 0 is called.
const BACKGROUND: &str = "background";

/// The names read so far.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// What the classes are called.
    pub labels: BTreeMap<ClassId, Box<str>>,
    /// What their keypoints are called.
    pub keypoints: KeypointNames,
}

/// A keypoint's name by its class and its number within the class, from 0.
pub(super) type KeypointNames = BTreeMap<(ClassId, usize), Box<str>>;

impl Entries {
    /// Adds a label that comes with its id. If the id has one already, that one stays, as in TensorFlow's
    /// `label_map_util`.
    ///
    /// An error is a message only; the caller knows the place.
    pub(super) fn add(&mut self, id: ClassId, label: Option<&str>) -> Result<(), String> {
        let label = label.filter(|label| !label.is_empty());
        match id {
            ..0 => return Err(format!("found the id {id}, expected a number from 1")),
            0 if !label.is_some_and(is_background) => {
                let found = label.map_or("a class without a name".into(), |label| format!("{label:?}"));
                return Err(format!(
                    "found {found} with the id 0, which is reserved for \"background\"; number the classes from 1"
                ));
            }
            0 => self.insert(0, BACKGROUND),
            _ if id > ClassId::from(i32::MAX) => {
                return Err(format!("found the id {id}, expected a number up to {}", i32::MAX));
            }
            _ => match label {
                Some(label) => self.insert(id, label),
                None => self.insert(id, &unnamed(id)),
            },
        }
        Ok(())
    }

    /// Adds labels that are numbered by their position: from 1, or from 0 if the first stands for the background.
    /// Position and id must not come apart, so a placeholder leaves a gap.
    pub(super) fn number<'a>(&mut self, labels: impl IntoIterator<Item = &'a str>) {
        let mut labels = labels.into_iter().peekable();
        let first_id = match labels.peek() {
            Some(first) if is_background(first) => 0,
            _ => 1,
        };
        for (id, label) in (first_id..).zip(labels) {
            if id == 0 {
                self.insert(id, BACKGROUND);
            } else if !label.is_empty() && !is_placeholder(label) {
                self.insert(id, label);
            }
        }
    }

    /// Names a keypoint of a class. If it has a name already, that one stays, as labels do.
    pub(super) fn name_keypoint(&mut self, class: ClassId, number: usize, name: &str) {
        self.keypoints.entry((class, number)).or_insert_with(|| name.into());
    }

    /// The label of `id`, if it has one so far.
    pub(super) fn get(&self, id: ClassId) -> Option<&str> {
        self.labels.get(&id).map(|label| &**label)
    }

    fn insert(&mut self, id: ClassId, label: &str) {
        self.labels.entry(id).or_insert_with(|| label.into());
    }
}

/// Whether `label` can be that of id 0. `__background__` is torchvision's spelling. Taking one of these for a class
/// would shift all the others by one.
pub(super) fn is_background(label: &str) -> bool {
    [BACKGROUND, "__background__"].iter().any(|background| label.eq_ignore_ascii_case(background))
        || is_placeholder(label)
}

/// What TensorFlow Lite (`???`) and torchvision (`N/A`) write for an id that no class has.
fn is_placeholder(label: &str) -> bool {
    matches!(label, "???" | "N/A")
}
