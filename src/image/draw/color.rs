//! The colors of classes.

/// What is written on a tag: black, which every color of a class is bright enough for.
pub(super) const INK: [u8; 3] = [0; 3];

/// The color of a class: the same in every photo, and unlike those of the classes with near ids.
///
/// It is bright, so that the line shows on a dark photo; on a bright one, the dark seams beside it do.
pub(super) fn of_class(key: i64) -> [u8; 3] {
    /// The golden section: each next hue falls into the widest gap that the hues before have left.
    const TURN: f64 = 0.618_033_988_749_895;
    /// Vivid, deep and soft, so that classes whose hues come close differ in something.
    const TONES: [(f64, f64); 3] = [(0.85, 1.0), (1.0, 0.75), (0.5, 1.0)];
    /// Black on it has a contrast of 5; WCAG 2 asks 4.5 of text.
    const MIN_LUMINANCE: f64 = 0.2;
    // 2520 ids until colors repeat; the modulus keeps the product exact for ids of any size.
    let step = key.rem_euclid(2520);
    let hue = (step as f64).mul_add(TURN, 0.36).fract();
    let (saturation, value) = TONES[(step % 3) as usize];
    let mut color = from_hsv(hue, saturation, value);
    while luminance(color) < MIN_LUMINANCE {
        color = color.map(|channel| channel + (255 - channel).div_ceil(16));
    }
    color
}

/// How bright a color looks, 0 to 1 (WCAG 2, relative luminance of sRGB).
fn luminance([r, g, b]: [u8; 3]) -> f64 {
    let linear = |channel: u8| {
        let share = f64::from(channel) / 255.0;
        if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

/// Hue, saturation and value, each 0 to 1.
fn from_hsv(hue: f64, saturation: f64, value: f64) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|offset| {
        let k = (offset + hue * 6.0) % 6.0;
        let share = value - value * saturation * f64::min(k, 4.0 - k).clamp(0.0, 1.0);
        (share * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_readable_on_every_color() {
        for key in (-3000..3000).chain([i64::MIN, i64::MAX]) {
            let contrast = (luminance(of_class(key)) + 0.05) / (luminance(INK) + 0.05);
            assert!(contrast >= 4.5, "{contrast} on the color of {key}, {:?}", of_class(key));
        }
    }

    #[test]
    fn classes_with_near_ids_look_different() {
        for one in 0..90 {
            for other in one + 1..one + 8 {
                let distance: f64 = of_class(one)
                    .iter()
                    .zip(of_class(other))
                    .map(|(a, b)| (f64::from(*a) - f64::from(b)).powi(2))
                    .sum::<f64>()
                    .sqrt();
                assert!(distance > 60.0, "{one} and {other} differ by {distance}");
            }
        }
    }

    #[test]
    fn hsv_corners() {
        assert_eq!(from_hsv(0.0, 1.0, 1.0), [255, 0, 0]);
        assert_eq!(from_hsv(1.0 / 3.0, 1.0, 1.0), [0, 255, 0]);
        assert_eq!(from_hsv(2.0 / 3.0, 1.0, 1.0), [0, 0, 255]);
        assert_eq!(from_hsv(0.5, 0.0, 1.0), [255, 255, 255]);
    }
}
