//! Whether a question has an answer already: looked for as a turn would, with nothing asked, begun or counted.
//!
//! The question is taken for one that opens a conversation. What finds an answer by its meaning comes from whoever
//! has a model for it.
//!
//! An answer for everybody is shown to a learner only if that learner asked first. To others it is as if there
//! were none, after the same one read: neither what a lookup says nor how long it takes tells what others asked.
//! A `chat` with the same question may get it all the same, as late as a fresh answer would begin.

use sparkle_core::{
    cache::{
        entry::{Kept, Origin, Similarity, asker},
        sought::{Settings, Sought},
    },
    frame::{Body, ErrorBody, ErrorCode, Found, Lookup},
    id::UserId,
    notice,
    profile::Manner,
    unit::Timestamp,
};

use crate::{
    boot::Aws,
    config::{self, ConfigError},
    door::Asked,
    failure::Failure,
    learners::Learners,
    table::{TableError, answers::Answers, policies::Policies},
};

/// What looks for answers.
#[derive(Debug)]
pub struct Lookups {
    answers: Answers,
    settings: Settings,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The learner, who must not be told what others asked.
    Learner,
    /// A program that may ask for any learner.
    Operator,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// An answer, or none that may be shown.
    Known(Option<Found>),
    /// The model that is named is not offered.
    UnknownModel,
}

impl Lookups {
    /// Opens the table `CACHE` with the settings `SPARKLE_CACHE_*`; makes no call.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        Ok(Self {
            answers: Answers::open(aws)?,
            settings: config::cache()?,
        })
    }

    /// Answers a learner's `lookup`, or says what it is refused for. An answer has at most 56 KiB, so it fits in
    /// one post. Cost: as [`Self::find`], and one post.
    ///
    /// # Errors
    /// [`Failure`] if a table is away or the answer could not be posted.
    pub async fn answer(
        &self,
        (policies, learners): (&Policies, &Learners),
        asked: &Asked<'_>,
        lookup: &Lookup,
        by_meaning: impl AsyncFn(&Sought) -> Option<(Kept, Similarity)>,
    ) -> Result<Option<ErrorBody>, Failure> {
        let user = &asked.identity.user_id;
        let learner = learners.of(user, asked.profile_stamp, asked.now).await;
        let (manner, reader) = (learner.manner(), Reader::Learner);
        let question = (lookup, by_meaning);
        let looked = self.find(policies, (user, &manner), question, reader, asked.now);
        match looked.await? {
            Looked::Known(found) => {
                asked.reply(Body::LookupResult(found)).await?;
                Ok(None)
            }
            Looked::UnknownModel => {
                let (code, language) = (ErrorCode::InvalidArgument, asked.language());
                Ok(Some(notice::error_in(code, "payload.model", language)))
            }
        }
    }

    /// Looks for the answer that a learner would get. Cost: one strongly consistent read, and the price list's
    /// every 10 s; no read of the cache for a question that is never kept.
    ///
    /// # Errors
    /// [`TableError`].
    pub async fn find(
        &self,
        policies: &Policies,
        (user, manner): (&UserId, &Manner),
        (lookup, by_meaning): (&Lookup, impl AsyncFn(&Sought) -> Option<(Kept, Similarity)>),
        reader: Reader,
        now: Timestamp,
    ) -> Result<Looked, TableError> {
        let catalogue = policies.catalogue(now).await?;
        let Some(model) = catalogue.find(&lookup.model) else {
            return Ok(Looked::UnknownModel);
        };
        let Some(sought) = Sought::of_lookup(user, manner, lookup, &model.id, &self.settings)
        else {
            return Ok(Looked::Known(None));
        };
        let is_shown = |kept: &Kept| reader == Reader::Operator || kept.asker == asker(user);
        let same = self.answers.find(&sought.place, now).await?;
        let same = same.map(|kept| (kept, Origin::Exact));
        let found = match same {
            Some(same) => Some(same),
            // How long that takes would tell a learner what others asked.
            None if reader == Reader::Learner && sought.is_for_all() => None,
            None => {
                let similar = by_meaning(&sought).await;
                similar.map(|(kept, similarity)| (kept, Origin::Semantic(similarity)))
            }
        };
        let shown = found.filter(|(kept, _)| is_shown(kept));
        Ok(Looked::Known(
            shown.map(|(kept, origin)| as_found(origin, kept, now)),
        ))
    }
}

fn as_found(origin: Origin, kept: Kept, now: Timestamp) -> Found {
    let age_ms = now.unix_ms().saturating_sub(kept.made_at.unix_ms());
    let age_seconds = u64::try_from(age_ms).unwrap_or(0) / 1_000;
    Found {
        origin,
        text: kept.text,
        age_seconds: u32::try_from(age_seconds).unwrap_or(u32::MAX),
    }
}
