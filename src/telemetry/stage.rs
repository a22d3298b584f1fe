//! The parts of the way of one photo.

/// A part of the way of one photo. Waiting for a core is part of none, but for views after the first, which wait for theirs while
/// the model answers.
///
/// [`Self::Fetch`] is passed by those alone that are named by their address, before it is known which version of the model they
/// go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the address of a photo to its file.
    Fetch,
    /// Waiting for room among the photos that are worked on.
    Queue,
    /// From the file to pixels.
    Decode,
    /// From pixels to the model's input.
    Prepare,
    /// The model, there and back.
    Infer,
    /// From the model's answer to detections.
    Interpret,
}

impl Stage {
    /// In the order in which a photo meets them.
    pub const ALL: [Self; 6] = [Self::Fetch, Self::Queue, Self::Decode, Self::Prepare, Self::Infer, Self::Interpret];

    /// In a word, the same everywhere.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Queue => "queue",
            Self::Decode => "decode",
            Self::Prepare => "prepare",
            Self::Infer => "infer",
            Self::Interpret => "interpret",
        }
    }
}
