//! A file that may be a photo: refused, or upright pixels of the size that its header declares.

use std::borrow::Cow;

use bytes::Bytes;
use spotter::geometry::{Letterbox, Size, View};
use spotter::image::{Encoded, Limits, fit};

/// Small, so that a decode takes a fraction of a millisecond; how many pixels there are changes nothing else.
const LIMITS: Limits = Limits { max_bytes: 1 << 20, max_pixels: 1 << 16 };
const CANVAS: Size = Size::new(48, 64);

/// Reads the file as an upload is read.
pub fn run(data: &[u8]) {
    let Ok(encoded) = Encoded::inspect(Bytes::copy_from_slice(data), &LIMITS) else { return };
    let size = encoded.photo();
    assert!((1..=LIMITS.max_pixels).contains(&size.pixels()), "{encoded:?}");
    assert!((1..=8).contains(&encoded.orientation()), "{encoded:?}");
    // Runs on any bytes that the header check lets through, whether or not they decode.
    let _ = encoded.untouched();

    let letterbox = Letterbox::inside(View::whole(size), CANVAS);
    let full = encoded.decode();
    let least = encoded.decode_at_least(letterbox.least());
    match (&full, &least) {
        (Ok(full), Ok(least)) => {
            assert_eq!(full.photo(), size);
            assert_eq!(least.photo(), size);
        }
        (Err(full), Err(least)) => assert_eq!(full.code(), least.code(), "refused otherwise at another scale"),
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => panic!("refused at one scale alone: {refused}, {encoded:?}"),
    }
    for decoded in [full, least].into_iter().flatten() {
        assert_eq!(fit::fit(Cow::Owned(decoded), &letterbox, [114; 3]).size(), CANVAS);
    }

    let stored = encoded.as_stored();
    if let Ok(decoded) = stored.decode() {
        let photo = decoded.into_photo().expect("in full");
        assert_eq!(photo.size(), stored.photo());
        assert_eq!(photo.data().len() as u64, 3 * stored.photo().pixels());
    }
}
