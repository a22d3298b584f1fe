//! Making a photo the size that a model takes.

use std::borrow::Cow;

use fast_image_resize::images::{CroppedImageMut, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::decoded::{Decoded, Extent};
use super::rgb::Rgb;
use crate::geometry::Letterbox;

/// The letterbox's window of the photo laid onto its canvas: resized to `content` at `place`, `pad` everywhere else.
///
/// Resizing is bilinear and antialiased: shrinking averages over all pixels that fall together, as Pillow does and
/// plain bilinear sampling does not. The pixels themselves are handed on as they came, lent or given, where nothing changes.
///
/// # Panics
///
/// Where the letterbox is of another photo, or its content reaches beyond the canvas, which no constructor of
/// [`Letterbox`] makes.
pub fn fit<'a>(photo: Cow<'a, Decoded>, letterbox: &Letterbox, pad: [u8; 3]) -> Cow<'a, Rgb> {
    let Letterbox { view, content, place, canvas } = *letterbox;
    assert_eq!(photo.photo(), view.photo, "the letterbox is of another photo");
    let window = photo.window(view);
    let is_at_scale = content == photo.pixels().size() && window == Extent::of(content);
    if is_at_scale && canvas == content {
        return match photo {
            Cow::Borrowed(photo) => Cow::Borrowed(photo.pixels()),
            Cow::Owned(photo) => Cow::Owned(photo.into_pixels()),
        };
    }
    let pixels = photo.pixels();
    let mut fitted = Rgb::filled(canvas, pad);
    if is_at_scale {
        let (from, to) = (content.width as usize, canvas.width as usize);
        let (left, top) = (place.0 as usize, place.1 as usize);
        let rows = fitted.pixels_mut().chunks_exact_mut(to).skip(top);
        for (row, source) in rows.zip(pixels.pixels().chunks_exact(from)) {
            row[left..left + from].copy_from_slice(source);
        }
        return Cow::Owned(fitted);
    }
    let source = ImageRef::new(pixels.size().width, pixels.size().height, pixels.data(), PixelType::U8x3)
        .expect("a picture has all of its bytes");
    let mut image = Image::from_vec_u8(canvas.width, canvas.height, fitted.into_data(), PixelType::U8x3)
        .expect("a picture has all of its bytes");
    let mut onto = CroppedImageMut::new(&mut image, place.0, place.1, content.width, content.height)
        .expect("the content of a letterbox lies on its canvas");
    let Extent { left, top, width, height } = window;
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(left, top, width, height);
    Resizer::new().resize(&source, &mut onto, &options).expect("both pictures are RGB8 and the window lies inside");
    Cow::Owned(Rgb::new(canvas, image.into_vec()).expect("resizing keeps the canvas"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{PixelBox, Size, View};
    use proptest::prelude::*;

    const PAD: [u8; 3] = [114, 115, 116];
    const RED: [u8; 3] = [250, 3, 9];

    #[test]
    fn a_window_shows_what_is_in_it_and_nothing_else() {
        let size = Size::new(40, 30);
        let mut photo = Rgb::filled(size, [0; 3]);
        for row in photo.pixels_mut().chunks_exact_mut(40).skip(10).take(10) {
            row[20..30].fill(RED);
        }
        let photo = Decoded::full(photo);
        let red = PixelBox { x_min: 20, y_min: 10, x_max: 30, y_max: 20 };
        let view = View::part(size, red).expect("inside");
        for letterbox in
            [Letterbox::shrunk(view, 100), Letterbox::shrunk(view, 5), Letterbox::inside(view, Size::new(16, 16))]
        {
            let fitted = fit(Cow::Borrowed(&photo), &letterbox, PAD);
            assert_eq!(fitted.size(), letterbox.canvas);
            // The outermost pixels may hold a little of what lies beside the window, as they do in every antialiased resize.
            let inner = |at: usize| (1..fitted.size().width as usize - 1).contains(&at);
            let rows = fitted.pixels().chunks_exact(fitted.size().width as usize).enumerate();
            let mut pixels = rows.filter(|(y, _)| inner(*y)).flat_map(|(_, row)| row.iter().enumerate());
            assert!(pixels.all(|(x, pixel)| !inner(x) || *pixel == RED), "{letterbox:?}");
        }
    }

    #[test]
    fn a_photo_that_fits_is_not_copied() {
        let photo = Decoded::full(Rgb::filled(Size::new(40, 30), RED));
        let letterbox = Letterbox::shrunk(View::whole(photo.photo()), 100);
        let lent = fit(Cow::Borrowed(&photo), &letterbox, PAD);
        assert!(matches!(lent, Cow::Borrowed(same) if std::ptr::eq(same, photo.pixels())));
        let address = photo.pixels().data().as_ptr();
        assert_eq!(fit(Cow::Owned(photo), &letterbox, PAD).data().as_ptr(), address, "given on");
    }

    #[test]
    fn padding_alone_leaves_every_pixel_as_it_is() {
        let photo = Decoded::full(Rgb::new(Size::new(2, 1), vec![1, 2, 3, 4, 5, 6]).unwrap());
        let size = photo.photo();
        let letterbox = Letterbox { canvas: Size::new(3, 2), ..Letterbox::untouched(size) };
        let fitted = fit(Cow::Borrowed(&photo), &letterbox, PAD);
        assert_eq!(fitted.pixels(), [[1, 2, 3], [4, 5, 6], PAD, PAD, PAD, PAD]);
    }

    #[test]
    fn a_photo_in_the_middle_has_padding_on_all_sides() {
        let photo = Decoded::full(Rgb::new(Size::new(2, 1), vec![1, 2, 3, 4, 5, 6]).unwrap());
        let view = View::whole(photo.photo());
        let same = Letterbox { place: (1, 1), canvas: Size::new(4, 3), ..Letterbox::untouched(photo.photo()) };
        let fitted = fit(Cow::Borrowed(&photo), &same, PAD);
        let rows: Vec<_> = fitted.pixels().chunks_exact(4).collect();
        assert_eq!(rows, [[PAD; 4], [PAD, [1, 2, 3], [4, 5, 6], PAD], [PAD; 4]]);
        let larger = Letterbox::centred(view, Size::new(4, 6));
        assert_eq!((larger.content, larger.place), (Size::new(4, 2), (0, 2)));
        let fitted = fit(Cow::Borrowed(&photo), &larger, PAD);
        let padded: Vec<_> = fitted.pixels().chunks_exact(4).map(|row| row == [PAD; 4]).collect();
        assert_eq!(padded, [true, true, false, false, true, true]);
    }

    #[test]
    fn stretching_covers_the_canvas() {
        let photo = Decoded::full(Rgb::filled(Size::new(40, 10), RED));
        let fitted =
            fit(Cow::Borrowed(&photo), &Letterbox::stretched(View::whole(photo.photo()), Size::new(16, 16)), PAD);
        assert!(fitted.pixels().iter().all(|pixel| *pixel == RED));
    }

    #[test]
    fn shrinking_averages_instead_of_dropping_pixels() {
        let stripes: Vec<u8> = (0..64 * 64).flat_map(|at| [if at % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let photo = Decoded::full(Rgb::new(Size::new(64, 64), stripes).unwrap());
        let fitted = fit(Cow::Borrowed(&photo), &Letterbox::inside(View::whole(photo.photo()), Size::new(8, 8)), PAD)
            .into_owned();
        assert!(fitted.data().iter().all(|value| (100..=155).contains(value)), "{:?}", fitted.data());
    }

    proptest! {
        #[test]
        fn the_content_is_covered_and_the_rest_is_padding(
            width in 1u32..300, height in 1u32..300, canvas_width in 1u32..200, canvas_height in 1u32..200,
        ) {
            let photo = Decoded::full(Rgb::filled(Size::new(width, height), RED));
            let letterbox = Letterbox::inside(View::whole(photo.photo()), Size::new(canvas_width, canvas_height));
            let fitted = fit(Cow::Borrowed(&photo), &letterbox, PAD);
            prop_assert_eq!(fitted.size(), letterbox.canvas);
            for (at, pixel) in fitted.pixels().iter().enumerate() {
                let (x, y) = (at as u32 % canvas_width, at as u32 / canvas_width);
                let inside = x < letterbox.content.width && y < letterbox.content.height;
                prop_assert_eq!(*pixel, if inside { RED } else { PAD }, "at {}, {}", x, y);
            }
        }
    }
}
