//! A label map, in each of the formats: refused with the place of the mistake, or a map that keeps its promises.

use spotter::model::labels::{LabelFormat, LabelMap};

/// The first byte chooses the format; the rest is the file.
pub fn run(data: &[u8]) {
    let formats = [LabelFormat::Pbtxt, LabelFormat::Txt, LabelFormat::Json];
    let Some((format, file)) = super::choice(data, formats.len()) else { return };
    let labels = match LabelMap::parse(formats[format], file) {
        Ok(labels) => labels,
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1 && !error.message.is_empty(), "{error}");
            return;
        }
    };
    let classes: Vec<_> = labels.iter().collect();
    assert_eq!(classes.len(), labels.len());
    assert!(classes.iter().all(|(id, _)| (1..=i64::from(i32::MAX)).contains(id)), "an id is an int32, and 0 no class");
    assert!(classes.windows(2).all(|pair| pair[0].0 < pair[1].0), "in id order, every id once");
    // What is asked of each would be quadratic in a large map.
    for (index, (id, label)) in classes.iter().take(16).enumerate() {
        assert_eq!(labels.name(*id), *label);
        assert_eq!(labels.nth(index), Some(*id));
        assert!(labels.ids(label).any(|found| found == *id), "'{label}' is not found by its own name");
        assert!(labels.closest(label).is_some(), "'{label}' is like itself");
    }
}
