//! Domain values to AWS and back: the only crate that names an SDK type (invariant A2).
//!
//! | module | hides |
//! | --- | --- |
//! | [`config`] | the environment; nothing else reads it |
//! | [`boot`] | a cold start: logs, SDK settings, the Lambda runtime |
//! | [`door`] | what every route of the socket does with a frame |
//! | [`event`] | the JSON of the events that functions are invoked with |
//! | [`exchange`] | AWS without a network, for tests in process |
//! | [`failure`] | how an error turns into what the platform does next |
//! | [`learners`] | copies of learners' profiles in a warm instance |
//! | [`token`] | JWTs: keys, their rotation, claims |
//! | [`push`] | posting to a socket |
//! | [`queue`] | sending a job, in order and once |
//! | [`trust`] | root certificates |
//! | [`table`] | every item, key and expression in DynamoDB |
//! | [`lookup`] | whether a question has an answer already |
//! | [`meter`] | the one door through which every call of a model is paid |
//! | [`metric`] | CloudWatch's embedded metric format |

pub mod boot;
pub mod config;
pub mod damage;
pub mod door;
pub mod event;
pub mod exchange;
pub mod failure;
pub mod learners;
pub mod lookup;
pub mod meter;
pub mod metric;
pub mod push;
pub mod queue;
pub mod table;
pub mod token;
pub mod trust;
