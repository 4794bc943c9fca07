//! Flows over the wire, against the program that `cargo run` starts.

mod chat;
mod encoding;
mod identity;
mod operation;
mod provider;
mod refusal;
