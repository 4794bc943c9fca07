//! `@connections`.

use anyhow::{Context as _, Result};
use serde_json::json;
use sparkle_local::gateway::Limits;
use tokio::task::JoinSet;

use crate::stack::{Stack, plain_api, request, soon};

#[tokio::test]
async fn posts_arrive_in_order_and_split_into_frames() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, id) = stack.open().await?;
    // The client takes no frame over 32 KiB, and three bytes a letter put the cuts inside letters.
    let long = "导".repeat(40 * 1024);
    assert_eq!(stack.manage("POST", &id, b"first").await?.status, 200);
    assert_eq!(
        stack.manage("POST", &id, long.as_bytes()).await?.status,
        200
    );
    assert_eq!(stack.manage("POST", &id, b"").await?.status, 200);
    assert_eq!(
        stack.manage("POST", &id, b"bad \xff byte").await?.status,
        200
    );
    assert_eq!(client.text().await?, "first");
    assert_eq!(client.text().await?, long);
    assert_eq!(client.text().await?, "");
    assert_eq!(client.text().await?, "bad \u{fffd} byte");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_post_of_128_kib_passes_and_one_byte_more_gets_413() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, id) = stack.open().await?;
    let largest = vec![b'x'; 128 * 1024];
    assert_eq!(stack.manage("POST", &id, &largest).await?.status, 200);
    assert_eq!(client.text().await?.len(), largest.len());
    for bytes in [128 * 1024 + 1, 5 * 1024 * 1024] {
        let refused = stack.manage("POST", &id, &vec![b'x'; bytes]).await?;
        assert_eq!(
            (refused.status, refused.error_type()),
            (413, Some("PayloadTooLargeException"))
        );
        assert!(refused.json()["message"].is_string());
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn an_id_is_gone_until_it_is_open_and_after_it_was() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let mut opening = JoinSet::new();
    opening.spawn(stack.handshake("/", &[]));
    let connect = stack.call_of("$connect").await?;
    let id = connect.connection_id();
    let early = stack.manage("POST", &id, b"too early").await?;
    assert_eq!(
        (early.status, early.error_type()),
        (410, Some("GoneException"))
    );
    connect.ok().await?;
    let mut client = soon(opening.join_next())
        .await?
        .context("no handshake")???
        .0;
    assert_eq!(stack.manage("POST", &id, b"now").await?.status, 200);
    assert_eq!(client.text().await?, "now");

    assert_eq!(stack.manage("POST", &id, b"last").await?.status, 200);
    assert_eq!(stack.manage("DELETE", &id, b"").await?.status, 204);
    assert_eq!(client.text().await?, "last");
    assert_eq!(u16::from(client.closed().await?.code), 1000);
    stack.call_of("$disconnect").await?.ok().await?;
    for method in ["POST", "GET", "DELETE"] {
        for id in [id.as_str(), "L0SM9cOFvHcCIhw="] {
            let gone = stack.manage(method, id, b"").await?;
            assert_eq!(
                (gone.status, gone.error_type()),
                (410, Some("GoneException")),
                "{method}"
            );
        }
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn get_tells_who_is_connected_and_since_when() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (client, id) = stack.open().await?;
    let answer = stack.manage("GET", &id, b"").await?;
    assert_eq!(answer.status, 200);
    let said = answer.json();
    assert_eq!(
        said["identity"],
        json!({ "sourceIp": "127.0.0.1", "userAgent": "" })
    );
    for time in ["connectedAt", "lastActiveAt"] {
        let text = said[time].as_str().unwrap_or_default();
        assert!(
            text.len() == 24 && text.ends_with('Z') && text.contains('T'),
            "{said}"
        );
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_request_needs_a_signature_and_the_right_stage() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, id) = stack.open().await?;
    let path = format!("/@connections/{id}");
    let unsigned = request(stack.address, "POST", &path, "", b"x").await?;
    assert_eq!(unsigned.status, 403);
    assert_eq!(
        unsigned.json(),
        json!({ "message": "Missing Authentication Token" })
    );
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=x\r\n";
    let elsewhere = format!("/prod{path}");
    let elsewhere = request(stack.address, "POST", &elsewhere, signed, b"x").await?;
    assert_eq!(
        (elsewhere.status, elsewhere.error_type()),
        (403, Some("ForbiddenException"))
    );
    let without_stage = request(stack.address, "POST", &path, signed, b"custom domain").await?;
    assert_eq!(without_stage.status, 200);
    assert_eq!(client.text().await?, "custom domain");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_its_posters_429_and_disturbs_nobody() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut slow, slow_id) = stack.open().await?;
    let (mut quick, quick_id) = stack.open().await?;
    let mut accepted = 0_usize;
    let refused = loop {
        let body = format!("{accepted:08}{}", "x".repeat(128 * 1024 - 8));
        let answer = stack.manage("POST", &slow_id, body.as_bytes()).await?;
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(
            accepted < 1_000,
            "the kernel's buffers and 1 MiB are long full"
        );
    };
    assert_eq!(
        (refused.status, refused.error_type()),
        (429, Some("LimitExceededException"))
    );
    assert_eq!(stack.manage("POST", &quick_id, b"hello").await?.status, 200);
    assert_eq!(quick.text().await?, "hello");
    for at in 0..accepted {
        assert_eq!(
            slow.text().await?.get(..8),
            Some(format!("{at:08}").as_str())
        );
    }
    assert_eq!(
        stack.manage("POST", &slow_id, b"room again").await?.status,
        200
    );
    assert_eq!(slow.text().await?, "room again");
    stack.stop((slow, quick)).await;
    Ok(())
}

#[tokio::test]
async fn the_gauge_follows_the_open_sockets() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (first, _) = stack.open().await?;
    let (second, _) = stack.open().await?;
    assert_eq!(stack.sockets().as_deref(), Some("2"));
    drop(first);
    stack.call_of("$disconnect").await?.ok().await?;
    assert_eq!(stack.sockets().as_deref(), Some("1"));
    stack.stop(second).await;
    Ok(())
}
