//! A FIFO queue against a model of a few lines, under random operations.

use proptest::prelude::*;

use super::*;

const QUEUE: &str = "q.fifo";

#[derive(Clone, Debug)]
enum Operation {
    Send {
        group: usize,
    },
    Receive {
        messages_max: usize,
        visibility_seconds: u64,
    },
    /// `receipt` counts back from the newest one.
    Delete {
        receipt: usize,
    },
    ChangeVisibility {
        receipt: usize,
        visibility_seconds: u64,
    },
    Advance {
        span_ms: u64,
    },
    /// A receive whose receiver goes away: no effect.
    Abandon,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..4_usize).prop_map(|group| Operation::Send { group }),
        4 => (1..=10_usize, 0..20_u64).prop_map(|(messages_max, visibility_seconds)| {
            Operation::Receive { messages_max, visibility_seconds }
        }),
        4 => (0..6_usize).prop_map(|receipt| Operation::Delete { receipt }),
        1 => (0..6_usize, 0..20_u64).prop_map(|(receipt, visibility_seconds)| {
            Operation::ChangeVisibility { receipt, visibility_seconds }
        }),
        2 => (0..15_000_u64).prop_map(|span_ms| Operation::Advance { span_ms }),
        1 => Just(Operation::Abandon),
    ]
}

struct Message {
    body: String,
    visible_ms: i64,
    receives: u32,
}

struct Receipt {
    handle: String,
    body: String,
    receives: u32,
}

/// What the queue must do: groups of messages in the order of sending.
#[derive(Default)]
struct Model {
    groups: [Vec<Message>; 4],
    receipts: Vec<Receipt>,
    now_ms: i64,
}

impl Model {
    fn message(&mut self, body: &str) -> Option<&mut Message> {
        self.groups
            .iter_mut()
            .flatten()
            .find(|message| message.body == body)
    }

    /// What a receive may take from a group: nothing while one is in flight.
    fn run(&self, group: usize) -> usize {
        let messages = &self.groups[group];
        let blocked = messages
            .iter()
            .any(|message| message.visible_ms > self.now_ms);
        if blocked { 0 } else { messages.len() }
    }

    /// The receipt if it is that of a running flight, else the message's name or nothing.
    fn flying(&mut self, back: usize) -> Option<(String, String, bool)> {
        let index = self.receipts.len().checked_sub(back + 1)?;
        let Receipt {
            handle,
            body,
            receives,
        } = &self.receipts[index];
        let (handle, body, receives) = (handle.clone(), body.clone(), *receives);
        let now_ms = self.now_ms;
        let flies = self
            .message(&body)
            .is_some_and(|message| message.receives == receives && message.visible_ms > now_ms);
        Some((handle, body, flies))
    }

    fn check_received(
        &mut self,
        received: &[ReceivedMessage],
        messages_max: usize,
        visible_ms: i64,
    ) {
        let available: usize = (0..4).map(|group| self.run(group)).sum();
        assert_eq!(
            received.len(),
            available.min(messages_max),
            "none may be held back"
        );
        let runs: Vec<usize> = (0..4).map(|group| self.run(group)).collect();
        let mut taken = [0; 4];
        for message in received {
            let group: usize = message.attributes["MessageGroupId"].parse().unwrap();
            assert!(taken[group] < runs[group], "taken from a blocked group");
            let expected = &mut self.groups[group][taken[group]];
            assert_eq!(message.body, expected.body, "out of order");
            expected.receives += 1;
            expected.visible_ms = visible_ms;
            let receives = expected.receives.to_string();
            assert_eq!(message.attributes["ApproximateReceiveCount"], receives);
            taken[group] += 1;
            self.receipts.push(Receipt {
                handle: message.receipt_handle.clone(),
                body: message.body.clone(),
                receives: expected.receives,
            });
        }
    }
}

/// The queue and its model, side by side.
struct Trial {
    sqs: Sqs,
    time: Time,
    model: Model,
    sent: u32,
}

impl Trial {
    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Send { group } => self.send(group).await,
            Operation::Receive {
                messages_max,
                visibility_seconds,
            } => {
                let visibility = seconds(visibility_seconds);
                self.receive(messages_max, visibility).await;
            }
            Operation::Delete { receipt } => self.delete(receipt).await,
            Operation::ChangeVisibility {
                receipt,
                visibility_seconds,
            } => {
                let visibility = seconds(visibility_seconds);
                self.change_visibility(receipt, visibility).await;
            }
            Operation::Advance { span_ms } => {
                let span = Duration::from_millis(span_ms);
                self.time.advance(span);
                self.model.now_ms += millis(span);
            }
            Operation::Abandon => drop(receive_unheard(&self.sqs, QUEUE).await),
        }
    }

    async fn send(&mut self, group: usize) {
        self.sent += 1;
        let body = self.sent.to_string();
        let message = NewMessage {
            group_id: Some(group.to_string()),
            deduplication_id: Some(body.clone()),
            ..text(&body)
        };
        self.sqs.send(QUEUE, message).await.unwrap();
        self.model.groups[group].push(Message {
            body,
            visible_ms: self.model.now_ms,
            receives: 0,
        });
    }

    async fn receive(&mut self, messages_max: usize, visibility: Duration) {
        let received = self
            .sqs
            .receive(QUEUE, messages_max, Duration::ZERO, Some(visibility))
            .await
            .unwrap();
        let visible_ms = self.model.now_ms + millis(visibility);
        self.model
            .check_received(&received, messages_max, visible_ms);
    }

    async fn delete(&mut self, receipt: usize) {
        let Some((handle, body, flies)) = self.model.flying(receipt) else {
            return;
        };
        let exists = self.model.message(&body).is_some();
        let deleted = self.sqs.delete(QUEUE, &handle).await;
        assert_eq!(deleted.is_ok(), flies || !exists, "{deleted:?}");
        if flies {
            for group in &mut self.model.groups {
                group.retain(|message| message.body != body);
            }
        }
    }

    async fn change_visibility(&mut self, receipt: usize, visibility: Duration) {
        let Some((handle, body, flies)) = self.model.flying(receipt) else {
            return;
        };
        let changed = self.sqs.change_visibility(QUEUE, &handle, visibility).await;
        assert_eq!(changed.is_ok(), flies, "{changed:?}");
        let visible_ms = self.model.now_ms + millis(visibility);
        if let Some(message) = self.model.message(&body).filter(|_| flies) {
            message.visible_ms = visible_ms;
        }
    }
}

async fn run(operations: Vec<Operation>) {
    let (sqs, time) = queues(vec![QueueSpec::fifo(QUEUE)]);
    let model = Model {
        now_ms: START_MS,
        ..Model::default()
    };
    let mut trial = Trial {
        sqs,
        time,
        model,
        sent: 0,
    };
    for operation in operations {
        trial.apply(operation).await;
    }
    let left: usize = trial.model.groups.iter().map(Vec::len).sum();
    let depth = trial.sqs.depth(QUEUE).await.unwrap();
    assert_eq!(
        depth.visible + depth.in_flight,
        u64::try_from(left).unwrap()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn a_fifo_queue_behaves_as_its_model(operations in prop::collection::vec(operation(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
