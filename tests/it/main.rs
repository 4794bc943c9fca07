//! Flows over the wire, against the program that `cargo run` starts.

mod chat;
mod context;
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
mod money;
mod operation;
mod operator;
mod provider;
mod quota;
mod refusal;
mod resume;
mod small;
mod sources;
mod summary;
mod survival;
mod watch;
