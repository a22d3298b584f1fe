//! Drawing what was found onto the photo.

mod canvas;
mod color;
mod lettering;
mod placement;

use canvas::Area;
use lettering::Label;

use super::rgb::Rgb;
use crate::geometry::{Photo, PixelBox, Point, Size};
use crate::mask::Mask;

/// One box with what is written on its tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// The box, in pixels of the photo that is drawn on.
    pub pixels: PixelBox,
    /// What the tag says: `cat 0.56`.
    pub text: String,
    /// What it says instead where the font lacks a letter of `text`; the font has Latin, Greek and Cyrillic.
    pub fallback: String,
    /// The class: boxes of one class have one color, in every photo.
    pub color_key: i64,
    /// The pixels that the object covers, which are tinted.
    pub mask: Option<Mask>,
    /// The points that are marked.
    pub points: Vec<Point<Photo>>,
}

/// Draws every box with its tag; the first is on top and has the first choice where its tag goes.
///
/// Lines and letters grow with the photo, so that they look the same once it is shown at the width of a page. A tag stays
/// inside the photo and beside the tags before it where there is room. Where a photo is too small for any letter,
/// only the box is drawn.
pub fn boxes(photo: &mut Rgb, tags: &[Tag]) {
    let style = Style::of(photo.size());
    for tag in tags.iter().rev() {
        tint(photo, tag.mask.as_ref(), color::of_class(tag.color_key));
    }
    for tag in tags.iter().rev() {
        outline(photo, area(tag.pixels), style, color::of_class(tag.color_key));
    }
    for tag in tags {
        mark(photo, &tag.points, style, color::of_class(tag.color_key));
    }
    let mut taken = Vec::new();
    let placed: Vec<_> = tags
        .iter()
        .filter_map(|tag| {
            let label = Label::fit(&tag.text, &tag.fallback, style.letter_height, photo.size())?;
            let place = placement::find(area(tag.pixels), label.size(), photo.size(), &taken);
            taken.push(place);
            Some((label, place, color::of_class(tag.color_key)))
        })
        .collect();
    // Last to first, so that where two tags must overlap the first stays whole.
    for (label, place, background) in placed.iter().rev() {
        canvas::fill(photo, *place, *background);
        label.write(photo, *place, color::INK);
    }
}

/// Sizes in pixels that fit the photo.
#[derive(Debug, Clone, Copy)]
struct Style {
    line: i64,
    /// The dark seam on both sides of the line, which sets it off from a background of the same color.
    seam: i64,
    letter_height: f32,
}

impl Style {
    /// Tried on photos of 32 to 4000 pixels: 3 pixels of line and 22 of letter where the photo is shown 1000 wide.
    fn of(photo: Size) -> Self {
        let side = photo.width.max(photo.height);
        let line = match side {
            0..100 => 1,
            _ => i64::from((side / 300).max(2)),
        };
        Self { line, seam: (line / 3).max(1), letter_height: (side as f32 / 45.0).max(14.0) }
    }
}

fn area(pixels: PixelBox) -> Area {
    Area {
        left: pixels.x_min.into(),
        top: pixels.y_min.into(),
        right: pixels.x_max.into(),
        bottom: pixels.y_max.into(),
    }
}

/// Lays a color over what an object covers, through which the photo shows.
fn tint(photo: &mut Rgb, mask: Option<&Mask>, color: [u8; 3]) {
    const SHARE: f32 = 0.45;
    for run in mask.into_iter().flat_map(Mask::runs) {
        for y in run.y_min..run.y_max {
            canvas::blend(photo, run.x.into(), y.into(), color, SHARE);
        }
    }
}

/// Squares four times as wide as a line, with a dark seam.
fn mark(photo: &mut Rgb, points: &[Point<Photo>], style: Style, color: [u8; 3]) {
    /// Beyond any photo, and far from overflow.
    const FAR: f32 = 1e6;
    for point in points {
        let (x, y) = (point.x.clamp(-FAR, FAR).round() as i64, point.y.clamp(-FAR, FAR).round() as i64);
        let half = 2 * style.line;
        let dot = Area { left: x - half, top: y - half, right: x + half, bottom: y + half };
        canvas::fill(photo, dot.grown(style.seam), color::INK);
        canvas::fill(photo, dot, color);
    }
}

/// The line lies inside the box, so that it shows on all four sides of a box that fills the photo.
fn outline(photo: &mut Rgb, area: Area, style: Style, color: [u8; 3]) {
    canvas::shade_frame(photo, area.grown(style.seam), style.line + 2 * style.seam);
    canvas::fill_frame(photo, area, style.line, color);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use crate::mask::Grid;

    const GREY: [u8; 3] = [128; 3];

    fn tag(x_min: u32, y_min: u32, x_max: u32, y_max: u32, text: &str) -> Tag {
        Tag {
            pixels: PixelBox { x_min, y_min, x_max, y_max },
            text: text.to_owned(),
            fallback: "class 1".to_owned(),
            color_key: 1,
            mask: None,
            points: Vec::new(),
        }
    }

    fn at(photo: &Rgb, x: u32, y: u32) -> [u8; 3] {
        photo.pixels()[(y * photo.size().width + x) as usize]
    }

    #[test]
    fn the_line_runs_along_the_inside_of_the_box() {
        let mut photo = Rgb::filled(Size::new(400, 300), GREY);
        boxes(&mut photo, &[tag(100, 100, 200, 180, "cat 0.56")]);
        let line = color::of_class(1);
        for (x, y) in [(150, 179), (100, 150), (199, 150), (199, 179), (100, 179), (150, 100)] {
            assert_eq!(at(&photo, x, y), line, "at {x}, {y}");
        }
        assert_eq!(at(&photo, 150, 140), GREY, "the inside is left as it is");
        assert_eq!(at(&photo, 202, 150), GREY, "so is what lies outside");
    }

    #[test]
    fn what_an_object_covers_is_tinted_and_its_points_are_marked() {
        let mut photo = Rgb::filled(Size::new(400, 300), GREY);
        let column = PixelBox { x_min: 150, y_min: 120, x_max: 151, y_max: 140 };
        let grid = Grid::to_the_edges(2, &[1.0; 4]).expect("two by two");
        let mask = grid.mask(&Rect::new(150.0, 120.0, 151.0, 140.0), column, photo.size());
        let points = vec![Point::new(170.0, 130.0), Point::new(f32::MAX, f32::MIN)];
        boxes(&mut photo, &[Tag { mask: Some(mask), points, ..tag(100, 100, 200, 180, "cat 0.56") }]);
        let color = color::of_class(1);
        assert_eq!(at(&photo, 170, 130), color);
        assert_ne!(at(&photo, 150, 130), GREY);
        assert_ne!(at(&photo, 150, 130), color);
        assert_eq!((at(&photo, 150, 145), at(&photo, 151, 130)), (GREY, GREY));
    }

    #[test]
    fn nothing_to_draw_changes_nothing() {
        let mut photo = Rgb::filled(Size::new(40, 30), GREY);
        boxes(&mut photo, &[]);
        assert_eq!(photo, Rgb::filled(Size::new(40, 30), GREY));
    }

    #[test]
    fn a_box_without_room_for_a_letter_is_still_drawn() {
        let mut photo = Rgb::filled(Size::new(4, 3), GREY);
        boxes(&mut photo, &[tag(0, 0, 4, 3, "cat")]);
        assert_eq!(at(&photo, 0, 0), color::of_class(1));
        let mut pixel = Rgb::filled(Size::new(1, 1), GREY);
        boxes(&mut pixel, &[tag(0, 0, 1, 1, "cat")]);
        assert_eq!(at(&pixel, 0, 0), color::of_class(1));
    }

    #[test]
    fn letters_that_the_font_lacks_are_replaced_by_the_fallback() {
        let drawn = |text: &str| {
            let mut photo = Rgb::filled(Size::new(400, 300), GREY);
            boxes(&mut photo, &[tag(100, 100, 200, 180, text)]);
            photo
        };
        assert_eq!(drawn("猫 0.56"), drawn("class 1"));
        assert_ne!(drawn("кот 0.56"), drawn("class 1"));
        assert_ne!(drawn("γάτα, příšera"), drawn("class 1"));
    }

    #[test]
    fn empty_and_endless_texts_do_no_harm() {
        let mut photo = Rgb::filled(Size::new(200, 100), GREY);
        boxes(
            &mut photo,
            &[tag(0, 0, 50, 50, ""), tag(20, 20, 60, 60, &"wide ".repeat(500)), tag(1, 1, 9, 9, "a\n\tb")],
        );
    }
}
