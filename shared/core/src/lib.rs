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
//! | [`profile`] | who a learner is, and how they like to be taught |
//! | [`rate`] | whether one more frame is within a learner's rate |
//! | [`cache`] | whether a question was answered before |
//! | [`chat`] | what a model is told about its part |
//! | [`context`] | which part of a conversation a model sees |
//! | [`cache`] | which answer may stand for another question's |
//! | [`summary`] | what is remembered of a long conversation |
//! | [`coalesce`] | when streamed text is worth a frame |
//! | [`price`] | which models there are and what their tokens cost |
//! | [`ledger`] | what one call of a model was for, consumed and cost |
//! | [`platform`] | what a call costs beside the model, by estimate |
//! | [`policy`] | what operators decide without a deploy |
//! | [`quota`] | whether a call may be paid for, and what is held for it |

pub mod cache;
pub mod chat;
pub mod coalesce;
pub mod context;
pub mod frame;
pub mod id;
pub mod ledger;
pub mod notice;
pub mod platform;
pub mod policy;
pub mod price;
pub mod profile;
pub mod quota;
pub mod rate;
pub mod summary;
pub mod unit;
