//! The cut-out picture of each detection.

use std::borrow::Cow;

use bytes::Bytes;

use crate::detect::select::Detection;
use crate::fault::Fault;
use crate::geometry::{Letterbox, Size, View};
use crate::image::encode::{self, Picture};
use crate::image::{Decoded, fit};

/// Detections that get one, the best first.
pub const MAX_CROPS: usize = 32;
/// Pixels of its longer side; a larger one is shrunk to it.
pub const MAX_CROP_SIDE: u32 = 1024;
/// Bytes of all files of a photo together; the first that does not fit and those after it are left out. Thirty-two JPEG
/// files of the largest size fit; PNG files of noise do not.
pub const MAX_CROP_BYTES: usize = 16 << 20;

/// A detection's part of the photo, as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crop {
    /// What kind of file it is.
    pub picture: Picture,
    /// Its size: that of the box, unless it was shrunk.
    pub size: Size,
    /// The file.
    pub file: Bytes,
}

/// Gives the best detections their crops; says how many went without for the bounds. Keeps a processor busy.
pub(super) fn cut(photo: &Decoded, detections: &mut [Detection], as_: Picture) -> Result<usize, Fault> {
    cut_within(photo, detections, as_, MAX_CROP_BYTES)
}

fn cut_within(photo: &Decoded, detections: &mut [Detection], as_: Picture, max_bytes: usize) -> Result<usize, Fault> {
    let (count, mut bytes, mut done) = (detections.len(), 0, 0);
    for found in detections.iter_mut().take(MAX_CROPS) {
        let view = View::part(photo.photo(), found.pixels)
            .ok_or_else(|| Fault::internal("a box lies outside of the decoded photo"))?;
        let letterbox = Letterbox::shrunk(view, MAX_CROP_SIDE);
        let file = encode::encode(&fit::fit(Cow::Borrowed(photo), &letterbox, [0; 3]), as_)?;
        bytes += file.len();
        if bytes > max_bytes {
            break;
        }
        found.crop = Some(Crop { picture: as_, size: letterbox.content, file });
        done += 1;
    }
    Ok(count - done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PixelBox;
    use crate::image::{Encoded, Limits, Rgb};

    const LIMITS: Limits = Limits { max_bytes: 1 << 26, max_pixels: 1 << 26 };

    fn photo(size: Size) -> Decoded {
        let channel = |index: u64| ((index * 2_654_435_761) >> 7) as u8;
        Decoded::full(Rgb::new(size, (0..size.pixels() * 3).map(channel).collect()).expect("every pixel"))
    }

    fn detection(x_min: u32, y_min: u32, x_max: u32, y_max: u32) -> Detection {
        let pixels = PixelBox { x_min, y_min, x_max, y_max };
        Detection {
            label: "cat".to_owned(),
            class_id: 17,
            score: 0.5,
            pixels,
            crop: None,
            segmentation: None,
            keypoints: None,
        }
    }

    fn decoded(crop: &Crop) -> Rgb {
        Encoded::inspect(crop.file.clone(), &LIMITS)
            .expect("a file")
            .decode()
            .expect("a picture")
            .into_photo()
            .expect("at its own scale")
    }

    #[test]
    fn a_crop_holds_exactly_the_pixels_of_its_box() {
        let photo = photo(Size::new(60, 40));
        let mut found = [detection(10, 5, 31, 18), detection(59, 39, 60, 40), detection(0, 0, 60, 40)];
        assert_eq!(cut(&photo, &mut found, Picture::Png).expect("cut"), 0);
        let pixels = photo.into_photo().expect("at its own scale");
        for found in &found {
            let crop = found.crop.as_ref().expect("a crop");
            assert_eq!(crop.size, found.pixels.size());
            let PixelBox { x_min, x_max, y_min, y_max } = found.pixels;
            let rows = (y_min..y_max)
                .flat_map(|y| &pixels.data()[(y * 60 + x_min) as usize * 3..(y * 60 + x_max) as usize * 3]);
            assert_eq!(decoded(crop).data(), rows.copied().collect::<Vec<_>>(), "{:?}", found.pixels);
        }
    }

    #[test]
    fn a_large_crop_is_shrunk_and_says_so() {
        let mut found = [detection(0, 0, 3000, 10)];
        cut(&photo(Size::new(3000, 10)), &mut found, Picture::Jpeg).expect("cut");
        let crop = found[0].crop.as_ref().expect("a crop");
        assert_eq!(crop.size, Size::new(1024, 3));
        assert_eq!(decoded(crop).size(), crop.size);
    }

    #[test]
    fn crops_are_bounded_in_number_and_in_bytes_and_the_best_come_first() {
        let photo = photo(Size::new(60, 40));
        let mut many = vec![detection(0, 0, 9, 9); MAX_CROPS + 3];
        assert_eq!(cut(&photo, &mut many, Picture::Jpeg).expect("cut"), 3);
        assert!(many[..MAX_CROPS].iter().all(|found| found.crop.is_some()));
        assert!(many[MAX_CROPS..].iter().all(|found| found.crop.is_none()));

        let mut few = vec![detection(0, 0, 60, 40); 3];
        assert_eq!(cut_within(&photo, &mut few, Picture::Png, 20_000).expect("cut"), 1, "7 kB each");
        assert_eq!(few.iter().map(|found| found.crop.is_some()).collect::<Vec<_>>(), [true, true, false]);
    }
}
