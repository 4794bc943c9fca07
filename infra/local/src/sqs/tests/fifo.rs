//! FIFO queues: order, blocked groups, fairness, duplicates.

use super::*;

const TURNS: &str = "turns.fifo";

fn turns() -> (Sqs, Time) {
    let mut spec = QueueSpec::fifo(TURNS);
    spec.content_based_deduplication = true;
    spec.dead_letter = Some(DeadLetter {
        queue: "dead.fifo".to_owned(),
        receive_count_max: 3,
    });
    queues(vec![spec, QueueSpec::fifo("dead.fifo")])
}

fn grouped(group_id: &str, body: &str) -> NewMessage {
    NewMessage {
        group_id: Some(group_id.to_owned()),
        ..text(body)
    }
}

/// Sends `a0`, `b0` and the like: the group is the letter.
async fn send_all(sqs: &Sqs, all: &[&str]) {
    for body in all {
        sqs.send(TURNS, grouped(&body[..1], body)).await.unwrap();
    }
}

#[tokio::test]
async fn a_group_with_a_message_in_flight_is_blocked_and_the_others_are_not() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "a1", "b0"]).await;
    let a0 = take(&sqs, TURNS, 1).await.remove(0);
    assert_eq!(a0.body, "a0");
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["b0"]);
    assert_eq!(take(&sqs, TURNS, 10).await, []);
    sqs.delete(TURNS, &a0.receipt_handle).await.unwrap();
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["a1"]);
}

#[tokio::test]
async fn a_batch_takes_runs_of_groups_in_order() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "b0", "a1", "c0", "b1", "a2"]).await;
    assert_eq!(
        bodies(&take(&sqs, TURNS, 4).await),
        ["a0", "a1", "a2", "b0"]
    );
    // One of b is in flight, so the other waits.
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["c0"]);
}

#[tokio::test]
async fn order_is_kept_when_visibility_ends() {
    let (sqs, time) = turns();
    send_all(&sqs, &["a0", "a1", "a2"]).await;
    let batch = take(&sqs, TURNS, 2).await;
    assert_eq!(bodies(&batch), ["a0", "a1"]);
    sqs.delete(TURNS, &batch[1].receipt_handle).await.unwrap();
    time.advance(seconds(29));
    assert_eq!(take(&sqs, TURNS, 10).await, []);
    time.advance(seconds(1));
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["a0", "a2"]);
}

#[tokio::test]
async fn a_message_given_back_early_waits_for_the_rest_of_its_group() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "a1"]).await;
    let batch = take(&sqs, TURNS, 2).await;
    sqs.change_visibility(TURNS, &batch[0].receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(take(&sqs, TURNS, 10).await, []);
    sqs.change_visibility(TURNS, &batch[1].receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["a0", "a1"]);
}

#[tokio::test]
async fn an_expired_or_stale_handle_does_not_delete() {
    let (sqs, time) = turns();
    send_all(&sqs, &["a0"]).await;
    let first = take(&sqs, TURNS, 1).await.remove(0).receipt_handle;
    time.advance(seconds(30));
    let expired = sqs.delete(TURNS, &first).await;
    assert!(matches!(expired, Err(SqsError::InvalidParameterValue(_))));
    let second = take(&sqs, TURNS, 1).await.remove(0).receipt_handle;
    let stale = sqs.delete(TURNS, &first).await;
    assert!(matches!(stale, Err(SqsError::InvalidParameterValue(_))));
    sqs.delete(TURNS, &second).await.unwrap();
    sqs.delete(TURNS, &second).await.unwrap();
    assert_eq!(sqs.depth(TURNS).await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_busy_group_waits_for_all_others_before_it_is_served_again() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "a1", "a2", "a3", "b0", "b1", "c0"]).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(take(&sqs, TURNS, 1).await.remove(0));
        sqs.delete(TURNS, &order.last().unwrap().receipt_handle)
            .await
            .unwrap();
    }
    // A newcomer stands behind those that wait already.
    send_all(&sqs, &["d0"]).await;
    while let Some(next) = take(&sqs, TURNS, 1).await.pop() {
        sqs.delete(TURNS, &next.receipt_handle).await.unwrap();
        order.push(next);
    }
    assert_eq!(
        bodies(&order),
        ["a0", "b0", "c0", "a1", "b1", "d0", "a2", "a3"]
    );
}

#[tokio::test]
async fn a_failing_group_does_not_starve_the_others() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "b0"]).await;
    let failing = take(&sqs, TURNS, 1).await.remove(0);
    sqs.change_visibility(TURNS, &failing.receipt_handle, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(bodies(&take(&sqs, TURNS, 1).await), ["b0"]);
}

#[tokio::test]
async fn a_duplicate_gets_the_answer_of_the_first_even_after_that_was_deleted() {
    let (sqs, time) = turns();
    let first = sqs.send(TURNS, grouped("a", "x")).await.unwrap();
    assert_eq!(first.sequence_number.as_ref().unwrap().len(), 20);
    assert_eq!(sqs.send(TURNS, grouped("a", "x")).await.unwrap(), first);
    // The scope is the queue: another group makes no difference.
    assert_eq!(sqs.send(TURNS, grouped("b", "x")).await.unwrap(), first);
    let received = take(&sqs, TURNS, 10).await;
    assert_eq!(bodies(&received), ["x"]);
    assert_eq!(
        received[0].attributes["SequenceNumber"],
        *first.sequence_number.as_ref().unwrap()
    );
    sqs.delete(TURNS, &received[0].receipt_handle)
        .await
        .unwrap();
    time.advance(Duration::from_millis(299_999));
    assert_eq!(sqs.send(TURNS, grouped("a", "x")).await.unwrap(), first);
    assert_eq!(take(&sqs, TURNS, 10).await, []);
    // Five minutes after the first send, not after the last duplicate.
    time.advance(Duration::from_millis(1));
    let later = sqs.send(TURNS, grouped("a", "x")).await.unwrap();
    assert_ne!(later.message_id, first.message_id);
    assert!(later.sequence_number > first.sequence_number);
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["x"]);
}

#[tokio::test]
async fn with_group_scope_another_group_is_no_duplicate() {
    let mut spec = QueueSpec::fifo(TURNS);
    spec.deduplication_scope = DeduplicationScope::MessageGroup;
    spec.throughput_limit = ThroughputLimit::PerMessageGroupId;
    let (sqs, _time) = queues(vec![spec]);
    let identified = |group_id: &str, body: &str| NewMessage {
        deduplication_id: Some("same".to_owned()),
        ..grouped(group_id, body)
    };
    let first = sqs.send(TURNS, identified("a", "1")).await.unwrap();
    let second = sqs.send(TURNS, identified("b", "2")).await.unwrap();
    let duplicate = sqs.send(TURNS, identified("a", "3")).await.unwrap();
    assert_ne!(first.message_id, second.message_id);
    assert_eq!(first.message_id, duplicate.message_id);
    assert_eq!(duplicate.md5_of_body, message::md5_hex(b"3"));
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["1", "2"]);
}

#[tokio::test]
async fn redrive_keeps_the_group_and_frees_what_waited_behind() {
    let (sqs, time) = turns();
    send_all(&sqs, &["a0", "a1"]).await;
    for _ in 0..3 {
        assert_eq!(bodies(&take(&sqs, TURNS, 1).await), ["a0"]);
        time.advance(seconds(30));
    }
    assert_eq!(bodies(&take(&sqs, TURNS, 1).await), ["a1"]);
    let dead = take(&sqs, "dead.fifo", 1).await.remove(0);
    assert_eq!(dead.body, "a0");
    assert_eq!(dead.attributes["MessageGroupId"], "a");
    assert_eq!(dead.attributes["DeadLetterQueueSourceArn"], arn(TURNS));
}

#[tokio::test]
async fn a_delayed_head_holds_its_group_back_and_a_changed_delay_counts_at_once() {
    let mut spec = QueueSpec::fifo(TURNS);
    spec.content_based_deduplication = true;
    spec.delay = seconds(100);
    let directory = Directory::new();
    let path = directory.0.join("sqs.db");
    let time = Time(Arc::new(AtomicI64::new(START_MS)));
    let sqs = open(Some(&path), vec![spec.clone()], &time);
    send_all(&sqs, &["a0", "a1"]).await;
    time.advance(seconds(50));
    assert_eq!(take(&sqs, TURNS, 10).await, []);
    assert_eq!(sqs.depth(TURNS).await.unwrap().delayed, 2);
    drop(sqs);
    spec.delay = seconds(50);
    let sqs = open(Some(&path), vec![spec], &time);
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["a0", "a1"]);
}

#[tokio::test]
async fn a_run_ends_at_the_first_message_that_is_delayed() {
    let mut spec = QueueSpec::fifo(TURNS);
    spec.content_based_deduplication = true;
    spec.delay = seconds(100);
    let (sqs, time) = queues(vec![spec]);
    send_all(&sqs, &["a0"]).await;
    time.advance(seconds(50));
    send_all(&sqs, &["a1"]).await;
    time.advance(seconds(50));
    assert_eq!(bodies(&take(&sqs, TURNS, 10).await), ["a0"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_waits_for_a_group_is_woken_when_its_head_is_deleted() {
    let (sqs, _time) = turns();
    send_all(&sqs, &["a0", "a1"]).await;
    let head = take(&sqs, TURNS, 1).await.remove(0);
    let deleting = async {
        sqs.delete(TURNS, &head.receipt_handle).await.unwrap();
    };
    assert_eq!(woken_by(&sqs, TURNS, deleting).await, "a1");
}

#[tokio::test]
async fn retention_drops_the_old_and_unblocks_their_group() {
    let mut spec = QueueSpec::fifo(TURNS);
    spec.content_based_deduplication = true;
    spec.retention = seconds(60);
    spec.visibility_timeout = seconds(1000);
    let (sqs, time) = queues(vec![spec]);
    send_all(&sqs, &["a0"]).await;
    assert_eq!(bodies(&take(&sqs, TURNS, 1).await), ["a0"]);
    time.advance(seconds(30));
    send_all(&sqs, &["a1"]).await;
    time.advance(seconds(30));
    assert_eq!(bodies(&take(&sqs, TURNS, 1).await), ["a1"]);
}
