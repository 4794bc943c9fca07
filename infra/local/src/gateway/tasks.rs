//! Work that outlives the request that began it, kept where somebody can wait for it.

use std::future::Future;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

/// The gateway's running connections and invocations.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Begins `work`, and forgets what has finished since the last call.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(finished) = running.try_join_next() {
            if let Err(error) = finished {
                tracing::error!(%error, "a gateway task failed");
            }
        }
        running.spawn(work);
    }

    /// Waits until nothing runs, what is spawned meanwhile included; after `patience` aborts the
    /// rest.
    pub(super) async fn finish(&self, patience: Duration) {
        let finished = async {
            loop {
                let mut batch = self.take();
                if batch.is_empty() {
                    return;
                }
                while batch.join_next().await.is_some() {}
            }
        };
        if timeout(patience, finished).await.is_err() {
            // Dropping a set aborts it; the batch under way went with the future above.
            drop(self.take());
            tracing::warn!("gateway work was cut off at shutdown");
        }
    }

    fn take(&self) -> JoinSet<()> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
