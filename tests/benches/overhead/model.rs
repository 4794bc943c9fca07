//! The scripted provider behind a relay that notes when the first text of each answer went by, and short
//! chats that it answers at once.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use sparkle_tests::bench::Provider;

use crate::relay::{Part, Relay, Side};

/// A provider, and when the first text of each of its answers went by.
pub(crate) struct Model {
    /// What `SPARKLE_LLM_BASE_URL` takes.
    pub(crate) base_url: String,
    sightings: Arc<Mutex<HashMap<String, Instant>>>,
    _relay: Relay,
    _provider: Provider,
}

/// A question whose answer is known.
pub(crate) struct Question {
    mark: String,
}

impl Model {
    pub(crate) async fn start(programs: &Path) -> Result<Self> {
        let provider = Provider::start(programs).await?;
        let address = provider.base_url.replace("http://", "").replace("/v1", "");
        let sightings = Arc::new(Mutex::new(HashMap::new()));
        let noted = Arc::clone(&sightings);
        let relay = Relay::start(&address, Duration::ZERO, move |part| note(&noted, &part)).await?;
        Ok(Self {
            base_url: format!("http://{}/v1", relay.address),
            sightings,
            _relay: relay,
            _provider: provider,
        })
    }

    /// When the first text of its answer came from the provider; none if it was not seen.
    pub(crate) fn first_text(&self, question: &Question) -> Option<Instant> {
        // A panic elsewhere does not make times wrong.
        let mut sightings = self
            .sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sightings.remove(&question.mark)
    }
}

impl Question {
    /// One that was never asked before.
    pub(crate) fn new() -> Self {
        Self {
            mark: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// As `/chat/completions` takes it.
    pub(crate) fn request(&self) -> Value {
        Provider::request(&[&format!("[[{}]]", self.mark), " and more"])
    }

    /// As a learner says it.
    pub(crate) fn message(&self) -> Value {
        self.request()["messages"][0]["content"].take()
    }
}

/// A mark that two reads share is missed: its turn has no overhead, and `n` is less.
fn note(sightings: &Mutex<HashMap<String, Instant>>, part: &Part<'_>) {
    if part.from == Side::Caller {
        return;
    }
    let text = String::from_utf8_lossy(part.bytes);
    let mut sightings = sightings.lock().unwrap_or_else(PoisonError::into_inner);
    for begun in text.split("[[").skip(1) {
        if let Some((mark, _)) = begun.split_once("]]") {
            sightings.entry(mark.to_owned()).or_insert(part.at);
        }
    }
}
