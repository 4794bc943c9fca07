//! Meaning as numbers: a question goes in, a vector comes out, and a verdict on whether two questions ask the same.
//!
//! Hides the network and its weights, how text becomes tokens, the processor's vector instructions, and where
//! vectors of other models come from. In reading order: [`vector`] is what questions become, [`shelf`] finds the
//! nearest of many, [`bundled`] is the model that runs here, [`verifier`] judges pairs, [`remote`] asks models elsewhere,
//! [`embedder`] is whichever of them is configured.
//!
//! Nothing here starts a thread, reads the environment or the clock. The same text gives the same numbers on every
//! machine: each sum is made in one order, whatever the processor's vectors are wide.

#![expect(
    clippy::float_arithmetic,
    reason = "a neural network is float arithmetic; nothing here is money or tokens"
)]

pub mod bundled;
mod charmap;
pub mod embedder;
pub mod error;
mod gguf;
mod lanes;
mod layer;
mod matrix;
pub mod remote;
pub mod shelf;
pub mod vector;
pub mod verifier;
mod vocabulary;

pub use bundled::{Bundled, Reading, States};
pub use embedder::{Embedder, Embedding};
pub use error::{EmbedError, OpenError, ReadError, SettingsError, VectorError, VerifyError};
pub use shelf::{Neighbour, Shelf};
pub use vector::{Vector, VectorVersion};
pub use verifier::Verifier;
