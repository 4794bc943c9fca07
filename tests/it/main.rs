//! Flows over the wire, against the program that `cargo run` starts.

mod chat;
mod identity;
mod load;
mod operation;
mod provider;
mod refusal;
