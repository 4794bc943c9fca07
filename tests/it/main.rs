//! Flows over the wire, against the program that `cargo run` starts.

mod chat;
mod crowd;
mod duplicates;
mod durable;
mod elsewhere;
mod encoding;
mod fault;
mod gateway;
mod identity;
mod kill;
mod load;
mod mistakes;
mod operation;
mod provider;
mod refusal;
mod resume;
mod small;
mod sources;
mod survival;
mod watch;
