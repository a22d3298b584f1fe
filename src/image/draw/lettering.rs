//! Text in pixels.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, OutlinedGlyph, PxScale, ScaleFont, point};

use super::canvas::{self, Area};
use crate::geometry::Size;
use crate::image::Rgb;

/// Roboto Medium with Latin, Greek and Cyrillic; where it comes from stands in assets/README.md.
static FONT: LazyLock<FontRef<'static>> = LazyLock::new(|| {
    FontRef::try_from_slice(include_bytes!("../../../assets/Roboto-Medium-subset.ttf"))
        .expect("the font in the binary is a font")
});

/// Below this height nobody can read it.
const MIN_HEIGHT: f32 = 7.0;

/// A line of text, ready to be written.
pub(super) struct Label {
    glyphs: Vec<OutlinedGlyph>,
    /// Width and height with the margin around the letters.
    size: Size,
}

impl Label {
    /// The text at this height, or smaller where it would be wider than the photo; `fallback` where a letter is missing.
    ///
    /// `None` where there is nothing to write, or no room for a readable letter.
    pub(super) fn fit(text: &str, fallback: &str, height: f32, photo: Size) -> Option<Self> {
        let text = if has_every_letter(text) { text } else { fallback };
        // A line feed in a label is a gap, not a box without a glyph.
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let (max_width, max_height) = (photo.width as f32, photo.height as f32);
        let natural = width(text, height);
        let height = (height * (max_width / natural).min(1.0)).min(max_height).max(MIN_HEIGHT);
        let text = shortened(text, height, max_width)?;
        (height <= max_height).then(|| Self::lay_out(&text, height))
    }

    fn lay_out(text: &str, height: f32) -> Self {
        let font = FONT.as_scaled(PxScale::from(height));
        let mut x = margin(height);
        let glyphs = text
            .chars()
            .filter_map(|letter| {
                let id = font.glyph_id(letter);
                let glyph = id.with_scale_and_position(font.scale(), point(x, font.ascent()));
                x += font.h_advance(id);
                FONT.outline_glyph(glyph)
            })
            .collect();
        Self { glyphs, size: Size::new((x + margin(height)).ceil() as u32, font.height().ceil() as u32) }
    }

    /// Width and height of the tag.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Writes the text onto its tag.
    pub(super) fn write(&self, photo: &mut Rgb, place: Area, color: [u8; 3]) {
        for glyph in &self.glyphs {
            let bounds = glyph.px_bounds();
            let (left, top) = (place.left + bounds.min.x as i64, place.top + bounds.min.y as i64);
            glyph.draw(|x, y, share| canvas::blend(photo, left + i64::from(x), top + i64::from(y), color, share));
        }
    }
}

fn has_every_letter(text: &str) -> bool {
    text.chars().all(|letter| letter.is_whitespace() || letter.is_control() || FONT.glyph_id(letter).0 != 0)
}

fn margin(height: f32) -> f32 {
    height / 4.0
}

/// How wide the text is with its margins.
fn width(text: &str, height: f32) -> f32 {
    let font = FONT.as_scaled(PxScale::from(height));
    text.chars().map(|letter| font.h_advance(font.glyph_id(letter))).sum::<f32>() + 2.0 * margin(height)
}

/// The text, or as much of its start as fits with an ellipsis; `None` where not a single letter does.
fn shortened(text: &str, height: f32, max_width: f32) -> Option<String> {
    if width(text, height) <= max_width {
        return Some(text.to_owned());
    }
    let font = FONT.as_scaled(PxScale::from(height));
    let mut left = max_width - width("…", height);
    let kept: String = text
        .chars()
        .take_while(|letter| {
            left -= font.h_advance(font.glyph_id(*letter));
            left >= 0.0
        })
        .collect();
    let kept = kept.trim_end();
    (!kept.is_empty()).then(|| format!("{kept}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHOTO: Size = Size::new(200, 100);

    #[test]
    fn a_label_never_grows_beyond_the_photo() {
        for (width, height) in [(200, 100), (32, 32), (20, 9), (1000, 8), (8, 1000)] {
            let photo = Size::new(width, height);
            for text in ["cat 0.56", "W", &"traffic light ".repeat(20)] {
                if let Some(label) = Label::fit(text, "", 20.0, photo) {
                    let size = label.size();
                    assert!(size.width <= width && size.height <= height, "{text:?} is {size} on {photo}");
                }
            }
        }
    }

    #[test]
    fn a_tiny_photo_has_no_label() {
        assert!(Label::fit("cat", "", 14.0, Size::new(5, 5)).is_none());
        assert!(Label::fit("cat", "", 14.0, Size::new(300, 6)).is_none());
    }

    #[test]
    fn nothing_to_write_is_no_label() {
        assert!(Label::fit("", "x", 14.0, PHOTO).is_none());
        assert!(Label::fit(" \n", "x", 14.0, PHOTO).is_none());
        assert!(Label::fit("猫", "", 14.0, PHOTO).is_none());
    }
}
