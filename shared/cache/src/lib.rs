//! Finds the answer to a question that was asked before in other words.
//!
//! Hides the bundled model, the copies of what is kept that a warm instance holds, and the judgement whether two
//! questions ask the same. In reading order: [`Semantic::find`] is the whole way; `shelves` are the copies, `mind` is
//! the model.
//!
//! Nothing here fails whoever asks: without the model, or where a table is away, nothing is found.

mod mind;
mod remote;
mod shelves;

use std::path::PathBuf;

use sparkle_aws::{
    boot::{Aws, BootError},
    config,
    failure::causes,
    metric,
    table::{TableError, answers::Answers},
};
use sparkle_core::{
    cache::{
        entry::{Kept, Place, Similarity},
        evidence::Evidence,
        sought::Sought,
        verdict,
    },
    notice::Language,
    unit::Timestamp,
};
use sparkle_embed::Embedding;
use tracing::warn;

use crate::{
    mind::{Certainty, Judged, Mind},
    shelves::{Row, Shelves},
};

/// How many of the nearest questions are judged: each takes some milliseconds.
const JUDGED_MAX: usize = 3;

/// Answers to questions that ask the same.
#[derive(Debug)]
pub struct Semantic {
    answers: Answers,
    mind: Mind,
    shelves: Shelves,
    wrong_percent_max: u32,
}

/// An answer that was kept for a question which asks the same.
#[derive(Debug)]
pub struct Found {
    /// Where it is kept.
    pub place: Place,
    /// What is kept.
    pub kept: Kept,
    /// The question that it was kept for, as it was asked.
    pub question: String,
    /// How alike the questions are.
    pub similarity: Similarity,
}

/// A question of which it is in doubt whether it asks the same.
#[derive(Debug)]
pub struct Doubt {
    /// Where its answer is kept.
    pub place: Place,
    /// As it was asked.
    pub question: String,
    /// How alike the questions are.
    pub similarity: Similarity,
}

/// What came of looking for an answer.
#[derive(Debug, Default)]
pub struct Looked {
    /// The answer.
    pub found: Option<Found>,
    /// Where there is none: the likeliest of the questions that are in doubt.
    pub doubt: Option<Doubt>,
    /// What the question means, if that had to be known: it need not be asked for again.
    pub meaning: Option<Meaning>,
}

/// What a question means, to be kept with its answer.
#[derive(Debug)]
pub struct Meaning {
    /// Of the vectors.
    pub version: String,
    /// A byte for each dimension.
    pub vector: Vec<u8>,
    /// What a provider bills for it.
    pub embedded: Option<Embedded>,
}

/// A call of a provider of vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// Its model.
    pub model: String,
    /// Tokens of the question.
    pub tokens: u32,
    /// Whether the provider sent no count and this is a bound of ours.
    pub estimated: bool,
}

impl Embedded {
    fn of(embedding: &Embedding, model: &str, question: &str) -> Self {
        let counted = match embedding {
            Embedding::Remote(remote) => remote.input_tokens,
            Embedding::Read(_) => Some(0),
        };
        // No tokenizer makes more tokens than bytes.
        let bound = || u64::try_from(question.len()).unwrap_or(u64::MAX);
        Self {
            model: model.to_owned(),
            tokens: u32::try_from(counted.unwrap_or_else(bound)).unwrap_or(u32::MAX),
            estimated: counted.is_none(),
        }
    }
}

impl Semantic {
    /// Opens the table `CACHE`; the model is in the folder `SPARKLE_CACHE_WEIGHTS`, without which nothing is found,
    /// and vectors are its own unless `SPARKLE_EMBEDDING_*` name another. Cost: fetches that provider's key from
    /// Secrets Manager where one is named; the model is loaded when it is first needed.
    ///
    /// # Errors
    /// Whatever is wrong with the settings, by name.
    pub async fn open(aws: &Aws) -> Result<Self, BootError> {
        let folder = config::optional("SPARKLE_CACHE_WEIGHTS").map(PathBuf::from);
        Ok(Self {
            answers: Answers::open(aws)?,
            mind: Mind::of(folder, remote::open(aws).await?),
            shelves: Shelves::default(),
            wrong_percent_max: config::cache()?.wrong_percent_max,
        })
    }

    /// The answer to a question that asks the same as `question`, if there is one, and such answers are known to be
    /// wrong rarely enough; else one of which that is in doubt.
    ///
    /// Cost: at once a read and a query for what is new; where something is kept, some milliseconds of processor
    /// time for the question and for each of at most three that are near, and a strongly consistent read. The first
    /// time the model is loaded.
    pub async fn find(&self, sought: &Sought, question: &str, now: Timestamp) -> Looked {
        let mut looked = Looked::default();
        if let Err(error) = self.look(sought, question, now, &mut looked).await {
            warn!(
                error = causes(&error),
                "what asks the same cannot be looked for"
            );
        }
        looked
    }

    async fn look(
        &self,
        sought: &Sought,
        question: &str,
        now: Timestamp,
        looked: &mut Looked,
    ) -> Result<(), TableError> {
        let Some(version) = self.mind.version() else {
            return Ok(());
        };
        let (place, language) = (&sought.place, verdict::language(question));
        let (evidence, is_there) = tokio::join!(
            self.answers
                .evidence(&place.scope, &place.namespace, language, now),
            self.shelves.refresh(&self.answers, place, &version, now),
        );
        let evidence = evidence?;
        if !is_there? || !self.is_trusted(evidence, language, now) {
            return Ok(());
        }
        let Some(mut placed) = self.mind.place(question).await else {
            return Ok(());
        };
        looked.meaning = Some(Meaning {
            version: version.to_string(),
            vector: placed.vector.bytes(),
            embedded: placed.embedded.take(),
        });
        let near = self.shelves.nearest(place, &placed.vector, JUDGED_MAX, now);
        if near.is_empty() {
            return Ok(());
        }
        for judged in self.mind.judge(question, &placed, near).await {
            let Judged {
                row,
                similarity,
                certainty,
            } = judged;
            let place = Place {
                digest: row.digest.clone(),
                ..place.clone()
            };
            let Some(kept) = self.answers.find(&place, now).await? else {
                self.forget(&place, &row).await?;
                continue;
            };
            let question = row.question;
            match certainty {
                Certainty::Sure => {
                    looked.found = Some(Found {
                        place,
                        kept,
                        question,
                        similarity,
                    });
                }
                Certainty::Doubtful => {
                    looked.doubt = Some(Doubt {
                        place,
                        question,
                        similarity,
                    });
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// What a question means; none without the model, or for one that it cannot read. Cost: some milliseconds of
    /// processor time, or one call of the provider.
    pub async fn meaning(&self, question: &str) -> Option<Meaning> {
        let version = self.mind.version()?;
        let placed = self.mind.place(question).await?;
        Some(Meaning {
            version: version.to_string(),
            vector: placed.vector.bytes(),
            embedded: placed.embedded,
        })
    }

    /// Whether answers that are found here are known to be wrong rarely enough.
    fn is_trusted(&self, own: Evidence, language: Language, now: Timestamp) -> bool {
        let is_trusted = verdict::is_trusted(own, self.wrong_percent_max);
        if !is_trusted {
            let labels = [("language", language.as_str())];
            metric::count("cache_distrusted_total", 1, &labels, now);
        }
        is_trusted
    }

    /// Takes out a candidate whose answer was removed.
    async fn forget(&self, place: &Place, row: &Row) -> Result<(), TableError> {
        self.shelves.take_out(place, row);
        self.answers.remove_candidate(&place.scope, &row.mark).await
    }
}
