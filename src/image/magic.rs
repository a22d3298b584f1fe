//! How a file says what it is: bytes at fixed places.

/// Bytes that must all be there, each run at its offset from the start of the file.
pub(super) type Magic = &'static [(usize, &'static [u8])];

/// Whether every run is at its place; a file that is too short has none.
pub(super) fn matches(bytes: &[u8], magic: Magic) -> bool {
    magic.iter().all(|(offset, run)| bytes.get(*offset..).is_some_and(|rest| rest.starts_with(run)))
}
