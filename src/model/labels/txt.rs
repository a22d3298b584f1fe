//! Label maps with one label a line.

use super::characters::describe;
use super::entries::Entries;
use super::error::LabelError;

pub(super) fn parse(text: &str) -> Result<Entries, LabelError> {
    // The end of every line is trimmed below; this only drops the empty lines after the last label.
    let text = text.trim_end();
    refuse_other_formats(text)?;

    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let label_start = line_start + line.len() - line.trim_start().len();
        refuse_control_characters(text, label_start, line.trim())?;
        line_start += line.len();
    }

    let mut entries = Entries::default();
    entries.number(text.lines().map(str::trim));
    Ok(entries)
}

/// A tab is a second column, and a lone carriage return is a line end of old: taken as a part of the label, either
/// would spoil every label without a word.
fn refuse_control_characters(text: &str, start: usize, label: &str) -> Result<(), LabelError> {
    match label.char_indices().find(|(_, c)| c.is_control()) {
        None => Ok(()),
        Some((within, c)) => {
            let message = format!(
                "found {} inside a label, expected nothing but one label in every line, with line \
                 ends LF or CRLF",
                describe(c)
            );
            Err(LabelError::at(text, start + within, message))
        }
    }
}

/// Any text is a valid list of lines, so a label map of another kind (TensorFlow's own `keypoint_label_map.txt` is a
/// pbtxt) would be read as labels such as `item {`.
fn refuse_other_formats(text: &str) -> Result<(), LabelError> {
    let start = text.len() - text.trim_start().len();
    let text_from = &text[start..];
    let after_item = text_from.strip_prefix("item").map(str::trim_start);
    let looks_like = if text_from.starts_with(['{', '[']) {
        "JSON; name the file .json"
    } else if after_item.is_some_and(|rest| rest.starts_with(['{', '<', ':', '['])) {
        "a label map of TensorFlow; name the file .pbtxt"
    } else {
        return Ok(());
    };
    let message = format!("expected one label a line, but this looks like {looks_like}");
    Err(LabelError::at(text, start, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<(i64, String)> {
        let entries = parse(text).expect("valid").labels.into_iter();
        entries.map(|(id, label)| (id, label.into())).collect()
    }

    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn lines_are_counted_from_1() {
        assert_eq!(labels("cat\ndog\n"), [(1, "cat".into()), (2, "dog".into())]);
        assert_eq!(labels(""), []);
    }

    #[test]
    fn a_first_line_for_the_background_makes_it_id_0() {
        for first in ["background", "Background", "__background__", "???", "N/A"] {
            assert_eq!(labels(&format!("{first}\ncat")), [(0, "background".into()), (1, "cat".into())], "{first}");
        }
    }

    #[test]
    fn placeholders_and_empty_lines_leave_gaps_and_shift_nothing() {
        assert_eq!(labels("a\n???\n\n  \nN/A\nbackground\n"), [(1, "a".into()), (6, "background".into())]);
        assert_eq!(labels("\na"), [(2, "a".into())]);
    }

    #[test]
    fn empty_lines_at_the_end_are_nothing() {
        assert_eq!(labels("a\n\n\r\n \n"), [(1, "a".into())]);
        assert_eq!(labels("\n\n"), []);
    }

    #[test]
    fn line_ends_and_space_around_a_label_are_not_part_of_it() {
        assert_eq!(
            labels("\tcat \r\nfire hydrant\r\nκουτί"),
            [(1, "cat".into()), (2, "fire hydrant".into()), (3, "κουτί".into())]
        );
    }

    #[test]
    fn a_second_column_is_refused() {
        assert_eq!(
            refused("cat\n  2\tdog"),
            "line 2, column 4: found the character U+0009 inside a label, expected nothing but \
             one label in every line, with line ends LF or CRLF"
        );
        assert!(refused("cat\rdog\r").starts_with("line 1, column 4: found the character U+000D"));
    }

    #[test]
    fn the_other_formats_are_recognised() {
        for pbtxt in ["item {\n  id: 1\n}", "\nitem{", "item: {", "item <", "item: ["] {
            assert!(refused(pbtxt).ends_with("name the file .pbtxt"), "{pbtxt}");
        }
        for json in ["{\"1\": \"cat\"}", "[\"cat\"]", "\n\n["] {
            assert!(refused(json).ends_with("name the file .json"), "{json}");
        }
        assert_eq!(labels("item"), [(1, "item".into())]);
        assert_eq!(labels("items {"), [(1, "items {".into())]);
    }
}
