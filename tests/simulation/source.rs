//! Standard queues: what waits is delivered in batches to the function behind, and what that does not name as
//! failed is deleted.

use std::{cell::RefCell, sync::Arc, time::Duration};

use serde_json::{Value, json};
use sparkle_aws::{
    event::{QueueAnswer, QueueEvent},
    failure::Failure,
};

use crate::platform::{Instance, Platform};

const POLL: Duration = Duration::from_secs(20);

/// As in template.yaml.
pub(crate) struct Source<'a> {
    pub(crate) queue: &'a str,
    pub(crate) batch: usize,
    /// The function's.
    pub(crate) timeout: Duration,
}

impl Platform {
    /// Feeds a function, one invocation after the other. Whoever else feeds it shares its `idle` instances: which
    /// of them a message reaches is not for the seed to say.
    pub(crate) async fn feed<App>(
        &self,
        source: Source<'_>,
        idle: &RefCell<Vec<Instance<App>>>,
        new: impl Fn() -> Instance<App>,
        handle: impl AsyncFn(&App, QueueEvent) -> Result<QueueAnswer, Failure>,
    ) {
        let Source {
            queue,
            batch,
            timeout,
        } = source;
        let sqs = &self.world.engines.sqs;
        loop {
            let received = sqs.receive(queue, batch, POLL, None).await.unwrap();
            if received.is_empty() {
                continue;
            }
            let record = |message: &sparkle_local::sqs::ReceivedMessage| {
                json!({
                    "messageId": message.message_id,
                    "receiptHandle": message.receipt_handle,
                    "body": message.body,
                    "attributes": message.attributes,
                })
            };
            let records: Vec<Value> = received.iter().map(record).collect();
            let event = serde_json::from_value(json!({ "Records": records })).unwrap();
            let waiting = idle.borrow_mut().pop();
            let instance = waiting.unwrap_or_else(&new);
            let process = Arc::clone(&instance.process);
            let handling = handle(&instance.app, event);
            let Some(done) = self.run(&process, timeout, handling).await else {
                continue;
            };
            idle.borrow_mut().push(instance);
            let Ok(answer) = done else { continue };
            let failed = serde_json::to_value(answer).unwrap()["batchItemFailures"].take();
            let failed: Vec<&str> = failed
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|failure| failure["itemIdentifier"].as_str())
                .collect();
            for message in &received {
                let is_lost = {
                    let mut plan = self.world.plan.lock().unwrap();
                    let share = plan.undeleted;
                    !plan.is_calm() && plan.happens(share)
                };
                if !is_lost && !failed.contains(&message.message_id.as_str()) {
                    // Its time may be over: then it comes again.
                    drop(sqs.delete(queue, &message.receipt_handle).await);
                }
            }
        }
    }
}
