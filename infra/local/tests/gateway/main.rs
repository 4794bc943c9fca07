//! The local API Gateway over real sockets, with real function processes behind it.

mod handshake;
mod management;
mod messages;
#[cfg(test)]
mod stack;
