//! The local Lambda service with real processes behind it.

mod api;
mod invocations;
mod misbehaviour;
mod queues;
mod sources;
mod stack;
