//! The local cloud: everything that `template.yaml` describes, served on this machine.
//!
//! It is the platform, not the application: it knows AWS's interfaces and nothing of chats,
//! except in `token` and `chat`. With `invoke` these are the commands that are clients;
//! `operator` hands over to a program of the application.

pub mod access;
pub mod binaries;
pub mod chat;
pub mod dynamo;
pub mod fault;
pub mod gateway;
pub mod iam;
pub mod invoke;
pub mod lambda;
pub mod listen;
pub mod local_only;
pub mod metrics;
pub mod operator;
pub mod page;
pub mod settings;
pub mod sqs;
pub mod stack;
pub mod template;
pub mod token;
pub mod watch;
