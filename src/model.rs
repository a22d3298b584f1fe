//! What a detector is: its signature, what it takes, how its answer reads, what its classes are called.

pub mod adapter;
pub mod input;
pub mod labels;
pub mod mapping;
pub mod nms;
pub mod signature;
pub mod version;
