//! What a question means and whether two ask the same: the bundled model, loaded when it is first needed and at work
//! on a thread of its own, and for vectors another provider, if one is named.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use sparkle_aws::failure::causes;
use sparkle_core::cache::{
    entry::Similarity,
    verdict::{self, Signs},
};
use sparkle_embed::{
    Bundled, Embedder, OpenError, States, Vector, VectorVersion, Verifier, bundled,
};
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::{
    Embedded,
    shelves::{Near, Row},
};

#[derive(Debug)]
pub(crate) struct Mind {
    folder: Option<PathBuf>,
    version: Option<VectorVersion>,
    model: Arc<OnceLock<Option<Model>>>,
    remote: Option<Remote>,
}

/// A provider of vectors, and what it calls its model.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) embedder: Embedder,
    pub(crate) model: String,
}

#[derive(Debug)]
struct Model {
    bundled: Bundled,
    verifier: Verifier,
}

/// A question, placed among others.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) vector: Vector,
    /// What the provider bills for it.
    pub(crate) embedded: Option<Embedded>,
    states: Option<States>,
}

/// A question that asks the same, by all that is known, or may.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) row: Row,
    pub(crate) similarity: Similarity,
    pub(crate) certainty: Certainty,
}

/// Whether it is known that two questions ask the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Certainty {
    Doubtful,
    Sure,
}

impl Mind {
    /// Without a folder there is no verifier, so nothing is judged.
    pub(crate) fn of(folder: Option<PathBuf>, remote: Option<Remote>) -> Self {
        let version = folder.as_deref().map(bundled::version);
        let version = version.transpose().unwrap_or_else(|error| {
            error!(error = causes(&error), "only the same question is found");
            None
        });
        let of_remote = remote.as_ref().map(|remote| remote.embedder.version());
        Self {
            version: version.map(|version| of_remote.unwrap_or(version)),
            folder,
            model: Arc::default(),
            remote,
        }
    }

    /// Of its vectors; none where nothing can be judged.
    pub(crate) fn version(&self) -> Option<VectorVersion> {
        self.version
    }

    /// Places a question. Cost: some milliseconds of processor time, and at first loading the model; or one call of
    /// the provider.
    pub(crate) async fn place(&self, question: &str) -> Option<Placed> {
        let Some(Remote { embedder, model }) = &self.remote else {
            let question = question.to_owned();
            let reading = self.work(move |model| model.bundled.read(&question).ok());
            let reading = reading.await??;
            return Some(Placed {
                vector: reading.vector().clone(),
                embedded: None,
                states: Some(reading.states().clone()),
            });
        };
        match embedder.embed(question).await {
            Ok(embedding) => Some(Placed {
                vector: embedding.vector().clone(),
                embedded: Some(Embedded::of(&embedding, model, question)),
                states: None,
            }),
            Err(error) => {
                warn!(error = causes(&error), "a question has no vector");
                None
            }
        }
    }

    /// Which of those that are near ask the same or may, the surest first. Cost: some milliseconds of processor time each.
    pub(crate) async fn judge(
        &self,
        question: &str,
        placed: &Placed,
        near: Vec<Near>,
    ) -> Vec<Judged> {
        let (question, states) = (question.to_owned(), placed.states.clone());
        let judge = move |model: &Model| {
            let states = states.or_else(|| model.bundled.states(&question).ok());
            let Some(states) = states else {
                return Vec::new();
            };
            let judge = |near| model.judge(&question, &states, near);
            let mut judged: Vec<(f64, Judged)> = near.into_iter().filter_map(judge).collect();
            judged.sort_by(|(one_sure, one), (other_sure, other)| {
                let by_certainty = other.certainty.cmp(&one.certainty);
                by_certainty.then(other_sure.total_cmp(one_sure))
            });
            judged.into_iter().map(|(_, judged)| judged).collect()
        };
        self.work(judge).await.unwrap_or_default()
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Model) -> T + Send + 'static,
    ) -> Option<T> {
        let (folder, model) = (self.folder.clone()?, Arc::clone(&self.model));
        let working = spawn_blocking(move || {
            let model = model.get_or_init(|| match Model::open(&folder) {
                Ok(model) => Some(model),
                Err(error) => {
                    error!(error = causes(&error), "the model cannot be loaded");
                    None
                }
            });
            model.as_ref().map(work)
        });
        working.await.ok().flatten()
    }
}

impl Model {
    fn open(folder: &std::path::Path) -> Result<Self, OpenError> {
        Ok(Self {
            bundled: Bundled::open(folder)?,
            verifier: Verifier::open(folder)?,
        })
    }

    /// How sure it is that a question that is near asks the same; none where it hardly does.
    fn judge(&self, question: &str, states: &States, near: Near) -> Option<(f64, Judged)> {
        let Near { row, similarity } = near;
        let other = self.bundled.states(&row.question).ok()?;
        let logit = self.verifier.logit(states, &other).ok()?;
        let signs = Signs::of(question, &row.question, logit, similarity);
        let (sure, certainty) = match verdict::sure(&signs) {
            Some(sure) => (sure, Certainty::Sure),
            None => (verdict::doubt(&signs)?, Certainty::Doubtful),
        };
        let judged = Judged {
            row,
            similarity: verdict::similarity(similarity),
            certainty,
        };
        Some((sure, judged))
    }
}
