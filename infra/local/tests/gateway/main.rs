//! The local API Gateway over real sockets, with real function processes behind it.

mod handshake;
mod hostile;
mod management;
mod messages;
mod port;
#[cfg(test)]
mod stack;
