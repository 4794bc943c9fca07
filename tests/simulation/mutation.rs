//! Safety lines taken out at the wire, one at a time: each must make the simulation fail.

use crate::engines::{Call, Engines};

/// A safety line that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {}

impl Mutation {
    /// Changes a call as if the line were not there; whether it did.
    pub(crate) fn apply(self, _call: &mut Call, _engines: &Engines) -> bool {
        match self {}
    }
}
