//! Hides how the process of an instance is found from outside and killed: the fault layer kills the
//! one that makes a call.

use std::{
    collections::BTreeMap,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Stands in a value of [`Executable::environment`] for the id of the instance that sees it. Goes into a
/// URL as it is.
///
/// [`Executable::environment`]: super::Executable::environment
pub const INSTANCE: &str = "~instance~";

/// The instances that run, of all functions that share this. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Processes(Arc<Mutex<BTreeMap<Key, watch::Sender<bool>>>>);

/// A function and the id of an instance of it.
type Key = (String, u64);

impl Processes {
    /// Kills the process of an instance with SIGKILL and returns when it is gone. Whoever waits for its
    /// answer is told as on Lambda, and the next invocation finds another instance. Does nothing about
    /// one that has ended.
    pub async fn kill(&self, function: &str, instance_id: u64) {
        let sentence = self
            .running()
            .get(&(function.to_owned(), instance_id))
            .cloned();
        let Some(sentence) = sentence else {
            return tracing::debug!(function, instance_id, "there is no such instance to kill");
        };
        sentence.send_replace(true);
        // Nobody listens any more once the process has been waited for.
        sentence.closed().await;
    }

    /// Enters an instance, until what this returns is dropped.
    pub(super) fn enter(&self, function: &str, instance_id: u64) -> Entry {
        let (sentence, heard) = watch::channel(false);
        let key = (function.to_owned(), instance_id);
        self.running().insert(key.clone(), sentence);
        Entry {
            processes: self.clone(),
            key,
            heard,
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Key, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance that can be found.
#[derive(Debug)]
pub(super) struct Entry {
    processes: Processes,
    key: Key,
    heard: watch::Receiver<bool>,
}

impl Entry {
    /// Returns when its process is to be killed.
    pub(super) async fn condemned(&mut self) {
        if self.heard.wait_for(|condemned| *condemned).await.is_err() {
            // The sender lives as long as this entry.
            future::pending::<()>().await;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.processes.running().remove(&self.key);
    }
}
