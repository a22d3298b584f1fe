//! Photos: from the bytes that were uploaded to upright pixels, and back to a file.
//!
//! Each step takes what the step before returns, so that none can be skipped:
//!
//! ```text
//! Bytes -> Encoded   format by its first bytes, header read, limits checked; no pixel decoded yet
//!       -> Rgb       upright RGB8, nothing transparent
//!       -> fit       resized and padded for the model
//!       -> draw      boxes and tags on the photo itself
//!       -> encode    a JPEG or PNG file again
//! ```
//!
//! A new format is one file in `codec/` and one row in `codec.rs`.

mod codec;
pub mod draw;
pub mod encode;
mod encoded;
pub mod fit;
mod foreign;
mod format;
mod magic;
mod pixels;
mod rgb;
#[cfg(test)]
mod tests;
mod upright;

pub use encoded::{Encoded, Limits};
pub use format::Format;
pub use rgb::Rgb;
