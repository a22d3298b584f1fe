//! Files that are made to cost more than a picture of their size should.

use super::compression::code;
use super::rows::describe;
use super::*;

/// A grey picture in tiles of one pixel, all of which lie at the same place.
fn of_shared_tiles(side: u32, compression: u32, tile: &[u8]) -> Vec<u8> {
    let tiles = (side * side) as usize;
    let directory = |place: u32| {
        let tags = [
            (tag::WIDTH, vec![side]),
            (tag::HEIGHT, vec![side]),
            (tag::BITS_PER_SAMPLE, vec![8]),
            (tag::COMPRESSION, vec![compression]),
            (tag::PHOTOMETRIC, vec![1]),
            (tag::SAMPLES_PER_PIXEL, vec![1]),
            (tag::TILE_WIDTH, vec![1]),
            (tag::TILE_LENGTH, vec![1]),
            (tag::TILE_OFFSETS, vec![place; tiles]),
            (tag::TILE_BYTE_COUNTS, vec![tile.len() as u32; tiles]),
        ];
        describe(&tags, true)
    };
    let place = directory(0).len() as u32;
    [&directory(place), tile].concat()
}

fn refusal(file: &[u8]) -> String {
    let stored = header(file).expect("a header").stored;
    match decode(file, Scale { stored, least: stored }) {
        Err(Broken::Damaged(cause) | Broken::Unsupported(cause)) => cause.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is decoded"),
    }
}

/// A frame with a window of 8 MiB, and blocks of one value repeated 128 Ki times.
fn zeros_by_zstandard(blocks: usize) -> Vec<u8> {
    const WINDOW: u8 = (23 - 10) << 3;
    let block = |is_last: bool| {
        let [low, middle, high, _] = (u32::from(is_last) | 1 << 1 | (128 << 10) << 3).to_le_bytes();
        [low, middle, high, 0]
    };
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0, WINDOW];
    head.into_iter().chain((1..=blocks).flat_map(|index| block(index == blocks))).collect()
}

/// 65,536 times 8 MiB for as many pixels, where all of a window is decoded before anything of it is shown.
#[test]
fn a_frame_that_unpacks_to_more_than_its_tile_is_refused_at_the_first_block() {
    let file = of_shared_tiles(256, code::ZSTANDARD, &zeros_by_zstandard(70));
    assert_eq!(refusal(&file), "131072 bytes or more in a strip or tile of 1");
}

#[test]
fn more_tiles_than_a_picture_can_have_are_refused() {
    for compression in [code::NONE, code::ZSTANDARD, code::XZ] {
        let file = of_shared_tiles(512, compression, b"?");
        assert_eq!(refusal(&file), "262144 strips or tiles for 262144 pixels");
    }
}

/// Rows of blocks with more samples than 32 bits count.
#[test]
fn rows_that_are_too_long_to_be_counted_are_refused() {
    let tags = [
        (tag::WIDTH, vec![1 << 30]),
        (tag::HEIGHT, vec![1]),
        (tag::BITS_PER_SAMPLE, vec![8; 3]),
        (tag::COMPRESSION, vec![code::NONE]),
        (tag::PHOTOMETRIC, vec![6]),
        (tag::SAMPLES_PER_PIXEL, vec![3]),
        (tag::YCBCR_SUBSAMPLING, vec![1, 4]),
        (tag::ROWS_PER_STRIP, vec![u32::MAX]),
        (tag::STRIP_OFFSETS, vec![8]),
        (tag::STRIP_BYTE_COUNTS, vec![1]),
    ];
    assert_eq!(refusal_of_chunks(&describe(&tags, true)), "rows of 6442450944 samples in a strip or tile");
}

/// Before there is room for the pixels.
fn refusal_of_chunks(file: &[u8]) -> String {
    let directory = Directory::first(file);
    let form = Form::read(&directory, header(file).expect("a header").stored).expect("a form");
    match Chunks::open(&directory, &form) {
        Err(Broken::Unsupported(cause)) => cause.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is opened"),
    }
}

#[test]
fn strips_of_an_old_jpeg_have_no_more_rows_than_the_picture() {
    let name = "tests/photos/formats/close/tiff-old-jpeg-420.tables-strips.tif";
    let mut file = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file");
    let [low, high] = tag::ROWS_PER_STRIP.to_le_bytes();
    let short = [low, high, 3, 0, 1, 0, 0, 0];
    let at = file.windows(short.len()).position(|entry| entry == short).expect("the tag");
    file[at + 2] = 4;
    file[at + 8..at + 12].fill(0xff);
    let stored = header(&file).expect("a header").stored;
    assert!(decode(&file, Scale { stored, least: stored }).is_ok(), "what a strip has is not told by that tag alone");
}
