//! Sizes and boxes, each in a named frame, and the mapping between the frames.
//!
//! Two frames exist. [`Photo`]: pixels of the photo as a person sees it, after the EXIF orientation is applied.
//! [`Canvas`]: pixels of the picture that the model was given. A box or a point cannot leave its frame but through a
//! [`Letterbox`], so a box of the model never reaches a client by accident.

use std::fmt;
use std::marker::PhantomData;

/// Width and height in pixels; neither is zero where a picture is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Size {
    /// A size from its sides.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// How many pixels the picture has.
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// The size of the same picture turned by a quarter.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self::new(self.height, self.width)
    }

    /// The largest size of the same aspect that fits into `bound`; each side is at least 1.
    #[must_use]
    pub fn fit_into(self, bound: Self) -> Self {
        let ratio =
            f64::min(f64::from(bound.width) / f64::from(self.width), f64::from(bound.height) / f64::from(self.height));
        let side = |length: u32, bound: u32| ((f64::from(length) * ratio).round() as u32).clamp(1, bound);
        Self::new(side(self.width, bound.width), side(self.height, bound.height))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

/// The frame of the photo as a person sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Photo {}

/// The frame of the picture that the model was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Canvas {}

/// A place in pixels of the frame `F`; it may lie between pixels and outside the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point<F> {
    /// From the left.
    pub x: f32,
    /// From above.
    pub y: f32,
    frame: PhantomData<F>,
}

impl<F> Point<F> {
    /// A place from its distances: from the left, from above.
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y, frame: PhantomData }
    }

    /// Whether both distances are numbers.
    pub fn is_finite(&self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

/// A rectangle in pixels of the frame `F`; edges may lie between pixels and outside the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect<F> {
    /// Left edge.
    pub x_min: f32,
    /// Upper edge.
    pub y_min: f32,
    /// Right edge, exclusive.
    pub x_max: f32,
    /// Lower edge, exclusive.
    pub y_max: f32,
    frame: PhantomData<F>,
}

impl<F> Rect<F> {
    /// A rectangle from its edges: left, upper, right, lower.
    pub const fn new(x_min: f32, y_min: f32, x_max: f32, y_max: f32) -> Self {
        Self { x_min, y_min, x_max, y_max, frame: PhantomData }
    }

    /// Square pixels covered; 0 for a rectangle that is turned inside out.
    pub fn area(&self) -> f32 {
        (self.x_max - self.x_min).max(0.0) * (self.y_max - self.y_min).max(0.0)
    }

    /// Square pixels that both cover.
    pub fn intersection(&self, other: &Self) -> f32 {
        let (left, top) = (self.x_min.max(other.x_min), self.y_min.max(other.y_min));
        Self::new(left, top, self.x_max.min(other.x_max), self.y_max.min(other.y_max)).area()
    }

    /// Intersection over union, 0..1; 0 where neither covers anything.
    pub fn iou(&self, other: &Self) -> f32 {
        let common = self.intersection(other);
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// Whether every edge is a number.
    pub fn is_finite(&self) -> bool {
        [self.x_min, self.y_min, self.x_max, self.y_max].iter().all(|edge| edge.is_finite())
    }
}

/// A rectangle in whole pixels of the photo: clamped to it, never empty, right and lower edge exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBox {
    /// First column inside.
    pub x_min: u32,
    /// First row inside.
    pub y_min: u32,
    /// First column outside to the right.
    pub x_max: u32,
    /// First row outside below.
    pub y_max: u32,
}

impl PixelBox {
    /// All of a picture of this size.
    pub const fn whole(size: Size) -> Self {
        Self { x_min: 0, y_min: 0, x_max: size.width, y_max: size.height }
    }

    /// How wide and high it is.
    pub const fn size(&self) -> Size {
        Size::new(self.x_max - self.x_min, self.y_max - self.y_min)
    }
}

impl Rect<Photo> {
    /// The rectangle in whole pixels: edges rounded, then clamped to what was looked at.
    ///
    /// `None` where an edge is not a number, or where nothing of the rectangle lies inside. A sliver thinner than a pixel
    /// becomes one pixel wide.
    pub fn to_pixels(&self, within: PixelBox) -> Option<PixelBox> {
        if !self.is_finite() || self.x_max < self.x_min || self.y_max < self.y_min {
            return None;
        }
        let (x_min, x_max) = span(self.x_min, self.x_max, within.x_min, within.x_max)?;
        let (y_min, y_max) = span(self.y_min, self.y_max, within.y_min, within.y_max)?;
        Some(PixelBox { x_min, y_min, x_max, y_max })
    }
}

/// One axis of [`Rect::to_pixels`].
fn span(low: f32, high: f32, first: u32, end: u32) -> Option<(u32, u32)> {
    if high <= first as f32 || low >= end as f32 {
        return None;
    }
    let low = (low.round().max(0.0) as u32).clamp(first, end - 1);
    let high = (high.round().max(0.0) as u32).min(end).max(low + 1);
    Some((low, high))
}

/// A window of a photo: what is looked at in one inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The photo as a person sees it.
    pub photo: Size,
    /// The part of it; inside the photo and not empty.
    pub window: PixelBox,
}

impl View {
    /// The whole photo.
    pub const fn whole(photo: Size) -> Self {
        Self { photo, window: PixelBox::whole(photo) }
    }

    /// A part of the photo; `None` where the window is empty or reaches beyond the photo.
    pub fn part(photo: Size, window: PixelBox) -> Option<Self> {
        let inside = window.x_max <= photo.width && window.y_max <= photo.height;
        (inside && window.x_min < window.x_max && window.y_min < window.y_max).then_some(Self { photo, window })
    }

    /// Whether it is the whole photo.
    pub fn is_whole(&self) -> bool {
        self.window == PixelBox::whole(self.photo)
    }
}

/// How a window of a photo was laid onto a canvas: resized to `content`, pasted at `place`, the rest padded.
///
/// With `content == canvas` nothing is padded. The two axes have factors of their own, because a side is rounded to
/// whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letterbox {
    /// What of the photo.
    pub view: View,
    /// The part of the canvas that the window covers.
    pub content: Size,
    /// Where on the canvas its upper left corner is: column and row.
    pub place: (u32, u32),
    /// The whole picture that the model is given.
    pub canvas: Size,
}

impl Letterbox {
    /// The window resized to lie inside a canvas of exactly this size, its aspect kept.
    pub fn inside(view: View, canvas: Size) -> Self {
        Self { view, content: view.window.size().fit_into(canvas), place: (0, 0), canvas }
    }

    /// The same in the middle of the canvas; an odd pixel of padding goes to the right and below.
    pub fn centred(view: View, canvas: Size) -> Self {
        let inside = Self::inside(view, canvas);
        let Size { width, height } = inside.content;
        Self { place: ((canvas.width - width) / 2, (canvas.height - height) / 2), ..inside }
    }

    /// The window resized to cover a canvas of exactly this size, its aspect lost.
    pub fn stretched(view: View, canvas: Size) -> Self {
        Self { view, content: canvas, place: (0, 0), canvas }
    }

    /// The whole photo as it is.
    pub fn untouched(photo: Size) -> Self {
        Self { view: View::whole(photo), content: photo, place: (0, 0), canvas: photo }
    }

    /// The window itself, shrunk if a side is longer than `max_side`, and never padded.
    pub fn shrunk(view: View, max_side: u32) -> Self {
        let window = view.window.size();
        let content = if window.width.max(window.height) > max_side {
            window.fit_into(Size::new(max_side, max_side))
        } else {
            window
        };
        Self { view, content, place: (0, 0), canvas: content }
    }

    /// The least size that the whole photo may be decoded at, so that the window does not have to be enlarged more than it
    /// would be from all of the photo's pixels.
    pub fn least(&self) -> Size {
        let Self { view: View { photo, window }, content, .. } = *self;
        let side = |photo: u32, window: u32, content: u32| {
            let least = (u64::from(photo) * u64::from(content)).div_ceil(u64::from(window));
            u32::try_from(least).unwrap_or(u32::MAX).min(photo)
        };
        let window = window.size();
        Size::new(side(photo.width, window.width, content.width), side(photo.height, window.height, content.height))
    }

    /// From the photo onto the canvas. Each edge is rounded once, to the nearest `f32`.
    pub fn forward(&self, rect: &Rect<Photo>) -> Rect<Canvas> {
        let [across, down] = self.axes();
        Rect::new(
            across.forward(rect.x_min),
            down.forward(rect.y_min),
            across.forward(rect.x_max),
            down.forward(rect.y_max),
        )
    }

    /// From the canvas back to the photo.
    pub fn inverse(&self, rect: &Rect<Canvas>) -> Rect<Photo> {
        let low = self.inverse_point(Point::new(rect.x_min, rect.y_min));
        let high = self.inverse_point(Point::new(rect.x_max, rect.y_max));
        Rect::new(low.x, low.y, high.x, high.y)
    }

    /// The same of a single place.
    pub fn inverse_point(&self, point: Point<Canvas>) -> Point<Photo> {
        let [across, down] = self.axes();
        Point::new(across.inverse(point.x), down.inverse(point.y))
    }

    fn axes(&self) -> [Axis; 2] {
        let (window, size) = (self.view.window, self.view.window.size());
        let axis = |first: u32, length: u32, content: u32, place: u32| Axis {
            first: first.into(),
            factor: f64::from(content) / f64::from(length),
            place: place.into(),
        };
        [
            axis(window.x_min, size.width, self.content.width, self.place.0),
            axis(window.y_min, size.height, self.content.height, self.place.1),
        ]
    }
}

/// One axis of a [`Letterbox`]. In `f64`, which tells a thousandth of a pixel of any photo apart.
struct Axis {
    /// Where the window begins in the photo.
    first: f64,
    /// Pixels of the canvas for one of the photo.
    factor: f64,
    /// Where the content begins on the canvas.
    place: f64,
}

impl Axis {
    fn forward(&self, edge: f32) -> f32 {
        ((f64::from(edge) - self.first) * self.factor + self.place) as f32
    }

    fn inverse(&self, edge: f32) -> f32 {
        ((f64::from(edge) - self.place) / self.factor + self.first) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PHOTO: Size = Size::new(451, 300);

    #[test]
    fn fitting_keeps_the_aspect_and_never_loses_a_side() {
        assert_eq!(PHOTO.fit_into(Size::new(416, 416)), Size::new(416, 277));
        assert_eq!(Size::new(20_000, 1).fit_into(Size::new(416, 416)), Size::new(416, 1));
        assert_eq!(Size::new(1, 1).fit_into(Size::new(416, 416)), Size::new(416, 416));
    }

    #[test]
    fn a_small_photo_is_not_enlarged() {
        assert_eq!(Letterbox::shrunk(View::whole(PHOTO), 1024).content, PHOTO);
        assert_eq!(Letterbox::shrunk(View::whole(Size::new(4000, 3000)), 1024).canvas, Size::new(1024, 768));
    }

    #[test]
    fn pixels_are_rounded_clamped_and_never_empty() {
        let pixels = |x_min, y_min, x_max, y_max| {
            Rect::<Photo>::new(x_min, y_min, x_max, y_max).to_pixels(PixelBox::whole(PHOTO))
        };
        let inside = PixelBox { x_min: 1, y_min: 1, x_max: 439, y_max: 297 };
        assert_eq!(pixels(0.6, 1.4, 439.4, 296.6), Some(inside));
        let whole = PixelBox { x_min: 0, y_min: 0, x_max: 451, y_max: 300 };
        assert_eq!(pixels(-50.0, -1e9, 1e9, 300.2), Some(whole));
        let sliver = PixelBox { x_min: 450, y_min: 10, x_max: 451, y_max: 11 };
        assert_eq!(pixels(450.8, 10.1, 450.9, 10.2), Some(sliver));
        assert_eq!(pixels(451.0, 0.0, 500.0, 10.0), None, "beside the photo");
        assert_eq!(pixels(-9.0, 0.0, -1.0, 10.0), None, "beside the photo");
        assert_eq!(pixels(f32::NAN, 0.0, 10.0, 10.0), None);
        assert_eq!(pixels(10.0, 0.0, 9.0, 10.0), None, "inside out");
    }

    #[test]
    fn iou_of_equal_half_and_apart() {
        let rect = |x_min, x_max| Rect::<Canvas>::new(x_min, 0.0, x_max, 10.0);
        assert!((rect(0.0, 10.0).iou(&rect(0.0, 10.0)) - 1.0).abs() < 1e-6);
        assert!((rect(0.0, 10.0).iou(&rect(5.0, 15.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert!(rect(0.0, 10.0).iou(&rect(20.0, 30.0)).abs() < 1e-6);
        assert!(rect(0.0, 0.0).iou(&rect(0.0, 0.0)).abs() < 1e-6, "no division by zero");
    }

    /// Sides of which small, usual and extreme ones are as likely.
    fn side(longest: u32) -> impl Strategy<Value = u32> {
        prop_oneof![1..=8u32, 1..=2_000u32, 1..=longest]
    }

    /// From one `f32` to the next.
    fn step(value: f32) -> f64 {
        f64::from(value.abs().next_up()) - f64::from(value.abs())
    }

    /// Photos and canvases as they are in practice, where nothing but half a pixel will do.
    #[test]
    fn usual_photos_on_usual_canvases_are_within_half_a_pixel_whatever_an_f32_tells() {
        for photo in [Size::new(65_535, 763), Size::new(763, 65_535), Size::new(8_192, 6_144), Size::new(1 << 20, 47)] {
            for side in [320, 416, 640, 1_024] {
                let letterbox = Letterbox::centred(View::whole(photo), Size::new(side, side));
                for tenth in 0..=10 {
                    let (x, y) = ((photo.width / 10 * tenth) as f32, (photo.height / 10 * tenth) as f32);
                    let back = letterbox.inverse(&letterbox.forward(&Rect::new(x, y, x, y)));
                    assert!((back.x_min - x).abs() < 0.5 && (back.y_min - y).abs() < 0.5, "{back:?}: {letterbox:?}");
                }
            }
        }
    }

    proptest! {
        /// Every photo that may come in, and every canvas that a model may have. Where an `f32` does not tell half a pixel of
        /// the photo apart, because a photo of a million pixels a side lies on a few of the canvas, within what it tells.
        #[test]
        fn there_and_back_within_half_a_pixel(
            (width, height) in (side(1 << 26), side(1 << 26)), (across, down) in (side(8_192), side(8_192)),
            (from_x, to_x) in (0.0f64..1.0, 0.0f64..1.0), (from_y, to_y) in (0.0f64..1.0, 0.0f64..1.0),
            (left, right) in (0.0f64..1.0, 0.0f64..1.0), (top, bottom) in (0.0f64..1.0, 0.0f64..1.0),
        ) {
            let photo = Size::new(width, height);
            let span = |a: f64, b: f64, length: u32| {
                let first = (a.min(b) * f64::from(length)) as u32;
                (first, ((a.max(b) * f64::from(length)) as u32).max(first + 1))
            };
            let ((x_min, x_max), (y_min, y_max)) = (span(from_x, to_x, width), span(from_y, to_y, height));
            let part = View::part(photo, PixelBox { x_min, y_min, x_max, y_max }).expect("inside");
            for view in [View::whole(photo), part] {
                let window = view.window;
                let canvas = Size::new(across, down);
                for letterbox in [
                    Letterbox::inside(view, canvas),
                    Letterbox::centred(view, canvas),
                    Letterbox::stretched(view, canvas),
                    Letterbox::shrunk(view, across),
                ] {
                    let at = |first: u32, length: u32, part: f64| (f64::from(first) + f64::from(length) * part) as f32;
                    let Size { width, height } = window.size();
                    let rect = Rect::<Photo>::new(
                        at(window.x_min, width, left.min(right)),
                        at(window.y_min, height, top.min(bottom)),
                        at(window.x_min, width, left.max(right)),
                        at(window.y_min, height, top.max(bottom)),
                    );
                    let there = letterbox.forward(&rect);
                    let (x, y) = letterbox.place;
                    let Size { width, height } = letterbox.content;
                    for (edge, place, length) in [(there.x_min, x, width), (there.x_max, x, width),
                                                  (there.y_min, y, height), (there.y_max, y, height)] {
                        let (first, last) = (place as f32 - 0.5, (place + length) as f32 + 0.5);
                        prop_assert!((first..last).contains(&edge), "{edge} is beside {place} and {length} more: {letterbox:?}");
                    }
                    let back = letterbox.inverse(&there);
                    let [x, y] = letterbox.axes().map(|axis| axis.factor);
                    for (found, sent, between, factor) in [
                        (back.x_min, rect.x_min, there.x_min, x), (back.y_min, rect.y_min, there.y_min, y),
                        (back.x_max, rect.x_max, there.x_max, x), (back.y_max, rect.y_max, there.y_max, y),
                    ] {
                        let bound = f64::max(0.5, f64::midpoint(step(between) / factor, step(sent)) * 1.001);
                        let off = (f64::from(found) - f64::from(sent)).abs();
                        prop_assert!(off <= bound, "{found} for {sent}, off by more than {bound}: {letterbox:?}");
                    }
                }
            }
        }

        #[test]
        fn what_lies_on_the_canvas_comes_from_the_photo_within_half_a_pixel_of_the_canvas(
            (width, height) in (side(1 << 26), side(1 << 26)), (across, down) in (side(8_192), side(8_192)),
            (x, y) in (0.0f32..1.0, 0.0f32..1.0),
        ) {
            let (view, canvas) = (View::whole(Size::new(width, height)), Size::new(across, down));
            for letterbox in [Letterbox::inside(view, canvas), Letterbox::centred(view, canvas), Letterbox::stretched(view, canvas)] {
                let (left, top) = (letterbox.place.0 as f32, letterbox.place.1 as f32);
                let Size { width, height } = letterbox.content;
                let rect = Rect::<Canvas>::new(left + x * width as f32, top + y * height as f32, left + width as f32, top + height as f32);
                let again = letterbox.forward(&letterbox.inverse(&rect));
                for (found, sent) in [(again.x_min, rect.x_min), (again.y_min, rect.y_min),
                                      (again.x_max, rect.x_max), (again.y_max, rect.y_max)] {
                    prop_assert!((found - sent).abs() < 0.5, "{found} for {sent}: {letterbox:?}");
                }
            }
        }
    }
}
