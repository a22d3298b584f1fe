//! What no gateway that looks at pixels can go below: libjpeg-turbo's scaled decode of a file and the resize to what a model
//! is sent, in a loop on one thread.
//!
//! `limit FILE MAX_SIDE SECONDS` prints milliseconds of processor time a photo.

use std::hint::black_box;
use std::time::{Duration, Instant};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use turbojpeg::{Decompressor, PixelFormat, ScalingFactor};

fn photo(file: &[u8], max_side: usize) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut decompressor = Decompressor::new()?;
    let header = decompressor.read_header(file)?;
    let longest = header.width.max(header.height);
    let scale = [8, 4, 2].into_iter().find(|scale| longest >= max_side * scale).unwrap_or(1);
    let factor = ScalingFactor::new(1, scale);
    decompressor.set_scaling_factor(factor)?;
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut pixels = vec![0; width * height * 3];
    let image = turbojpeg::Image { pixels: &mut pixels[..], width, height, pitch: width * 3, format: PixelFormat::RGB };
    decompressor.decompress(file, image)?;
    if longest <= max_side {
        return Ok(pixels);
    }
    let side = |length: usize| (length * max_side / longest) as u32;
    let source = ImageRef::new(width as u32, height as u32, &pixels, PixelType::U8x3)?;
    let mut resized = Image::new(side(header.width), side(header.height), PixelType::U8x3);
    let bilinear = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut resized, &bilinear)?;
    Ok(resized.into_vec())
}

/// Processor time of this process so far, of which it has only one thread.
fn processor_time() -> Result<f64, Box<dyn std::error::Error>> {
    let nanoseconds = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(nanoseconds.split(' ').next().ok_or("an empty schedstat")?.parse::<f64>()? / 1e6)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, max_side, seconds] = &arguments[..] else { return Err("usage: limit FILE MAX_SIDE SECONDS".into()) };
    let (file, max_side) = (std::fs::read(file)?, max_side.parse()?);
    let time = Duration::from_secs_f64(seconds.parse()?);
    black_box(photo(&file, max_side)?);
    let (begin, before, mut count) = (Instant::now(), processor_time()?, 0);
    while begin.elapsed() < time || count < 5 {
        black_box(photo(&file, max_side)?);
        count += 1;
    }
    println!("{:.3}", (processor_time()? - before) / f64::from(count));
    Ok(())
}
