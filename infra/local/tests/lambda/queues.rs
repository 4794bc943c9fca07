//! Queues that invoke functions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sparkle_local::{
    lambda::{Duplicates, Lambda, Reorder},
    sqs::{DeadLetter, DeduplicationScope, Depth, NewMessage, Outside, QueueSpec, Sqs},
    template::QueueSource,
};
use tokio::{net::TcpListener, task::JoinSet, time};

use crate::stack::{Folder, PATIENCE, echo, eventually, lines, start};

/// The echo function with a FIFO queue as its source.
async fn with_queue(batch_size: u32, visibility: Duration) -> Result<(Lambda, Sqs)> {
    let queue = QueueSpec {
        visibility_timeout: visibility,
        ..QueueSpec::fifo("jobs.fifo")
    };
    let sqs = Sqs::open(None, vec![queue], "http://127.0.0.1".to_owned())?;
    let mut executable = echo(Duration::from_secs(30))?;
    executable.function.queue_sources = vec![source("jobs.fifo", batch_size)];
    Ok((start(executable).await?, sqs))
}

fn source(queue: &str, batch_size: u32) -> QueueSource {
    QueueSource {
        queue: queue.to_owned(),
        batch_size,
        window: Duration::ZERO,
        reports_batch_item_failures: true,
        concurrency_max: None,
    }
}

async fn send(sqs: &Sqs, group: &str, body: Value) -> Result<()> {
    let message = NewMessage {
        deduplication_id: Some(body.to_string()),
        body: body.to_string(),
        group_id: Some(group.to_owned()),
        ..NewMessage::default()
    };
    sqs.send("jobs.fifo", message).await?;
    Ok(())
}

async fn until_empty(sqs: &Sqs) -> Result<()> {
    until_empty_of(sqs, "jobs.fifo").await
}

async fn until_empty_of(sqs: &Sqs, queue: &str) -> Result<()> {
    let poll = async {
        while sqs.depth(queue).await? != Depth::default() {
            time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    time::timeout(PATIENCE, poll)
        .await
        .context("the queue is never empty")?
}

#[tokio::test]
async fn what_a_function_names_of_a_fifo_batch_comes_again_and_nothing_else() -> Result<()> {
    let folder = Folder::new("fifo")?;
    let file = folder.0.join("log");
    let (lambda, sqs) = with_queue(10, Duration::from_secs(3)).await?;
    for (write, fail_until_receive) in [("a", 1), ("b", 2), ("c", 1)] {
        let body = json!({"file": file, "write": write, "fail_until_receive": fail_until_receive});
        send(&sqs, "one", body).await?;
    }
    lambda.poll_queues(sqs.clone(), Duplicates::default(), Reorder::default());
    until_empty(&sqs).await?;
    let log = std::fs::read_to_string(&file)?;
    assert_eq!(
        log.lines().collect::<Vec<_>>(),
        // c is behind b, and gone: to keep their order, the function has to name it too.
        ["a done", "b failed", "c done", "b done"]
    );
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn two_message_groups_are_worked_on_at_once() -> Result<()> {
    let folder = Folder::new("groups")?;
    let meeting = folder.0.join("meet");
    std::fs::create_dir_all(&meeting)?;
    let (lambda, sqs) = with_queue(1, Duration::from_mins(1)).await?;
    lambda.poll_queues(sqs.clone(), Duplicates::default(), Reorder::default());
    for group in ["one", "two"] {
        let body = json!({"file": folder.0.join(group), "write": group, "meet": meeting});
        send(&sqs, group, body).await?;
    }
    until_empty(&sqs).await?;
    lambda.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_shutdown_gives_a_message_back_that_it_interrupts() -> Result<()> {
    let folder = Folder::new("interrupted")?;
    let file = folder.0.join("log");
    let (lambda, sqs) = with_queue(1, Duration::from_hours(1)).await?;
    lambda.poll_queues(sqs.clone(), Duplicates::default(), Reorder::default());
    send(
        &sqs,
        "one",
        json!({"file": file, "write": "a", "hang": true}),
    )
    .await?;
    eventually("the message is worked on", || file.exists()).await?;
    lambda.shutdown().await;
    let again = sqs.receive("jobs.fifo", 1, Duration::ZERO, None).await?;
    assert_eq!(again.len(), 1, "the message is still hidden");
    Ok(())
}

#[tokio::test]
async fn what_is_doubled_comes_again_before_the_next_of_its_group() -> Result<()> {
    let mut logs = Vec::new();
    for run in ["first", "second", "other"] {
        let folder = Folder::new(&format!("doubled-{run}"))?;
        let file = folder.0.join("log");
        let (lambda, sqs) = with_queue(1, Duration::from_mins(1)).await?;
        for write in 0..40 {
            let message = NewMessage {
                body: json!({"file": file, "write": write.to_string()}).to_string(),
                group_id: Some("one".to_owned()),
                // The body names a folder that is another one in each run.
                deduplication_id: Some(write.to_string()),
                ..NewMessage::default()
            };
            sqs.send("jobs.fifo", message).await?;
        }
        let duplicates = Duplicates {
            share: "0.3".parse().map_err(anyhow::Error::msg)?,
            seed: if run == "other" { 8 } else { 7 },
        };
        lambda.poll_queues(sqs.clone(), duplicates, Reorder::default());
        until_empty(&sqs).await?;
        lambda.shutdown().await;
        let log = lines(&file);
        let places: Vec<i32> = log
            .iter()
            .filter_map(|line| line.strip_suffix(" done")?.parse().ok())
            .collect();
        assert!(places.is_sorted(), "out of order: {places:?}");
        let mut once = places.clone();
        once.dedup();
        assert_eq!(once, (0..40).collect::<Vec<_>>());
        let doubled = places.len() - 40;
        assert!((4..24).contains(&doubled), "{doubled} of 40 came twice");
        logs.push(places);
    }
    assert_eq!(logs[0], logs[1], "the same seed doubles others");
    assert_ne!(logs[0], logs[2], "another seed doubles the same");
    Ok(())
}

#[tokio::test]
async fn a_standard_queues_messages_all_come_twice_and_not_more() -> Result<()> {
    let folder = Folder::new("doubled-standard")?;
    let file = folder.0.join("log");
    let sqs = Sqs::open(
        None,
        vec![QueueSpec::standard("jobs")],
        "http://127.0.0.1".to_owned(),
    )?;
    let mut executable = echo(Duration::from_secs(20))?;
    executable.function.queue_sources = vec![source("jobs", 4)];
    let lambda = start(executable).await?;
    for write in 0..10 {
        let body = json!({"file": file, "write": write.to_string()}).to_string();
        let message = NewMessage {
            body,
            ..NewMessage::default()
        };
        sqs.send("jobs", message).await?;
    }
    let share = "1".parse().map_err(anyhow::Error::msg)?;
    lambda.poll_queues(
        sqs.clone(),
        Duplicates { share, seed: 0 },
        Reorder::default(),
    );
    until_empty_of(&sqs, "jobs").await?;
    lambda.shutdown().await;
    let mut log = lines(&file);
    log.sort();
    let twice = (0..10).flat_map(|write| [format!("{write} done"), format!("{write} done")]);
    assert_eq!(log, twice.collect::<Vec<_>>());
    Ok(())
}

/// The order in which three messages of each of twenty groups are worked on, one at a time.
async fn order(share: &str) -> Result<Vec<usize>> {
    let folder = Folder::new(&format!("reordered-{share}"))?;
    let file = folder.0.join("log");
    let queue = QueueSpec::fifo("jobs.fifo");
    let sqs = Sqs::open(None, vec![queue], "http://127.0.0.1".to_owned())?;
    let mut executable = echo(Duration::from_secs(30))?;
    executable.function.queue_sources = vec![QueueSource {
        concurrency_max: Some(1),
        ..source("jobs.fifo", 1)
    }];
    let lambda = start(executable).await?;
    for n in 0..60 {
        let body = json!({"file": file, "write": n.to_string()}).to_string();
        let message = NewMessage {
            body,
            group_id: Some(format!("group-{}", n % 20)),
            deduplication_id: Some(n.to_string()),
            ..NewMessage::default()
        };
        sqs.send("jobs.fifo", message).await?;
    }
    let share = share.parse().map_err(anyhow::Error::msg)?;
    let reorder = Reorder { share, seed: 7 };
    lambda.poll_queues(sqs.clone(), Duplicates::default(), reorder);
    until_empty(&sqs).await?;
    lambda.shutdown().await;
    let log = lines(&file);
    let worked_on = log
        .iter()
        .filter_map(|line| line.strip_suffix(" done")?.parse().ok());
    Ok(worked_on.collect())
}

#[tokio::test]
async fn what_is_held_back_is_overtaken_by_other_groups_but_not_inside_its_own() -> Result<()> {
    assert_eq!(order("0").await?, (0..60).collect::<Vec<_>>());
    let mut order = order("0.3").await?;
    assert!(!order.is_sorted());
    for group in 0..20 {
        let own: Vec<usize> = order.iter().copied().filter(|n| n % 20 == group).collect();
        assert_eq!(own, [group, group + 20, group + 40]);
    }
    order.sort_unstable();
    assert_eq!(order, (0..60).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn what_is_held_back_at_a_shutdown_is_given_back() -> Result<()> {
    let folder = Folder::new("held-back")?;
    let file = folder.0.join("log");
    let (lambda, sqs) = with_queue(1, Duration::from_hours(1)).await?;
    for n in 0..20 {
        send(
            &sqs,
            &n.to_string(),
            json!({"file": file, "write": n.to_string()}),
        )
        .await?;
    }
    let share = "1".parse().map_err(anyhow::Error::msg)?;
    let reorder = Reorder { share, seed: 7 };
    lambda.poll_queues(sqs.clone(), Duplicates::default(), reorder);
    let poll = async {
        while sqs.depth("jobs.fifo").await?.in_flight == 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    time::timeout(PATIENCE, poll)
        .await
        .context("nothing is received")??;
    lambda.shutdown().await;
    assert_eq!(sqs.depth("jobs.fifo").await?.in_flight, 0);
    Ok(())
}

#[tokio::test]
async fn a_queue_elsewhere_is_created_and_polled_over_http() -> Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = Folder::new("outside")?;
    let file = folder.0.join("log");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}/", listener.local_addr()?);
    let elsewhere = Sqs::open(None, Vec::new(), endpoint.clone())?;
    let router = elsewhere.router();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });

    let dead = QueueSpec::fifo("dead.fifo");
    let queue = QueueSpec {
        visibility_timeout: Duration::from_secs(1),
        deduplication_scope: DeduplicationScope::MessageGroup,
        dead_letter: Some(DeadLetter {
            queue: "dead.fifo".to_owned(),
            receive_count_max: 2,
        }),
        ..QueueSpec::fifo("jobs.fifo")
    };
    // Twice: a stack that starts again finds them there.
    let queues = [queue, dead];
    Outside::create(&endpoint, &queues).await?;
    let outside = Outside::create(&endpoint, &queues).await?;
    let url = format!("{endpoint}000000000000/jobs.fifo");
    assert_eq!(outside.urls().get("jobs.fifo"), Some(&url));

    let mut executable = echo(Duration::from_secs(20))?;
    executable.function.queue_sources = vec![source("jobs.fifo", 10)];
    let lambda = start(executable).await?;
    lambda.poll_queues(outside, Duplicates::default(), Reorder::default());
    for (write, fail_until_receive) in [("a", 1), ("b", 2), ("c", 100), ("d", 1)] {
        let body = json!({"file": file, "write": write, "fail_until_receive": fail_until_receive});
        send(&elsewhere, if write == "d" { "two" } else { "one" }, body).await?;
    }
    until_empty(&elsewhere).await?;
    lambda.shutdown().await;
    let log = lines(&file);
    let of = |write: &str| {
        let lines = log.iter().filter(|line| line.starts_with(write));
        lines.map(String::as_str).collect::<Vec<_>>()
    };
    assert_eq!(of("a"), ["a done"]);
    assert_eq!(of("b"), ["b failed", "b done"]);
    assert!(
        of("c").len() <= 2 && !of("c").contains(&"c done"),
        "{log:?}"
    );
    assert_eq!(of("d"), ["d done"]);
    assert_eq!(
        elsewhere.depth("dead.fifo").await?.visible,
        1,
        "c is not in the dead-letter queue"
    );
    Ok(())
}

#[tokio::test]
async fn an_sqs_that_is_not_there_is_named() -> Result<()> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    drop(listener);
    let error = Outside::create(&endpoint, &[QueueSpec::standard("jobs")]).await;
    let error = error.err().context("it is there")?.to_string();
    assert!(
        error.contains(&endpoint) && error.contains("--sqs-endpoint"),
        "{error}"
    );
    Ok(())
}
