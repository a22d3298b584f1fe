//! JPEG as TIFF 6.0 had it: one for the whole picture, its headers in a file of its own, in tags, or both.
//!
//! What comes out is the JPEG file that was taken apart (TIFF 6.0, section 22; the tables as in ITU-T T.81, annex B).

use super::directory::{Directory, tag};
use super::form::Form;
use crate::geometry::Size;
use crate::image::codec::{Broken, jpeg};

const START: &[u8] = b"\xff\xd8";
const END: &[u8] = b"\xff\xd9";

/// The picture as a JPEG file. `strips` are its parts in order; where all of it lies elsewhere, nobody minds where they are.
pub(super) fn assemble(
    directory: &Directory<'_>,
    form: &Form,
    strips: Result<Vec<&[u8]>, Broken>,
) -> Result<Vec<u8>, Broken> {
    let file = file(directory)?;
    if jpeg::is_whole(file) {
        return Ok(file.to_vec());
    }
    let strips = strips?;
    if strips.iter().map(|strip| strip.len()).sum::<usize>() > directory.bytes.len() {
        return Err(Broken::Damaged("strips that overlap".into()));
    }
    // Everything up to its pixels, which are in the strips; or nothing.
    let mut whole = match file.strip_suffix(END).unwrap_or(file) {
        [] => headers(directory, form, strips.len())?,
        headers => headers.to_vec(),
    };
    for (index, strip) in strips.iter().enumerate() {
        if index > 0 {
            // Each strip starts anew. Some have the marker that says so at their end.
            let ends_with_restart = matches!(whole[..], [.., 0xff, 0xd0..=0xd7]);
            if !ends_with_restart {
                whole.extend([0xff, 0xd0 + ((index - 1) % 8) as u8]);
            }
        }
        whole.extend(strip.strip_suffix(END).unwrap_or(strip));
    }
    whole.extend(END);
    Ok(whole)
}

/// The JPEG file inside: all of it, only its headers, or none. Its length is often wrong.
fn file<'a>(directory: &Directory<'a>) -> Result<&'a [u8], Broken> {
    let Some(place) = directory.number(tag::OLD_JPEG_FILE)? else { return Ok(&[]) };
    let rest = directory.bytes.get(place as usize..).filter(|rest| rest.starts_with(START)).unwrap_or(&[]);
    let length = directory.number(tag::OLD_JPEG_FILE_LENGTH)?.unwrap_or(0) as usize;
    let said = rest.get(..length).filter(|said| !said.is_empty());
    Ok(said.filter(|said| jpeg::is_whole(said) || !jpeg::is_whole(rest)).unwrap_or(rest))
}

/// The headers of a file whose tables lie in tags.
fn headers(directory: &Directory<'_>, form: &Form, strips: usize) -> Result<Vec<u8>, Broken> {
    const BASELINE: u32 = 1;
    if directory.number(tag::OLD_JPEG_PROCESS)?.is_some_and(|process| process != BASELINE) {
        return Err(Broken::Unsupported("JPEG that is not baseline".into()));
    }
    let Size { width, height } = form.grid.picture;
    let sides = [height, width].map(u16::try_from);
    let [Ok(height), Ok(width)] = sides else { return Err(Broken::Damaged("a JPEG larger than one can be".into())) };
    let components = form.samples as u8;
    let quantisers = tables(directory, tag::OLD_JPEG_QUANTISERS, form.samples, |_| Some(64))?;
    let codes = |tag| {
        tables(directory, tag, form.samples, |counts| Some(16 + counts.iter().map(|n| usize::from(*n)).sum::<usize>()))
    };
    let (dc, ac) = (codes(tag::OLD_JPEG_DC_CODES)?, codes(tag::OLD_JPEG_AC_CODES)?);

    let mut headers = START.to_vec();
    for (index, (quantiser, (dc, ac))) in (0u8..).zip(quantisers.iter().zip(dc.iter().zip(&ac))) {
        segment(&mut headers, 0xdb, &[&[index], quantiser]);
        segment(&mut headers, 0xc4, &[&[index], dc]);
        segment(&mut headers, 0xc4, &[&[0x10 | index], ac]);
    }
    let (across, down) = (form.subsampling.0 as u8, form.subsampling.1 as u8);
    let frame = (1..=components).flat_map(|id| {
        let sampling = if id == 1 { across << 4 | down } else { 0x11 };
        [id, sampling, id - 1]
    });
    let [h1, h0] = height.to_be_bytes();
    let [w1, w0] = width.to_be_bytes();
    // Extended: baseline has room for the codes of two components.
    segment(&mut headers, 0xc1, &[&[8, h1, h0, w1, w0, components], &frame.collect::<Vec<_>>()]);
    let interval = match directory.number(tag::OLD_JPEG_RESTART_INTERVAL)? {
        Some(interval) if interval > 0 => interval,
        _ if strips > 1 => {
            let rows = directory.required(tag::ROWS_PER_STRIP)?.min(u32::from(height));
            u32::from(width).div_ceil(8 * u32::from(across)) * rows.div_ceil(8 * u32::from(down))
        }
        _ => 0,
    };
    if let Ok(interval @ 1..) = u16::try_from(interval) {
        segment(&mut headers, 0xdd, &[&interval.to_be_bytes()]);
    }
    let scan = (1..=components).flat_map(|id| [id, (id - 1) << 4 | (id - 1)]);
    segment(&mut headers, 0xda, &[&[components], &scan.collect::<Vec<_>>(), &[0, 63, 0]]);
    Ok(headers)
}

fn segment(into: &mut Vec<u8>, code: u8, parts: &[&[u8]]) {
    let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    into.extend([0xff, code]);
    // At most a table of 16 + 16 * 255 bytes.
    into.extend((length as u16).to_be_bytes());
    into.extend(parts.concat());
}

/// The table of each component, which lie where the tag says; `length` is asked with the first 16 bytes.
fn tables<'a>(
    directory: &Directory<'a>,
    tag: u16,
    components: usize,
    length: impl Fn(&[u8]) -> Option<usize>,
) -> Result<Vec<&'a [u8]>, Broken> {
    let places = directory.numbers(tag)?;
    if places.len() != components {
        return Err(Broken::Damaged(
            format!("{} tables in tag {tag} for {components} components", places.len()).into(),
        ));
    }
    let table = |place: &u32| {
        let rest = directory.bytes.get(*place as usize..)?;
        rest.get(..length(rest.get(..16)?)?)
    };
    let tables = places.iter().map(|place| {
        table(place).ok_or_else(|| Broken::Truncated(format!("a table of tag {tag} does not lie in the file").into()))
    });
    tables.collect()
}
