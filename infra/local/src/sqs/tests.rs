//! The queues through their in-process face. Time is a number that the tests set.

mod fifo;
mod http;
mod model;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use super::message::md5_of_attributes;
use super::*;

/// Long enough for a loaded machine; a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// When every test starts, in ms since 1970.
const START_MS: i64 = 1_800_000_000_000;

/// The time, in the hands of a test.
#[derive(Clone)]
struct Time(Arc<AtomicI64>);

impl Time {
    fn advance(&self, span: Duration) {
        self.0.fetch_add(millis(span), Ordering::SeqCst);
    }
}

fn queues(specs: Vec<QueueSpec>) -> (Sqs, Time) {
    let time = Time(Arc::new(AtomicI64::new(START_MS)));
    (open(None, specs, &time), time)
}

fn open(path: Option<&Path>, specs: Vec<QueueSpec>, time: &Time) -> Sqs {
    let time = Arc::clone(&time.0);
    let clock: ClockMs = Arc::new(move || time.load(Ordering::SeqCst));
    Sqs::open_with_clock(path, specs, "http://localhost:9324/".to_owned(), clock).unwrap()
}

/// A directory that is removed with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("sparkle-sqs-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn text(body: &str) -> NewMessage {
    NewMessage {
        body: body.to_owned(),
        ..NewMessage::default()
    }
}

fn bodies(messages: &[ReceivedMessage]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.body.as_str())
        .collect()
}

async fn take(sqs: &Sqs, queue: &str, messages_max: usize) -> Vec<ReceivedMessage> {
    sqs.receive(queue, messages_max, Duration::ZERO, None)
        .await
        .unwrap()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[tokio::test]
async fn a_received_message_is_hidden_until_its_visibility_ends_or_it_is_deleted() {
    let (sqs, time) = queues(vec![QueueSpec::standard("q")]);
    let sent = sqs.send("q", text("one")).await.unwrap();
    assert_eq!(sent.sequence_number, None);

    let first = take(&sqs, "q", 10).await;
    assert_eq!(bodies(&first), ["one"]);
    assert_eq!(first[0].message_id, sent.message_id);
    assert_eq!(first[0].md5_of_body, sent.md5_of_body);
    assert_eq!(first[0].attributes["ApproximateReceiveCount"], "1");
    assert_eq!(take(&sqs, "q", 10).await, []);

    time.advance(Duration::from_millis(29_999));
    assert_eq!(take(&sqs, "q", 10).await, []);
    time.advance(Duration::from_millis(1));
    let again = take(&sqs, "q", 10).await;
    assert_eq!(again[0].attributes["ApproximateReceiveCount"], "2");
    assert_eq!(
        again[0].attributes["ApproximateFirstReceiveTimestamp"],
        START_MS.to_string()
    );

    // A handle of an earlier receive still deletes, and deleting twice is no error.
    sqs.delete("q", &first[0].receipt_handle).await.unwrap();
    sqs.delete("q", &again[0].receipt_handle).await.unwrap();
    time.advance(seconds(60));
    assert_eq!(take(&sqs, "q", 10).await, []);
}

#[tokio::test]
async fn visibility_changes_from_now_on_and_only_in_flight() {
    let (sqs, time) = queues(vec![QueueSpec::standard("q")]);
    sqs.send("q", text("one")).await.unwrap();
    let handle = take(&sqs, "q", 1).await.remove(0).receipt_handle;

    time.advance(seconds(20));
    sqs.change_visibility("q", &handle, seconds(100))
        .await
        .unwrap();
    time.advance(seconds(99));
    assert_eq!(take(&sqs, "q", 1).await, []);
    sqs.change_visibility("q", &handle, Duration::ZERO)
        .await
        .unwrap();
    let not_in_flight = sqs.change_visibility("q", &handle, seconds(1)).await;
    assert!(matches!(not_in_flight, Err(SqsError::MessageNotInflight)));

    let newer = take(&sqs, "q", 1).await.remove(0).receipt_handle;
    let stale = sqs.change_visibility("q", &handle, seconds(1)).await;
    assert!(matches!(stale, Err(SqsError::InvalidParameterValue(_))));
    time.advance(seconds(10));
    let too_long = sqs.change_visibility("q", &newer, seconds(43_191)).await;
    assert!(matches!(too_long, Err(SqsError::InvalidParameterValue(_))));
    sqs.change_visibility("q", &newer, seconds(43_190))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_delay_hides_a_new_message_and_depth_tells_the_states_apart() {
    let mut spec = QueueSpec::standard("q");
    spec.delay = seconds(5);
    let (sqs, time) = queues(vec![spec]);
    sqs.send("q", text("queue's delay")).await.unwrap();
    let own = NewMessage {
        delay: Some(seconds(900)),
        ..text("own delay")
    };
    sqs.send("q", own).await.unwrap();
    assert_eq!(take(&sqs, "q", 10).await, []);
    time.advance(seconds(5));
    assert_eq!(bodies(&take(&sqs, "q", 10).await), ["queue's delay"]);
    let now = NewMessage {
        delay: Some(Duration::ZERO),
        ..text("none")
    };
    sqs.send("q", now).await.unwrap();
    let expected = Depth {
        visible: 1,
        in_flight: 1,
        delayed: 1,
        oldest_age_ms: 5000,
    };
    assert_eq!(sqs.depth("q").await.unwrap(), expected);
}

#[tokio::test]
async fn a_message_older_than_the_retention_is_gone() {
    let mut spec = QueueSpec::standard("q");
    spec.retention = seconds(60);
    let (sqs, time) = queues(vec![spec]);
    sqs.send("q", text("old")).await.unwrap();
    time.advance(seconds(59));
    sqs.send("q", text("new")).await.unwrap();
    time.advance(seconds(1));
    assert_eq!(bodies(&take(&sqs, "q", 10).await), ["new"]);
    time.advance(seconds(60));
    assert_eq!(sqs.depth("q").await.unwrap(), Depth::default());
}

#[tokio::test]
async fn a_message_received_too_often_moves_to_the_dead_letter_queue() {
    let mut spec = QueueSpec::standard("q");
    spec.dead_letter = Some(DeadLetter {
        queue: "dead".to_owned(),
        receive_count_max: 2,
    });
    // Declared before its target: the order does not matter.
    let (sqs, time) = queues(vec![spec, QueueSpec::standard("dead")]);
    let sent = sqs.send("q", text("poison")).await.unwrap();
    sqs.send("q", text("good")).await.unwrap();
    let mut handle = String::new();
    for _ in 0..2 {
        let both = take(&sqs, "q", 10).await;
        assert_eq!(bodies(&both), ["poison", "good"]);
        handle.clone_from(&both[0].receipt_handle);
        sqs.delete("q", &both[1].receipt_handle).await.unwrap();
        time.advance(seconds(30));
        sqs.send("q", text("good")).await.unwrap();
    }
    assert_eq!(take(&sqs, "dead", 10).await, []);
    assert_eq!(bodies(&take(&sqs, "q", 10).await), ["good"]);
    // The old handle belongs to the old queue and deletes nothing in the new one.
    sqs.delete("q", &handle).await.unwrap();

    let dead = take(&sqs, "dead", 10).await;
    assert_eq!(bodies(&dead), ["poison"]);
    assert_eq!(dead[0].message_id, sent.message_id);
    assert_eq!(dead[0].attributes["ApproximateReceiveCount"], "3");
    assert_eq!(dead[0].attributes["DeadLetterQueueSourceArn"], arn("q"));
    let wrong_queue = sqs.delete("dead", &handle).await;
    assert!(matches!(wrong_queue, Err(SqsError::ReceiptHandleIsInvalid)));
}

/// Waits for a message of `queue` while `meanwhile` happens. tokio's time stands still unless
/// everybody waits for it, so a receiver that is not woken is noticed without a clock.
async fn woken_by(sqs: &Sqs, queue: &str, meanwhile: impl Future<Output = ()>) -> String {
    let start = Instant::now();
    let receiving = sqs.receive(queue, 1, PATIENCE, None);
    let (received, ()) = tokio::join!(receiving, async {
        // The receiver is polled first. By then it has looked once and waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        meanwhile.await;
    });
    assert_eq!(start.elapsed(), Duration::from_millis(1), "not woken");
    received.unwrap().remove(0).body
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receiver_is_woken_by_a_send() {
    let (sqs, _time) = queues(vec![QueueSpec::standard("q")]);
    let sending = async {
        sqs.send("q", text("hello")).await.unwrap();
    };
    assert_eq!(woken_by(&sqs, "q", sending).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receiver_is_woken_by_a_visibility_cut_short() {
    let (sqs, _time) = queues(vec![QueueSpec::standard("q")]);
    sqs.send("q", text("again")).await.unwrap();
    let handle = take(&sqs, "q", 1).await.remove(0).receipt_handle;
    let changing = async {
        let changed = sqs.change_visibility("q", &handle, Duration::ZERO).await;
        changed.unwrap();
    };
    assert_eq!(woken_by(&sqs, "q", changing).await, "again");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receiver_is_woken_by_another_that_goes_away() {
    let (sqs, _time) = queues(vec![QueueSpec::standard("q")]);
    sqs.send("q", text("kept")).await.unwrap();
    let answer = receive_unheard(&sqs, "q").await;
    let leaving = async { drop(answer) };
    assert_eq!(woken_by(&sqs, "q", leaving).await, "kept");
}

/// A receive whose messages have not arrived yet: dropped, they come back.
async fn receive_unheard(sqs: &Sqs, queue: &str) -> Answer {
    let request = Request {
        queue: queue.to_owned(),
        messages_max: 10,
        wait: None,
        visibility: None,
    };
    let returns = Arc::clone(&sqs.returns);
    sqs.call(move |engine, now_ms| {
        engine.transact(|transaction, queues| {
            receive::receive(transaction, queues, &request, returns, now_ms)
        })
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_waiting_receiver_gets_a_message_when_its_visibility_ends() {
    let base_url = "http://localhost".to_owned();
    let sqs = Sqs::open(None, vec![QueueSpec::standard("q")], base_url).unwrap();
    sqs.send("q", text("again")).await.unwrap();
    let brief = Some(Duration::from_millis(50));
    let first = sqs.receive("q", 1, Duration::ZERO, brief).await.unwrap();
    let second = sqs.receive("q", 1, PATIENCE, None).await.unwrap();
    assert_eq!(first[0].message_id, second[0].message_id);
}

#[tokio::test]
async fn a_receiver_gets_nothing_after_its_wait() {
    let base_url = "http://localhost".to_owned();
    let sqs = Sqs::open(None, vec![QueueSpec::standard("q")], base_url).unwrap();
    let nothing = sqs.receive("q", 1, Duration::from_millis(20), None).await;
    assert_eq!(nothing.unwrap(), []);
    let unknown = sqs.receive("other", 1, PATIENCE, None).await;
    assert!(matches!(unknown, Err(SqsError::QueueDoesNotExist)));
}

#[tokio::test]
async fn what_a_dropped_receive_would_have_returned_comes_back_at_once() {
    for spec in [QueueSpec::standard("q"), QueueSpec::fifo("q.fifo")] {
        let queue = spec.name.clone();
        let fifo = spec.fifo;
        let directory = Directory::new();
        let path = directory.0.join("sqs.db");
        let time = Time(Arc::new(AtomicI64::new(START_MS)));
        let sqs = open(Some(&path), vec![spec], &time);
        let message = NewMessage {
            group_id: Some("g".to_owned()),
            deduplication_id: fifo.then(|| "d".to_owned()),
            ..text("kept")
        };
        sqs.send(&queue, message).await.unwrap();

        // Another connection holds the write lock, so the receive begins and cannot end.
        let lock = rusqlite::Connection::open(&path).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let receiving = sqs.receive(&queue, 1, Duration::ZERO, None);
        tokio::select! {
            biased;
            received = receiving => panic!("finished although locked: {received:?}"),
            () = tokio::task::yield_now() => {}
        }
        lock.execute_batch("ROLLBACK").unwrap();
        // The clock stands still, so only a return makes the message visible.
        let received = sqs.receive(&queue, 1, PATIENCE, None).await.unwrap();
        assert_eq!(bodies(&received), ["kept"], "{queue}");
        assert_eq!(received[0].attributes["ApproximateReceiveCount"], "1");
        assert_eq!(sqs.depth(&queue).await.unwrap().in_flight, 1);
    }
}

#[tokio::test]
async fn what_was_answered_is_in_the_file_before_anything_is_closed() {
    let directory = Directory::new();
    let path = directory.0.join("sqs.db");
    let time = Time(Arc::new(AtomicI64::new(START_MS)));
    let specs = || vec![QueueSpec::standard("q"), QueueSpec::fifo("f.fifo")];
    let killed = open(Some(&path), specs(), &time);
    for body in ["deleted", "in flight", "visible"] {
        killed.send("q", text(body)).await.unwrap();
    }
    let message = NewMessage {
        group_id: Some("g".to_owned()),
        deduplication_id: Some("d".to_owned()),
        attributes: [("n".to_owned(), number("1"))].into(),
        trace_header: Some("Root=1-2-3".to_owned()),
        ..text("fifo")
    };
    let sent = killed.send("f.fifo", message.clone()).await.unwrap();
    let received = take(&killed, "q", 2).await;
    assert_eq!(bodies(&received), ["deleted", "in flight"]);
    killed
        .delete("q", &received[0].receipt_handle)
        .await
        .unwrap();

    // The first is never closed: what the second sees is what a killed process leaves behind.
    let mut changed = specs();
    changed[0].visibility_timeout = seconds(7);
    let sqs = open(Some(&path), changed, &time);
    assert_eq!(bodies(&take(&sqs, "q", 10).await), ["visible"]);
    sqs.delete("q", &received[1].receipt_handle).await.unwrap();
    time.advance(seconds(7));
    assert_eq!(bodies(&take(&sqs, "q", 10).await), ["visible"]);
    assert_eq!(sqs.send("f.fifo", message).await.unwrap(), sent);
    let fifo = take(&sqs, "f.fifo", 10).await;
    assert_eq!(bodies(&fifo), ["fifo"]);
    assert_eq!(fifo[0].message_attributes["n"], number("1"));
    assert_eq!(fifo[0].attributes["AWSTraceHeader"], "Root=1-2-3");
    drop(killed);
}

fn number(value: &str) -> MessageAttribute {
    MessageAttribute {
        data_type: "Number".to_owned(),
        value: AttributeValue::Text(value.to_owned()),
    }
}

#[tokio::test]
async fn an_unknown_layout_and_a_changed_queue_type_are_refused() {
    let directory = Directory::new();
    let path = directory.0.join("sqs.db");
    let time = Time(Arc::new(AtomicI64::new(START_MS)));
    drop(open(Some(&path), vec![QueueSpec::fifo("q.fifo")], &time));
    let mut standard = QueueSpec::fifo("q.fifo");
    standard.fifo = false;
    let refused = Sqs::open(Some(&path), vec![standard], String::new());
    assert!(refused.is_err());

    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = Sqs::open(Some(&path), Vec::new(), String::new());
    assert!(matches!(refused, Err(SqsError::UnknownLayout(99))));
}

/// Sends each message; the shape of the refusal, or nothing, is what is expected.
async fn check_sends(cases: Vec<(NewMessage, &str)>, queue: &str) {
    let (sqs, _time) = queues(vec![QueueSpec::standard("q"), QueueSpec::fifo("f.fifo")]);
    for (index, (message, expected)) in cases.into_iter().enumerate() {
        let outcome = sqs.send(queue, message).await;
        let shape = outcome.as_ref().err().map_or("", SqsError::shape);
        assert_eq!(shape, expected, "case {index}: {outcome:?}");
    }
}

#[tokio::test]
async fn bodies_outside_the_limits_are_refused_by_name() {
    let delayed = |count| NewMessage {
        delay: Some(seconds(count)),
        ..text("x")
    };
    let cases = vec![
        (text(""), "MissingParameter"),
        (text(&"x".repeat(1_048_577)), "InvalidParameterValue"),
        (text(&"x".repeat(1_048_576)), ""),
        (text("bell \u{7}"), "InvalidMessageContents"),
        (text("\u{fffe}"), "InvalidMessageContents"),
        (text("\t\n\r\u{20}\u{10ffff}"), ""),
        (delayed(901), "InvalidParameterValue"),
        (delayed(900), ""),
    ];
    check_sends(cases, "q").await;
    check_sends(vec![(text("x"), "QueueDoesNotExist")], "absent").await;
}

#[tokio::test]
async fn attributes_outside_the_limits_are_refused_by_name() {
    let with = |name: &str, data_type: &str, value: &str| {
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value: AttributeValue::Text(value.to_owned()),
        };
        NewMessage {
            attributes: [(name.to_owned(), attribute)].into(),
            ..text("x")
        }
    };
    let many = |count: u32| NewMessage {
        attributes: (0..count)
            .map(|index| (format!("a{index}"), number("1")))
            .collect(),
        ..text("x")
    };
    // Name, type and body take eight bytes.
    let large = "x".repeat(1_048_568);
    let cases = vec![
        (with("a", "Boolean", "true"), "InvalidParameterValue"),
        (with("a", "Number", "one"), "InvalidParameterValue"),
        (with("a", "Number.int", "-1.5e3"), ""),
        (with("a", "Binary", "text"), "InvalidParameterValue"),
        (with("a", "String", ""), "InvalidParameterValue"),
        (with("AWS.a", "String", "x"), "InvalidParameterValue"),
        (with("a..b", "String", "x"), "InvalidParameterValue"),
        (with("a.b-c_1", "String.label", "x"), ""),
        (with("a", "String", "\u{7}"), "InvalidMessageContents"),
        (with("a", "String", &large), ""),
        (with("aa", "String", &large), "InvalidParameterValue"),
        (many(10), ""),
        (many(11), "InvalidParameterValue"),
    ];
    check_sends(cases, "q").await;
}

#[tokio::test]
async fn group_and_deduplication_ids_fit_the_type_of_queue() {
    let with = |group_id: Option<&str>, deduplication_id: Option<&str>| NewMessage {
        group_id: group_id.map(str::to_owned),
        deduplication_id: deduplication_id.map(str::to_owned),
        ..text("x")
    };
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    let standard = vec![
        (with(Some("g"), None), ""),
        (with(None, Some("d")), "InvalidParameterValue"),
    ];
    check_sends(standard, "q").await;
    let fifo = vec![
        (with(None, Some("d")), "MissingParameter"),
        (with(Some("g"), None), "InvalidParameterValue"),
        (with(Some("g"), Some("d")), ""),
        (with(Some("g g"), Some("d")), "InvalidParameterValue"),
        (with(Some(&longest), Some(&longest)), ""),
        (with(Some("g"), Some(&too_long)), "InvalidParameterValue"),
        (
            NewMessage {
                delay: Some(seconds(1)),
                ..with(Some("g"), Some("e"))
            },
            "InvalidParameterValue",
        ),
    ];
    check_sends(fifo, "f.fifo").await;
}

#[test]
fn the_checksum_over_attributes_is_that_of_aws() {
    // Recorded from AWS by the moto and LocalStack projects' tests.
    let name = "timestamp".to_owned();
    let attribute = number("1493147359900");
    let checksum = md5_of_attributes([(&name, &attribute)].into_iter());
    assert_eq!(checksum.unwrap(), "235c5c510d26fb653d073faed50ae77c");
    assert_eq!(md5_of_attributes(std::iter::empty()), None);
}
