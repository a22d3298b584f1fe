//! Rectangles on a picture.

use crate::geometry::Size;
use crate::image::Rgb;

/// A rectangle in pixels, right and lower edge exclusive; it may reach beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) right: i64,
    pub(super) bottom: i64,
}

impl Area {
    /// The rectangle with its edges moved outwards.
    pub(super) fn grown(self, by: i64) -> Self {
        Self { left: self.left - by, top: self.top - by, right: self.right + by, bottom: self.bottom + by }
    }

    /// What both cover; may be empty.
    fn common(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    /// How many pixels both cover.
    pub(super) fn overlap(self, other: Self) -> i64 {
        let common = self.common(other);
        (common.right - common.left).max(0) * (common.bottom - common.top).max(0)
    }

    /// The four sides of a frame: whole upper and lower side, and what is left of the others.
    fn sides(self, width: i64) -> [Self; 4] {
        let Self { left, top, right, bottom } = self;
        // A box thinner than two lines is filled, and no pixel of it twice.
        let upper = (top + width).min(bottom);
        let lower = (bottom - width).max(upper);
        let inner_left = (left + width).min(right);
        let inner_right = (right - width).max(inner_left);
        [
            Self { left, top, right, bottom: upper },
            Self { left, top: lower, right, bottom },
            Self { left, top: upper, right: inner_left, bottom: lower },
            Self { left: inner_right, top: upper, right, bottom: lower },
        ]
    }
}

/// The whole picture.
pub(super) fn whole(size: Size) -> Area {
    Area { left: 0, top: 0, right: size.width.into(), bottom: size.height.into() }
}

/// Paints a rectangle.
pub(super) fn fill(photo: &mut Rgb, area: Area, color: [u8; 3]) {
    change(photo, area, |pixel| *pixel = color);
}

/// Paints a frame whose line lies inside the rectangle.
pub(super) fn fill_frame(photo: &mut Rgb, area: Area, width: i64, color: [u8; 3]) {
    for side in area.sides(width) {
        fill(photo, side, color);
    }
}

/// Darkens a frame by half.
pub(super) fn shade_frame(photo: &mut Rgb, area: Area, width: i64) {
    for side in area.sides(width) {
        change(photo, side, |pixel| *pixel = pixel.map(|channel| channel / 2));
    }
}

/// Mixes a color into one pixel; `share` is 0..1. Beside the picture nothing happens.
pub(super) fn blend(photo: &mut Rgb, x: i64, y: i64, color: [u8; 3], share: f32) {
    let area = Area { left: x, top: y, right: x + 1, bottom: y + 1 };
    change(photo, area, |pixel| {
        for (channel, ink) in pixel.iter_mut().zip(color) {
            let mixed = f32::from(*channel) + (f32::from(ink) - f32::from(*channel)) * share.clamp(0.0, 1.0);
            *channel = mixed.round() as u8;
        }
    });
}

fn change(photo: &mut Rgb, area: Area, paint: impl Fn(&mut [u8; 3])) {
    let Area { left, top, right, bottom } = area.common(whole(photo.size()));
    if left >= right {
        return;
    }
    let width = photo.size().width as usize;
    for y in top..bottom {
        let row = y as usize * width;
        photo.pixels_mut()[row + left as usize..row + right as usize].iter_mut().for_each(&paint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shading_a_frame_touches_no_pixel_twice() {
        for (right, bottom) in [(9, 9), (9, 3), (2, 9), (1, 1), (4, 4)] {
            let mut photo = Rgb::filled(Size::new(12, 12), [200; 3]);
            shade_frame(&mut photo, Area { left: 0, top: 0, right, bottom }, 2);
            assert!(photo.data().iter().all(|value| *value == 200 || *value == 100), "{right} x {bottom}");
            assert_eq!(photo.pixels()[0], [100; 3]);
        }
    }

    #[test]
    fn what_lies_beside_the_picture_is_left_out() {
        let mut photo = Rgb::filled(Size::new(4, 4), [0; 3]);
        fill(&mut photo, Area { left: -9, top: 2, right: 99, bottom: 99 }, [255; 3]);
        fill(&mut photo, Area { left: 4, top: 0, right: 9, bottom: 1 }, [255; 3]);
        fill(&mut photo, Area { left: 3, top: 0, right: 1, bottom: 1 }, [255; 3]);
        let white = photo.pixels().iter().filter(|pixel| **pixel == [255; 3]).count();
        assert_eq!(white, 8);
        blend(&mut photo, -1, 0, [9; 3], 1.0);
        blend(&mut photo, 0, 4, [9; 3], 1.0);
    }
}
