//! What must hold at every write, seen at the wire.

use bytes::Bytes;
use http::Response;

use crate::{
    engines::{Call, Engines},
    process::Process,
};

/// What the run's writes have shown so far.
#[derive(Debug, Default)]
pub(crate) struct Guard {}

impl Guard {
    /// Looks before a write is made.
    pub(crate) fn before(&mut self, _call: &Call, _engines: &Engines) {}

    /// Looks at what a write did; says what it broke.
    pub(crate) fn after(
        &mut self,
        _call: &Call,
        _process: &Process,
        _response: &Response<Bytes>,
        _engines: &Engines,
    ) -> Vec<String> {
        Vec::new()
    }
}
