//! A decoded picture.

use std::fmt;

use crate::geometry::Size;

/// An upright picture: RGB, 8 bits a channel, row by row from the top, `3 * width * height` bytes, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    size: Size,
    data: Vec<u8>,
}

impl Rgb {
    /// A picture from its pixels; `None` where their number is not that of `size`, or `size` has no pixel.
    pub fn new(size: Size, data: Vec<u8>) -> Option<Self> {
        (size.pixels() > 0 && data.len() as u64 == size.pixels() * 3).then_some(Self { size, data })
    }

    /// A picture of a single color.
    ///
    /// # Panics
    ///
    /// Where `size` has no pixel.
    pub fn filled(size: Size, color: [u8; 3]) -> Self {
        let pixels = usize::try_from(size.pixels()).expect("a picture that is made fits into memory");
        Self::new(size, color.repeat(pixels)).expect("one color for every pixel")
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The bytes: R, G, B of the first pixel, of its right neighbour, and so on.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, given away.
    pub fn into_data(mut self) -> Vec<u8> {
        std::mem::take(&mut self.data)
    }

    /// The pixels, row by row.
    pub(super) fn pixels(&self) -> &[[u8; 3]] {
        self.data.as_chunks().0
    }

    /// The pixels, row by row, to be painted on.
    pub(super) fn pixels_mut(&mut self) -> &mut [[u8; 3]] {
        self.data.as_chunks_mut().0
    }
}

#[cfg(feature = "turbojpeg")]
impl Drop for Rgb {
    fn drop(&mut self) {
        super::spare::keep(std::mem::take(&mut self.data));
    }
}

impl fmt::Debug for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rgb").field("size", &self.size).finish_non_exhaustive()
    }
}
