//! What Sparkle decides, and nothing that touches the world.
//!
//! Pure functions over values: no I/O, no async, no clock, no environment, no AWS (invariant A1).
//! Time, ids and randomness come in as arguments. Modules in the order in which a frame meets them:
//!
//! | module | decides |
//! | --- | --- |
//! | [`id`], [`mod@unit`] | what the domain's ids and quantities may be |
//! | [`frame`] | what clients may ask and what they are told |
//! | [`notice`] | how an error reads to a person, in their language |
//! | [`rate`] | whether one more frame is within a learner's rate |
//! | [`chat`] | which part of a conversation a model sees |
//! | [`coalesce`] | when streamed text is worth a frame |
//! | [`price`] | which models there are and what their tokens cost |

pub mod chat;
pub mod coalesce;
pub mod frame;
pub mod id;
pub mod notice;
pub mod price;
pub mod rate;
pub mod unit;
