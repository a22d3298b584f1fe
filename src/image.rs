//! Photos: from the bytes that were uploaded to upright pixels, and back to a file.
//!
//! Each step takes what the step before returns, so that none can be skipped:
//!
//! ```text
//! Bytes -> Encoded   format by its first bytes, header read, limits checked; no pixel decoded yet
//!       -> Decoded   upright RGB8, nothing transparent; where fewer pixels will do, at a reduced scale
//!       -> fit       resized and padded for the model
//!       -> Rgb       the photo itself, for those who need all of it
//!       -> draw      boxes and tags on it
//!       -> encode    a JPEG or PNG file again
//! ```
//!
//! A new format is one file in `codec/` and one row in `codec.rs`.

mod codec;
mod decoded;
pub mod draw;
pub mod encode;
mod encoded;
pub mod fit;
mod foreign;
mod format;
mod magic;
mod pixels;
mod rgb;
#[cfg(feature = "turbojpeg")]
mod spare;
#[cfg(test)]
mod tests;
mod upright;

pub use decoded::Decoded;
pub use encoded::{Encoded, Limits};
pub use format::Format;
pub use rgb::Rgb;
