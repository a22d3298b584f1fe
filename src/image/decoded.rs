//! The pixels of a photo, perhaps fewer than the photo has.

use super::rgb::Rgb;
use crate::geometry::{Size, View};

/// A photo's pixels, upright, at its own scale or at a reduced one.
///
/// Its pixels are in neither of the frames of [`crate::geometry`], so they are given away only where they are the photo's
/// own ([`Decoded::into_photo`]); everything else sees them through [`super::fit::fit`].
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pixels: Rgb,
    photo: Size,
    extent: Extent,
}

/// Where a photo, or a window of it, lies on the decoded pixels, in pixels of these; edges may lie between two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Extent {
    /// All of a picture.
    pub(super) fn of(size: Size) -> Self {
        Self { left: 0.0, top: 0.0, width: size.width.into(), height: size.height.into() }
    }
}

impl Decoded {
    /// A photo at its own scale.
    pub fn full(pixels: Rgb) -> Self {
        let size = pixels.size();
        Self { pixels, photo: size, extent: Extent::of(size) }
    }

    /// A photo of the size `photo`, of which `extent` of the pixels is all.
    pub(super) fn reduced(pixels: Rgb, photo: Size, extent: Extent) -> Self {
        Self { pixels, photo, extent }
    }

    /// The size of the photo, which is the frame of all its boxes.
    pub fn photo(&self) -> Size {
        self.photo
    }

    /// The photo itself; `None` where it was decoded at a reduced scale.
    pub fn into_photo(self) -> Option<Rgb> {
        (self.pixels.size() == self.photo).then_some(self.pixels)
    }

    /// The pixels, whatever their scale.
    pub(super) fn into_pixels(self) -> Rgb {
        self.pixels
    }

    pub(super) fn pixels(&self) -> &Rgb {
        &self.pixels
    }

    /// Where a window of the photo lies on the pixels.
    pub(super) fn window(&self, view: View) -> Extent {
        let x = self.extent.width / f64::from(self.photo.width);
        let y = self.extent.height / f64::from(self.photo.height);
        let Size { width, height } = view.window.size();
        let left = self.extent.left + f64::from(view.window.x_min) * x;
        let top = self.extent.top + f64::from(view.window.y_min) * y;
        // Rounding must not push the window over the edge.
        let width = (f64::from(width) * x).min(f64::from(self.pixels.size().width) - left);
        let height = (f64::from(height) * y).min(f64::from(self.pixels.size().height) - top);
        Extent { left, top, width, height }
    }
}
