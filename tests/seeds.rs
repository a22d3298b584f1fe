//! What the fuzz targets found worth keeping, once more: `fuzz/seeds/TARGET/`, replayed through the targets' own code.
//!
//! The seeds reach every branch that millions of executions have reached, and each input that once broke something is
//! among them. docs/FUZZING.md says how they come about.
//!
//! A binary of its own, so that `make test-turbojpeg` need not build all the others once more.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![allow(unreachable_pub, reason = "there is nobody outside of a test binary")]

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Every seed of a target; each must be handled without a panic, and keep what the target asserts.
fn replay(target: &str) {
    let (_, run) = targets::TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds the target's seeds", folder.display());
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        let held = std::panic::catch_unwind(|| run(&seed));
        assert!(held.is_ok(), "{} breaks {target}; the reason is above", file.display());
    }
}

macro_rules! seeds {
    ($($test:ident: $target:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            replay($target);
        })+

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(targets::TARGETS.map(|(name, _)| name), [$($target),+]);
        }
    };
}

seeds! {
    photos_are_decoded_or_refused: "image",
    forms_are_taken_apart_or_refused: "multipart",
    json_bodies_are_taken_apart_or_refused: "json",
    requests_are_answered: "request",
    signatures_of_a_hostile_model_server_are_understood_or_refused: "signature",
    answers_of_a_hostile_model_server_are_read_or_refused: "prediction",
    label_maps_are_read_or_refused: "labels",
    configuration_files_are_read_or_refused: "config",
}
