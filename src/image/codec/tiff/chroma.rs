//! Chroma that several pixels share.

use super::form::Form;

/// What one row of blocks takes: its bytes, and the rows of pixels in it. A block stores its lumas, then the one Cb and the
/// one Cr.
pub(super) fn unit(form: &Form) -> (usize, u32) {
    let (across, down) = form.subsampling;
    if across * down == 1 {
        return (form.row_bytes(), 1);
    }
    let samples = form.grid.chunk.width.div_ceil(across) as usize * (across * down + 2) as usize;
    (samples * form.depth.bits() as usize / 8, down)
}

/// Gives chroma to each of the pixels that share it.
pub(super) fn spread(form: &Form, stored: &[u8]) -> Vec<u8> {
    let (unit_bytes, _) = unit(form);
    let (across, down) = (form.subsampling.0 as usize, form.subsampling.1 as usize);
    let lumas = across * down;
    let bytes = form.depth.bits() as usize / 8;
    let width = form.grid.chunk.width as usize;
    let rows = stored.len() / unit_bytes * down;
    let mut full = Vec::with_capacity(rows * width * 3 * bytes);
    for y in 0..rows {
        let unit = &stored[y / down * unit_bytes..][..unit_bytes];
        for x in 0..width {
            let block = &unit[x / across * (lumas + 2) * bytes..];
            for sample in [y % down * across + x % across, lumas, lumas + 1] {
                full.extend_from_slice(&block[sample * bytes..][..bytes]);
            }
        }
    }
    full
}
