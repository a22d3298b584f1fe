//! The colors of classes.

/// The color of a class: the same in every photo, and unlike those of the classes with near ids.
pub(super) fn of_class(key: i64) -> [u8; 3] {
    /// The golden section: each next hue falls into the widest gap that the hues before have left.
    const TURN: f64 = 0.618_033_988_749_895;
    /// Bright, deep and soft, so that classes whose hues come close differ in something.
    const TONES: [(f64, f64); 3] = [(0.85, 1.0), (1.0, 0.72), (0.55, 1.0)];
    // 2520 ids until colors repeat; the modulus keeps the product exact for ids of any size.
    let step = key.rem_euclid(2520);
    let hue = (step as f64).mul_add(TURN, 0.36).fract();
    let (saturation, value) = TONES[(step % 3) as usize];
    from_hsv(hue, saturation, value)
}

/// Black or white, whichever stands out more.
pub(super) fn readable_on(background: [u8; 3]) -> [u8; 3] {
    const BLACK: [u8; 3] = [0; 3];
    const WHITE: [u8; 3] = [255; 3];
    if contrast(background, BLACK) >= contrast(background, WHITE) { BLACK } else { WHITE }
}

/// Contrast of two colors as WCAG 2 defines it, 1 to 21; 4.5 is what it asks of text.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
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
            let background = of_class(key);
            let found = contrast(background, readable_on(background));
            assert!(found >= 4.5, "{found} on the color of {key}, {background:?}");
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
