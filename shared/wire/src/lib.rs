//! Bytes to domain values and back: client frames in both codecs, and the messages on our own queues.
//!
//! The generated Protobuf types are private to this crate (invariant A2). Everything that comes out of
//! a decoder is within its limits; nothing that goes in can panic it.

mod generated;

pub mod frame;
pub mod job;
