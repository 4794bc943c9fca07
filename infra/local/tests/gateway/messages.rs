//! Messages of an open connection, the limits on them, and how a connection ends.

use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt as _;
use serde_json::json;
use sparkle_local::gateway::Limits;
use sparkle_local::template::WebSocketApi;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};

use crate::stack::{Client, Stack, api, plain_api, soon};

/// Asserts that the gateway closes with this code and tells `$disconnect` so.
async fn assert_closed(stack: &mut Stack, client: &mut Client, code: u16) -> Result<()> {
    assert_eq!(u16::from(client.closed().await?.code), code);
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.context("disconnectStatusCode"), code);
    disconnect.ok().await
}

async fn send_fragments(client: &mut Client, fragments: &[Vec<u8>]) -> Result<()> {
    for (at, fragment) in fragments.iter().enumerate() {
        let data = if at == 0 { Data::Text } else { Data::Continue };
        let last = at + 1 == fragments.len();
        let frame = Frame::message(fragment.clone(), OpCode::Data(data), last);
        client.send(Message::Frame(frame)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_message_takes_the_route_that_its_body_selects() -> Result<()> {
    let mut routes = plain_api().routes;
    routes.insert("quota".to_owned(), "quota".to_owned());
    let mut stack = Stack::start(
        WebSocketApi {
            routes,
            ..plain_api()
        },
        Limits::default(),
    )
    .await?;
    let (mut client, id) = stack.open().await?;
    for (body, key, function) in [
        (r#"{"type":"quota"}"#, "quota", "quota"),
        (r#"{"type":"chat"}"#, "$default", "relay"),
        (r#"{"type":"$disconnect"}"#, "$default", "relay"),
        ("你好", "$default", "relay"),
    ] {
        client.send(body).await?;
        let call = stack.call_of(key).await?;
        assert_eq!(call.function, function);
        assert_eq!(call.event["body"], body);
        assert_eq!(call.event["isBase64Encoded"], false);
        assert_eq!(call.context("eventType"), "MESSAGE");
        assert_eq!(call.connection_id(), id);
        assert!(call.context("messageId").is_string());
        assert!(call.context("requestTimeEpoch").as_u64() >= call.context("connectedAt").as_u64());
        call.ok().await?;
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_route_may_be_selected_deep_inside_and_by_a_number() -> Result<()> {
    let api = WebSocketApi {
        route_selection_expression: "$request.body.a.b".to_owned(),
        ..api(&["$connect", "$disconnect", "$default", "7", "true", "x"])
    };
    let mut stack = Stack::start(api, Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    for (body, key) in [
        (r#"{"a":{"b":"x"}}"#, "x"),
        (r#"{"a":{"b":7}}"#, "7"),
        (r#"{"a":{"b":true}}"#, "true"),
        (r#"{"a":{"b":"y"}}"#, "$default"),
        (r#"{"a":{"b":null}}"#, "$default"),
        (r#"{"a":{"b":["x"]}}"#, "$default"),
        (r#"{"a":"x"}"#, "$default"),
        (r#"["a"]"#, "$default"),
    ] {
        client.send(body).await?;
        let call = stack.call().await?;
        assert_eq!(call.context("routeKey"), key, "{body}");
        call.ok().await?;
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn without_a_default_route_an_unmatched_message_is_forbidden() -> Result<()> {
    let mut stack = Stack::start(
        api(&["$connect", "$disconnect", "quota"]),
        Limits::default(),
    )
    .await?;
    let (mut client, id) = stack.open().await?;
    client.send("anything").await?;
    let frame = client.json().await?;
    assert_eq!(frame["message"], "Forbidden");
    assert_eq!(frame["connectionId"], json!(id));
    assert!(frame["requestId"].is_string());
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn only_a_failure_of_its_function_is_reported_to_the_client() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, id) = stack.open().await?;
    for silent in [
        json!({ "statusCode": 200, "body": "dropped: there is no route response" }),
        json!({ "statusCode": 403, "body": "dropped" }),
    ] {
        client.send("x").await?;
        stack.call_of("$default").await?.answer(silent).await?;
    }
    for loud in [
        json!({ "statusCode": 500 }),
        json!({ "statusCode": 200, "Data": 1 }),
        json!(null),
    ] {
        client.send("x").await?;
        let call = stack.call_of("$default").await?;
        let request_id = call.context("requestId").clone();
        call.answer(loud).await?;
        let wanted = json!({ "message": "Internal server error", "connectionId": id, "requestId": request_id });
        assert_eq!(client.json().await?, wanted);
    }
    client.send("x").await?;
    stack.call_of("$default").await?.fail("it broke").await?;
    assert_eq!(client.json().await?["message"], "Internal server error");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_slow_function_is_reported_and_runs_on() -> Result<()> {
    let integration_timeout = Duration::from_millis(300);
    let limits = Limits {
        integration_timeout,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, id) = stack.open().await?;
    client.send("slow").await?;
    let slow = stack.call_of("$default").await?;
    assert_eq!(
        client.json().await?["message"],
        "Endpoint request timed out"
    );
    // It still runs: it can post, and its answer is nobody's business any more.
    assert_eq!(stack.manage("POST", &id, b"late").await?.status, 200);
    assert_eq!(client.text().await?, "late");
    slow.answer(json!({ "statusCode": 500 })).await?;
    assert_eq!(stack.manage("POST", &id, b"next").await?.status, 200);
    assert_eq!(client.text().await?, "next");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn messages_of_one_connection_run_at_once_up_to_a_bound() -> Result<()> {
    let limits = Limits {
        in_flight_max: 3,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, _) = stack.open().await?;
    for body in ["1", "2", "3", "4"] {
        client.send(body).await?;
    }
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(stack.call_of("$default").await?);
    }
    assert!(stack.is_quiet().await, "the fourth message waits");
    running.remove(0).ok().await?;
    let fourth = stack.call_of("$default").await?;
    assert_eq!(fourth.event["body"], "4");
    running.push(fourth);
    for call in running {
        call.ok().await?;
    }
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn messages_of_one_connection_run_at_once_up_to_a_size() -> Result<()> {
    let limits = Limits {
        in_flight_bytes_max: 1_000,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, _) = stack.open().await?;
    let (half, whole) = ("x".repeat(500), "y".repeat(5_000));
    for body in [&half, &half, &whole] {
        client.send(body.as_str()).await?;
    }
    let running = [
        stack.call_of("$default").await?,
        stack.call_of("$default").await?,
    ];
    assert!(stack.is_quiet().await, "the third message waits");
    for call in running {
        assert_eq!(call.event["body"], half);
        call.ok().await?;
    }
    // One that is larger than all the room there is runs alone.
    let alone = stack.call_of("$default").await?;
    assert_eq!(alone.event["body"], whole);
    alone.ok().await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn messages_and_posts_share_the_accounts_bucket() -> Result<()> {
    let limits = Limits {
        requests_per_second: 0,
        requests_burst: 2,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, id) = stack.open().await?;
    client.send("first").await?;
    stack.call_of("$default").await?.ok().await?;
    assert_eq!(stack.manage("POST", &id, b"second").await?.status, 200);
    assert_eq!(client.text().await?, "second");
    client.send("third").await?;
    let frame = client.json().await?;
    assert_eq!(
        (&frame["message"], &frame["connectionId"]),
        (&json!("Too Many Requests"), &json!(id))
    );
    let fourth = stack.manage("POST", &id, b"fourth").await?;
    assert_eq!(
        (fourth.status, fourth.error_type()),
        (429, Some("LimitExceededException"))
    );
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_message_of_128_kib_in_frames_of_32_kib_passes() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    send_fragments(&mut client, &vec![vec![b'x'; 32 * 1024]; 4]).await?;
    let call = stack.call_of("$default").await?;
    assert_eq!(call.event["body"].as_str().map(str::len), Some(128 * 1024));
    call.ok().await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_frame_over_32_kib_closes_with_1009() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    client.send("x".repeat(40 * 1024)).await?;
    assert_closed(&mut stack, &mut client, 1009).await?;
    let (mut client, _) = stack.open().await?;
    client.send("x".repeat(32 * 1024 + 1)).await?;
    assert_closed(&mut stack, &mut client, 1009).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_message_over_128_kib_closes_with_1009() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    let mut fragments = vec![vec![b'x'; 32 * 1024]; 4];
    fragments.push(vec![b'x'; 2 * 1024]);
    send_fragments(&mut client, &fragments).await?;
    assert_closed(&mut stack, &mut client, 1009).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_binary_frame_closes_with_1003() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    client.send(Message::Binary(vec![1, 2, 3].into())).await?;
    assert_closed(&mut stack, &mut client, 1003).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn text_that_is_not_utf_8_closes_with_1007() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    send_fragments(&mut client, &[vec![0xff, 0xfe]]).await?;
    assert_closed(&mut stack, &mut client, 1007).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_reserved_frame_closes_with_1002() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut client, _) = stack.open().await?;
    let frame = Frame::message(vec![], OpCode::Data(Data::Continue), true);
    client.send(Message::Frame(frame)).await?;
    assert_closed(&mut stack, &mut client, 1002).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_client_closes_with_a_code_with_none_or_without_a_word() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    for (frame, code, reason) in [
        (
            Some(CloseFrame {
                code: CloseCode::Normal,
                reason: "bye".into(),
            }),
            1000,
            "bye",
        ),
        (None, 1005, "Client-side close frame status not set"),
    ] {
        let (mut client, id) = stack.open().await?;
        soon(client.0.close(frame)).await??;
        let disconnect = stack.call_of("$disconnect").await?;
        assert_eq!(disconnect.connection_id(), id);
        assert_eq!(disconnect.context("eventType"), "DISCONNECT");
        assert_eq!(disconnect.context("disconnectStatusCode"), code);
        assert_eq!(disconnect.context("disconnectReason"), reason);
        assert_eq!(stack.manage("POST", &id, b"x").await?.status, 410);
        disconnect.ok().await?;
    }
    let (client, _) = stack.open().await?;
    drop(client);
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.context("disconnectStatusCode"), 1006);
    disconnect.ok().await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_1001() -> Result<()> {
    let limits = Limits {
        idle_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, _) = stack.open().await?;
    // A ping is no message: it does not keep the connection.
    client.send(Message::Ping(vec![].into())).await?;
    assert!(matches!(
        soon(client.0.next()).await?,
        Some(Ok(Message::Pong(_)))
    ));
    let frame = client.closed().await?;
    assert_eq!(
        (u16::from(frame.code), frame.reason.as_str()),
        (1001, "Going away")
    );
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.context("disconnectStatusCode"), 1001);
    disconnect.ok().await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_connection_ends_after_its_life_however_busy() -> Result<()> {
    let limits = Limits {
        life: Duration::from_millis(500),
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let (mut client, id) = stack.open().await?;
    let mut posted = 0;
    while stack.manage("POST", &id, b"busy").await?.status == 200 {
        posted += 1;
    }
    assert!(posted > 0);
    for _ in 0..posted {
        assert_eq!(
            client.text().await?,
            "busy",
            "what was accepted arrives before the close"
        );
    }
    assert_closed(&mut stack, &mut client, 1001).await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn shutting_down_closes_every_socket_and_runs_disconnect() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let (mut first, _) = stack.open().await?;
    let (mut second, _) = stack.open().await?;
    let gateway = stack.gateway.clone();
    let mut closing = tokio::task::JoinSet::new();
    closing.spawn(async move { gateway.close_all().await });
    for client in [&mut first, &mut second] {
        assert_eq!(u16::from(client.closed().await?.code), 1001);
    }
    for _ in 0..2 {
        stack.call_of("$disconnect").await?.ok().await?;
    }
    soon(closing.join_next()).await?;
    assert_eq!(stack.refused("/").await?.0, 503);
    stack.stop((first, second)).await;
    Ok(())
}
