use super::parse;

fn labels(text: &str) -> Vec<(i64, String)> {
    let entries = parse(text).unwrap_or_else(|error| panic!("{text}\n{error}")).labels.into_iter();
    entries.map(|(id, label)| (id, label.into())).collect()
}

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

/// The text of a label map with one item.
fn item(fields: &str) -> String {
    format!("item {{ {fields} }}")
}

/// What protobuf 7.36 in Python was measured to accept, one oddity a row.
#[test]
fn what_protobuf_accepts_is_accepted() {
    let cat = || vec![(1, "cat".to_owned())];
    let cat_and_dog = || vec![(1, "cat".to_owned()), (2, "dog".to_owned())];
    for (oddity, text, expected) in [
        ("double quotes", r#"item { id: 1 name: "cat" }"#, cat()),
        ("single quotes", "item { id: 1 name: 'cat' }", cat()),
        ("the other quote inside", r#"item { id: 1 name: '"' }"#, vec![(1, "\"".into())]),
        ("a colon before the brace", "item: { id: 1 name: 'cat' }", cat()),
        ("angle brackets", "item < id: 1 name: 'cat' >", cat()),
        ("a colon and angle brackets", "item: < id: 1 name: 'cat' >", cat()),
        ("a list", "item: [{id: 1 name: 'cat'}, {id: 2 name: 'dog'}]", cat_and_dog()),
        ("a list without a colon", "item [<id: 1 name: 'cat'>]", cat()),
        ("an empty list", "item: []", vec![]),
        ("commas after fields", "item { id: 1, name: 'cat', }", cat()),
        ("semicolons after fields", "item { id: 1; name: 'cat'; };", cat()),
        ("a comma between items", "item {id: 1 name: 'cat'}, item {id: 2 name: 'dog'}", cat_and_dog()),
        ("comments", "# all\nitem { # one\n id: 1 #2\n name: 'cat' }#", cat()),
        ("a comment sign in a string", "item { id: 1 name: '#' }", vec![(1, "#".into())]),
        ("CRLF", "item {\r\n  id: 1\r\n  name: 'cat'\r\n}\r\n", cat()),
        ("no-break spaces", "item\u{a0}{ id: 1\u{a0}name: 'cat' }", cat()),
        ("adjacent strings", "item { id: 1 name: \"c\" 'a'\n  # comment\n \"t\" }", cat()),
        ("escapes", r#"item { id: 1 name: "\n\"\303\251\x41" }"#, vec![(1, "\n\"éA".into())]),
        ("a character over two strings", r"item { id: 1 name: '\303' '\251' }", vec![(1, "é".into())]),
        ("a hexadecimal id", item("id: 0x10 name: 'cat'").as_str(), vec![(16, "cat".into())]),
        ("an octal id", item("id: 010 name: 'cat'").as_str(), vec![(8, "cat".into())]),
        ("raw UTF-8", "item { id: 1 name: '猫' }", vec![(1, "猫".into())]),
        ("several items in a line", "item{id:1 name:'cat'}item{id:2 name:'dog'}", cat_and_dog()),
        ("a second id", "item { id: 2 id: 1 name: 'cat' }", cat()),
        ("a second name", "item { id: 1 name: 'dog' name: 'cat' }", cat()),
        ("all fields twice, but the same", "item { id: 1 name: 'cat' id: 1 name: 'cat' }", cat()),
        ("an empty file", "", vec![]),
        ("nothing but a comment", "# no classes yet", vec![]),
        ("the greatest id", item("id: 2147483647 name: 'a'").as_str(), vec![(2_147_483_647, "a".into())]),
    ] {
        assert_eq!(labels(text), expected, "{oddity}");
    }
}

/// What protobuf 7.36 in Python was measured to refuse, and what its tokenizer refuses besides.
#[test]
fn what_protobuf_refuses_is_refused_with_the_way_out() {
    for (text, expected) in [
        (
            "\u{feff}item { id: 1 name: 'cat' }",
            "line 1, column 1: found a byte order mark (BOM, the bytes EF BB BF), which protobuf refuses; save the \
             file as UTF-8 without BOM",
        ),
        (
            "item {\n  id: 1\n  name: “cat”\n}",
            "line 3, column 9: found the typographic quote “ (U+201C), expected a string in quotes such as \"cat\"; \
             word processors and web pages put such quotes in; type a plain \" or ' instead",
        ),
        (
            "item { name: ‘toy’ }",
            "line 1, column 14: found the typographic quote ‘ (U+2018), expected a string in quotes such as \"cat\"; \
             word processors and web pages put such quotes in; type a plain \" or ' instead",
        ),
        (
            "item { name: \"cat”\n id: 1 }",
            "line 1, column 14: found a string without its closing \" on the same line, expected a string in quotes \
             such as \"cat\"; word processors and web pages put such quotes in; type a plain \" or ' instead",
        ),
        (
            "item {\n name: 'hot\n dog' }",
            "line 2, column 8: found a string without its closing ' on the same line, expected a string in quotes such \
             as \"cat\"; close it, and write `\\n` for a line break inside a label",
        ),
        (
            "item = {\n id: 1 }",
            "line 1, column 6: found `=`, expected `{`; a label map has `:` between a name and its value",
        ),
        (
            "item { id = 1 }",
            "line 1, column 11: found `=`, expected `:` and a value; a label map has `:` between a name and its value",
        ),
        (
            "item { id: 1.0 }",
            "line 1, column 12: found the number `1.0`, expected a whole number up to 2147483647, without quotes",
        ),
        (
            "item { id: \"1\" }",
            "line 1, column 12: found the string \"1\", expected a whole number up to 2147483647, without quotes",
        ),
        (
            "item { id: 08 }",
            "line 1, column 12: found the number `08`, expected a whole number; a leading 0 makes it octal, remove \
             that",
        ),
        (
            "item { id: 1 name: house }",
            "line 1, column 20: found the word `house`, expected a string in quotes such as \"cat\"",
        ),
        ("item { id 1 }", "line 1, column 11: found the number `1`, expected `:` and a value"),
        ("item: 5", "line 1, column 7: found the number `5`, expected `{`"),
        (
            "item {\n  id: 1\n",
            "line 3, column 1: found the end of the file, expected the name of a field, or `}` for the bracket that \
             was opened on line 1",
        ),
        (
            "item { id: 1 >",
            "line 1, column 14: found `>`, expected the name of a field, or `}` for the bracket that was opened on \
             line 1",
        ),
        ("item { id: 1 }\n}", "line 2, column 1: found `}`, expected the name of a field"),
        ("item: [{ id: 1 name: 'a' } {", "line 1, column 28: found `{`, expected `,` or `]` in this list"),
        (
            r"item { name: '\351' }",
            "line 1, column 14: the escapes of this string do not make UTF-8; write the characters themselves",
        ),
        (
            "item {\u{200b} id: 1 }",
            "line 1, column 7: found the character U+200B, expected the name of a field, or `}` for the bracket that \
             was opened on line 1; it cannot be seen; delete it",
        ),
    ] {
        assert_eq!(refused(text), expected, "{text}");
    }
}

/// protobuf in Python takes these as they come, its specification and C++ do not.
#[test]
fn where_protobuf_disagrees_with_itself_the_specification_is_followed() {
    assert_eq!(
        refused(r"item { id: 1 name: 'C:\data' }"),
        "line 1, column 23: found the escape `\\d`, which is not valid here; write `\\\\` for a backslash"
    );
    for id in ["+1", "1_000", "0b1", "0o7"] {
        refused(&item(&format!("id: {id} name: 'cat'")));
    }
}

#[test]
fn what_protobuf_refuses_is_refused() {
    for text in [
        ",",
        "item { , id: 1 }",
        "item { id: 1,, name: 'a' }",
        "item { id: 2147483648 name: 'a' }",
        "item { id: 1 name: ['a'] }",
        "item { id: [1] name: 'a' }",
        "item: [{id: 1 name: 'a'},]",
        "item: [{id: 1 name: 'a'}; {id: 2 name: 'b'}]",
        "item { id: 1 name: 'a\\",
        "item { id: 1 name: 'a\\\n' }",
        "item { id: 1e0 name: 'a' }",
        "item { id: one name: 'a' }",
        "item { id: 1 name: }",
        "item",
        "item {",
        "cat\ndog\n",
        "{\"1\": \"cat\"}",
    ] {
        refused(text);
    }
}

#[test]
fn the_name_for_people_wins_over_the_name_for_machines() {
    for (fields, label) in [
        ("id: 1 name: '/m/01g317' display_name: 'person'", "person"),
        ("id: 1 display_name: 'person' name: '/m/01g317'", "person"),
        ("id: 1 name: '/m/01g317'", "/m/01g317"),
        ("id: 1 name: 'NA'", "NA"),
        ("id: 1 name: 'cat' display_name: ''", "cat"),
        ("id: 1", "class_1"),
        ("id: 1 name: ''", "class_1"),
    ] {
        assert_eq!(labels(&item(fields)), [(1, label.into())], "{fields}");
    }
}

#[test]
fn the_first_item_wins_over_a_later_one_with_its_id() {
    let text = "item { id: 2 name: 'a' } item { id: 1 name: 'b' } item { id: 2 name: 'c' }";
    assert_eq!(labels(text), [(1, "b".into()), (2, "a".into())]);
}

#[test]
fn id_0_is_the_background_and_nothing_else() {
    for fields in [
        "id: 0 name: 'background'",
        "id: 0 name: 'none' display_name: 'background'",
        "id: 0 name: 'background' display_name: 'none'",
        "name: 'background'",
        "id: 0 name: '???'",
    ] {
        assert_eq!(labels(&item(fields)), [(0, "background".into())], "{fields}");
    }
    assert_eq!(
        refused("item { name: 'cat'\n id: 0 }"),
        "line 2, column 2: found \"cat\" with the id 0, which is reserved for \"background\"; number the classes from 1"
    );
    assert_eq!(
        refused("item {\n name: 'cat'\n}"),
        "line 1, column 1: found an item without id, which protobuf takes for 0, and 0 is reserved for \"background\"; \
         add an id, from 1"
    );
    refused("item { id: 0 }");
    refused("item {}");
}

#[test]
fn a_negative_id_is_refused() {
    assert_eq!(refused("item { id: -1 name: 'cat' }"), "line 1, column 8: found the id -1, expected a number from 1");
}

#[test]
fn unknown_fields_are_skipped_whatever_they_hold() {
    for unknown in [
        "frequency: COMMON",
        "frequency: 'common' \"ly\"",
        "score: 1.5f score: -.5e-3 score: - 1 score: -inf score: 0x1F score: nan",
        "ancestor_ids: [1, 2, 3] ancestor_ids: []",
        "names: ['a', \"b\" 'c']",
        "keypoints { id: 0 label: 'nose' } keypoints: < id: 1 >",
        "keypoints: [{ id: 0 }, < id: 1 >]",
        "keypoints [{}]",
        "a { b { c: [{ d <> }] name: 'not this one' id: 7 } }",
        "[my.extension]: 5",
        "[my.extension] { x: 1 }",
        "any { [type.googleapis.com/my.Type] { x: 1 } }",
        "12: 'by number'",
        "bytes: '\\377\\d'",
        "item_name: 'x'",
    ] {
        let inside = item(&format!("{unknown}, id: 1; {unknown}; name: 'cat' {unknown}"));
        assert_eq!(labels(&inside), [(1, "cat".into())], "{unknown}");
        let outside = format!("{unknown} {inside} {unknown}");
        assert_eq!(labels(&outside), [(1, "cat".into())], "{unknown}");
    }
}

#[test]
fn unknown_fields_must_be_well_formed() {
    for unknown in [
        "x",
        "x:",
        "x 1",
        "x 'a'",
        "x: 12abc",
        "x: + 1",
        "x: [1,]",
        "x: [1 2]",
        "x: [[1]]",
        "x [1]",
        "x { y: 1 >",
        "x: \"a",
        "x: “a”",
        "x: -",
        "[my.extension: 1",
        "[my{extension]: 1",
        "[",
        "1.5: 1",
    ] {
        refused(&item(&format!("id: 1 name: 'cat' {unknown}")));
    }
}

/// tensorflow/models#8632, "model detects only 1 class": three classes in one pair of braces. protobuf keeps the last.
#[test]
fn two_classes_in_one_pair_of_braces_are_refused() {
    for (text, place) in [
        ("item {\n id: 1\n name: 'cat'\n id: 2\n name: 'dog'\n}", "line 4, column 2"),
        ("item {\n name: 'cat' id: 1\n display_name: 'a' display_name: 'b' id: 2 id: 3 }", "line 3, column 38"),
    ] {
        let refused = refused(text);
        assert_eq!(
            refused,
            format!(
                "{place}: found a second id and a second name in one item, whose first id 1 is on line 2; give every \
                 class its own `item {{ }}`"
            )
        );
    }
}

#[test]
fn an_item_in_an_item_is_a_forgotten_brace() {
    assert_eq!(
        refused("item {\n id: 1\n name: 'cat'\nitem {\n id: 2\n name: 'dog'\n}}"),
        "line 4, column 1: found an item inside the item of line 1; close that one with `}` first"
    );
}

#[test]
fn a_known_field_in_other_letters_is_refused() {
    assert_eq!(refused("Item { id: 1 }"), "line 1, column 1: found the field `Item`, expected `item`");
    for field in ["ID: 1", "Name: 'a'", "displayName: 'a'", "displayname: 'a'", "_id: 1"] {
        refused(&item(&format!("id: 1 name: 'cat' {field}")));
    }
}

#[test]
fn another_kind_of_file_is_refused() {
    assert_eq!(
        refused("model {\n  ssd {\n    num_classes: 90\n  }\n}\n"),
        "line 1, column 1: found the field `model`, but no item in the whole file; a label map consists of `item { \
         id: 1 name: \"person\" }`"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "x{".repeat(depth), "}".repeat(depth));
    let item = |depth| format!("item {{ id: 1 name: 'cat' }} {}", nested(depth));
    assert_eq!(labels(&item(100)), [(1, "cat".into())]);
    assert_eq!(refused(&item(101)), "line 1, column 229: messages are nested more than 100 deep");

    refused(&"x{".repeat(1_000_000));
    refused(&"x:[{".repeat(1_000_000));
    refused(&"item{".repeat(1_000_000));
    refused(&"[".repeat(1_000_000));
}

#[test]
fn keypoints_have_names_by_class_and_number() {
    let text = r#"
        item {
          id: 1
          name: "face"
          keypoints { id: 0 label: "left_eye" }
          keypoints { id: 1 label: "right_eye" }
          keypoints { id: 1 label: "another" }
          keypoints { label: "first again" }
          keypoints { id: 3 label: "" }
          keypoints { id: -1 label: "below" }
          keypoints { id: 4 note: "unknown fields are skipped" }
        }
        item { keypoints: [{ id: 0 label: 'nose' }, { id: 2 label: 'tail' }] id: 2 name: "dog" }
    "#;
    let keypoints = parse(text).expect("valid").keypoints;
    let found: Vec<_> = keypoints.iter().map(|(key, name)| (*key, &**name)).collect();
    assert_eq!(found, [((1, 0), "left_eye"), ((1, 1), "right_eye"), ((2, 0), "nose"), ((2, 2), "tail")]);
    assert_eq!(
        refused("item {\n  id: 1\n  keypoints { Label: 'eye' }\n}"),
        "line 3, column 15: found the field `Label`, expected `label`"
    );
}
