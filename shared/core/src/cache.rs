//! Whether a question was answered before, so that its answer costs nothing.
//!
//! | module | decides |
//! | --- | --- |
//! | [`canonical`] | which spellings of a question are one question |
//! | [`dependence`] | what an answer depends on beside the question, and who may see both |
//! | [`courtesy`] | what a question asks without it |
//! | [`difference`] | what rules see between two questions |
//! | [`verdict`] | whether two questions ask the same |
//! | [`judge`] | what a model is told that is to say so where that is in doubt, and which verdicts it checks |
//! | [`evidence`] | how rarely a verdict was wrong |
//! | [`entry`] | where an answer is kept, and what of it |
//! | [`sought`] | whether and where an answer is looked for |

pub mod canonical;
pub mod courtesy;
pub mod dependence;
pub mod difference;
pub mod entry;
pub mod evidence;
pub mod judge;
pub mod sought;
mod text;
pub mod verdict;
