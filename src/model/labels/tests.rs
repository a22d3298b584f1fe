use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::*;

fn map(labels: &str) -> LabelMap {
    LabelMap::parse(LabelFormat::Txt, labels.as_bytes()).expect("valid")
}

fn ids(map: &LabelMap, label: &str) -> Vec<ClassId> {
    map.ids(label).collect()
}

const NONE: [ClassId; 0] = [];

#[test]
fn coco_has_80_classes_and_ten_gaps() {
    let coco = LabelMap::coco();
    assert_eq!(coco.len(), 80);
    assert_eq!(coco.iter().next(), Some((1, "person")));
    assert_eq!(coco.iter().last(), Some((90, "toothbrush")));
    let gaps: Vec<_> = (1..=90).filter(|id| coco.name(*id).starts_with(UNNAMED)).collect();
    assert_eq!(gaps, [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);
    for (id, label) in [(13, "stop sign"), (17, "cat"), (44, "bottle"), (67, "dining table"), (84, "book")] {
        assert_eq!(coco.name(id), label);
    }
}

#[test]
fn an_id_without_a_label_is_called_by_its_number() {
    let map = map("cat\n???\ndog");
    assert_eq!(map.name(2), "class_2");
    assert_eq!(map.name(3), "dog");
    assert_eq!(map.name(17), "class_17");
    assert_eq!(map.name(0), "class_0");
    assert_eq!(map.name(-1), "class_-1");
    assert_eq!(map.name(ClassId::MAX), "class_9223372036854775807");
    assert_eq!(LabelMap::empty().name(1), "class_1");
    assert!(LabelMap::empty().is_empty());
}

#[test]
fn classes_counted_without_gaps_get_their_ids() {
    let coco = LabelMap::coco();
    assert_eq!(coco.nth(0), Some(1));
    assert_eq!(coco.nth(10), Some(11));
    assert_eq!(coco.nth(11), Some(13));
    assert_eq!(coco.nth(79), Some(90));
    assert_eq!(coco.nth(80), None);
    assert_eq!(LabelMap::empty().nth(0), None);
}

#[test]
fn the_background_has_a_name_but_is_not_a_class() {
    let map = map("background\ncat");
    assert_eq!(map.name(0), "background");
    assert_eq!(ids(&map, "background"), [0]);
    assert_eq!(map.nth(0), Some(1));
    assert_eq!(map.len(), 1);
    assert_eq!(map.iter().collect::<Vec<_>>(), [(1, "cat")]);
    assert_eq!(map.closest("backgroun"), None);
}

#[test]
fn ids_prefer_the_exact_label() {
    let map = map("cat\nCat\ncat\nÉTÉ");
    assert_eq!(ids(&map, "cat"), [1, 3]);
    assert_eq!(ids(&map, "Cat"), [2]);
    assert_eq!(ids(&map, "CAT"), [1, 2, 3]);
    assert_eq!(ids(&map, "été"), [4]);
    assert_eq!(ids(&map, "ca"), NONE);
    assert_eq!(ids(&map, ""), NONE);
}

#[test]
fn every_name_leads_back_to_its_id() {
    let map = map("background\ncat\n???\nclass_9\nclass_6\ndog");
    for id in [-3, 0, 1, 2, 3, 4, 5, 6, 7, 9, ClassId::MIN, ClassId::MAX] {
        assert!(ids(&map, &map.name(id)).contains(&id), "{id}");
    }
    assert_eq!(ids(&map, "class_1"), NONE, "it has another name");
    for other_spelling in ["class_007", "class_+7", "class_", "class_7 ", "7"] {
        assert_eq!(ids(&map, other_spelling), NONE, "{other_spelling}");
    }
}

#[test]
fn a_label_with_a_few_typing_errors_is_found() {
    let coco = LabelMap::coco();
    for (typed, meant) in [
        ("persn", Some("person")),
        ("PERSON", Some("person")),
        ("cta", Some("cat")),
        ("dinning tabel", Some("dining table")),
        ("trafic light", Some("traffic light")),
        ("unicorn", None),
        ("", None),
    ] {
        assert_eq!(coco.closest(typed), meant, "{typed}");
    }
    assert_eq!(coco.closest(&"a".repeat(1_000_000)), None);
    assert_eq!(LabelMap::empty().closest("cat"), None);
}

#[test]
fn only_utf8_is_read() {
    for (bytes, expected) in [
        (
            &b"item {\n id: 1 name: 'caf\xe9' }"[..],
            "line 2, column 18: found the byte 0xE9, which is not UTF-8; save the file as UTF-8",
        ),
        (b"\xff\xfec\0a\0t\0", "line 1, column 1: the file is in UTF-16, expected UTF-8; save it as UTF-8"),
        (b"\xfe\xff\0c\0a\0t", "line 1, column 1: the file is in UTF-16, expected UTF-8; save it as UTF-8"),
        (
            b"c\0a\0t\0",
            "line 1, column 2: found a NUL character: the file is in UTF-16 or it is not text; save it as UTF-8",
        ),
    ] {
        for format in [LabelFormat::Pbtxt, LabelFormat::Txt, LabelFormat::Json] {
            assert_eq!(LabelMap::parse(format, bytes).expect_err(expected).to_string(), expected, "{format:?}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_refused_only_where_protobuf_refuses_it() {
    let cat = map("cat");
    assert_eq!(LabelMap::parse(LabelFormat::Txt, b"\xef\xbb\xbfcat"), Ok(cat.clone()));
    assert_eq!(LabelMap::parse(LabelFormat::Json, b"\xef\xbb\xbf[\"cat\"]"), Ok(cat));
    let refused = LabelMap::parse(LabelFormat::Pbtxt, b"\xef\xbb\xbfitem { id: 1 }").expect_err("refused");
    assert!(refused.message.contains("BOM"), "{refused}");
}

#[test]
fn the_extension_says_the_format() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in
        [("a.pbtxt", "item { id: 1 name: 'cat' }"), ("a.txt", "cat"), ("a.json", "[\"cat\"]"), ("A.TXT", "cat")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        assert_eq!(LabelMap::load(&path).expect(name), map("cat"), "{name}");
    }
    for name in ["labels.csv", "labels", ".txt", ""] {
        let refused = LabelMap::load(Path::new(name)).expect_err(name).to_string();
        for part in [name, ".pbtxt", ".txt", ".json"] {
            assert!(refused.contains(part), "{refused}");
        }
    }
}

#[test]
fn load_names_the_file_and_the_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| -> PathBuf { folder.path().join(name) };

    let missing = LabelMap::load(&path("missing.txt")).expect_err("refused");
    assert!(missing.to_string().contains("missing.txt"), "{missing}");
    assert!(missing.source().is_some());

    std::fs::write(path("broken.pbtxt"), "item { id: x }").expect("written");
    let broken = LabelMap::load(&path("broken.pbtxt")).expect_err("refused");
    assert!(broken.to_string().contains("broken.pbtxt"), "{broken}");
    let cause = broken.source().expect("says what is wrong").to_string();
    assert!(cause.starts_with("line 1, column 12: found the word `x`"), "{cause}");

    let model = File::create(path("model.txt")).expect("created");
    model.set_len(MAX_FILE_BYTES + 1).expect("extended");
    let too_large = LabelMap::load(&path("model.txt")).expect_err("refused");
    assert!(matches!(too_large, LoadError::TooLarge(_)), "{too_large}");
    assert!(too_large.to_string().contains("16 MiB"), "{too_large}");
}

/// Bends valid files in a fixed pseudo-random way. Nothing may panic, and what is accepted must keep the promises.
#[test]
fn no_bytes_make_it_panic() {
    const SEEDS: [&[u8]; 6] = [
        b"item { name: \"/m/01g317\" id: 1 display_name: \"p\\303\\251\" keypoints { id: 0 label: 'x' } }\n",
        b"# c\nitem: [<id: 0x1F, name: 'a' \"b\">, {id: 010; [x.y]: -1.5 name: '\\u00e9'}] item { id: 0 name: '???' }",
        b"{\"1\": \"person\", \"2\": null, \"30\": \"b\\u00e9\", \"0\": \"background\"}",
        b"[{\"id\": 1, \"name\": \"a\", \"display_name\": \"b\"}, {\"id\": 7, \"x\": [[{}]]}]",
        b"[\"???\", \"person\", null, \"b\"]",
        "background\nperson\r\n???\n\nκουτί\n".as_bytes(),
    ];
    const PIECES: [&[u8]; 24] = [
        b"item",
        b"{",
        b"}",
        b"<",
        b">",
        b"[",
        b"]",
        b":",
        b",",
        b";",
        b"\"",
        b"'",
        b"\\",
        b"#",
        b"\n",
        b"id",
        b"name",
        b"-",
        b"0",
        b"9999999999",
        b"\xef\xbb\xbf",
        b"\xe2\x80\x9c",
        b"\xff",
        b"\0",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };

    let mut accepted = 0;
    for _ in 0..30_000 {
        let mut bytes = SEEDS[random(SEEDS.len())].to_vec();
        for _ in 0..random(6) {
            let at = random(bytes.len() + 1);
            let end = at + random(bytes.len() - at + 1).min(8);
            match random(4) {
                0 => drop(bytes.splice(at..at, PIECES[random(PIECES.len())].iter().copied())),
                1 => drop(bytes.splice(at..end, PIECES[random(PIECES.len())].iter().copied())),
                2 => drop(bytes.drain(at..end)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        for format in [LabelFormat::Pbtxt, LabelFormat::Txt, LabelFormat::Json] {
            match LabelMap::parse(format, &bytes) {
                Ok(map) => {
                    accepted += 1;
                    assert_promises(&map);
                }
                Err(error) => {
                    let lines = bytes.split(|byte| *byte == b'\n').count();
                    assert!((1..=lines).contains(&error.line), "{error}\n{}", bytes.escape_ascii());
                    assert!((1..=bytes.len() + 1).contains(&error.column), "{error}\n{}", bytes.escape_ascii());
                }
            }
        }
    }
    // A check of the check: most of it must not end at the first brace.
    assert!(accepted > 10_000, "{accepted}");
}

fn assert_promises(map: &LabelMap) {
    assert!(map.entries.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(map.iter().count(), map.len());
    for (index, (id, label)) in map.iter().enumerate() {
        assert!((1..=ClassId::from(i32::MAX)).contains(&id), "{id}");
        assert_eq!(map.nth(index), Some(id));
        assert_eq!(map.name(id), label);
        assert!(map.ids(label).any(|found| found == id), "{label}");
    }
    assert_eq!(map.nth(map.len()), None);
}
