//! Who is speaking, and that nobody is anybody else.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sparkle_tests::{Options, PATIENCE, Stack, request};

use crate::chat::script;

/// The status with which the handshake was refused.
fn refused(outcome: Result<sparkle_tests::Client>) -> Option<u16> {
    use tokio_tungstenite::tungstenite::Error;
    match outcome.err()?.downcast_ref()? {
        Error::Http(response) => Some(response.status().as_u16()),
        _ => None,
    }
}

#[tokio::test]
async fn a_token_is_taken_from_the_protocol_the_header_or_the_query() -> Result<()> {
    let stack = Stack::start().await?;
    let token = stack.token("ann", "1h")?;
    let protocols = format!("sparkle.v2, bearer.{token}");
    for (header, value) in [
        ("Sec-WebSocket-Protocol", protocols),
        ("Authorization", format!("Bearer {token}")),
    ] {
        let mut client = stack.connect_with(header, &value).await?;
        assert_eq!(client.ask("ping", json!({})).await?["type"], "pong");
    }
    let by_query = format!("{}?token={token}", stack.address("ws"));
    let (_socket, _) = tokio_tungstenite::connect_async(by_query).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_valid_token_the_handshake_is_refused_and_nothing_is_stored() -> Result<()> {
    let stack = Stack::start().await?;
    let token = stack.token("ann", "1h")?;
    let (head, rest) = token.split_once('.').context("a JWT")?;
    let (claims, signature) = rest.split_once('.').context("a JWT")?;
    // {"typ":"JWT","alg":"none"}
    let unsigned = format!("eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0.{claims}.");
    let damaged = format!(
        "{head}.{claims}.{}",
        signature.chars().rev().collect::<String>()
    );
    let expired = stack.token("ann", "1s")?;
    let until = Instant::now() + PATIENCE;
    while refused(
        stack
            .connect_with("Authorization", &format!("Bearer {expired}"))
            .await,
    )
    .is_none()
    {
        ensure!(Instant::now() < until, "the token does not expire");
    }
    for value in [
        "Bearer",
        "Bearer x",
        &format!("Bearer {unsigned}"),
        &format!("Bearer {damaged}"),
    ] {
        assert_eq!(
            refused(stack.connect_with("Authorization", value).await),
            Some(401),
            "{value}"
        );
    }
    assert_eq!(
        refused(stack.connect_with("X-Nothing", "1").await),
        Some(401)
    );
    Ok(())
}

#[tokio::test]
async fn a_socket_whose_token_runs_out_is_closed_unless_it_is_renewed() -> Result<()> {
    // It asks as fast as it can until the token has run out.
    let stack = Options::default()
        .variable("SPARKLE_RATE_PER_SECOND", "100000")
        .variable("SPARKLE_RATE_BURST", "100000");
    let stack = stack.start().await?;
    let short = format!("Bearer {}", stack.token("ann", "3s")?);
    let mut renewed = stack.connect_with("Authorization", &short).await?;
    let mut forgotten = stack.connect_with("Authorization", &short).await?;
    let ack = renewed
        .ask("auth", json!({ "token": stack.token("ann", "1h")? }))
        .await?;
    assert_eq!(ack["type"], "ack");

    let until = Instant::now() + PATIENCE;
    let refusal = loop {
        ensure!(Instant::now() < until, "the token does not run out");
        let frame = forgotten.ask("ping", json!({})).await?;
        if frame["type"] == "error" {
            break frame;
        }
    };
    assert_eq!(refusal["payload"]["code"], "UNAUTHENTICATED");
    forgotten.closed().await?;
    assert_eq!(renewed.ask("ping", json!({})).await?["type"], "pong");
    Ok(())
}

#[tokio::test]
async fn a_socket_is_not_renewed_by_somebody_elses_token() -> Result<()> {
    let stack = Stack::start().await?;
    let mut client = stack.connect("ann").await?;
    let refusal = client
        .ask("auth", json!({ "token": stack.token("bob", "1h")? }))
        .await?;
    assert_eq!(refusal["payload"]["code"], "FORBIDDEN");
    let refusal = client.ask("auth", json!({ "token": "nonsense" })).await?;
    assert_eq!(refusal["payload"]["code"], "INVALID_ARGUMENT");
    assert_eq!(client.ask("ping", json!({})).await?["type"], "pong");
    Ok(())
}

#[tokio::test]
async fn the_same_ids_of_two_learners_are_two_things() -> Result<()> {
    let stack = Stack::start().await?;
    let (mut ann, mut bob) = (stack.connect("ann").await?, stack.connect("bob").await?);
    let chat = |says: &str| {
        request(
            "chat",
            "r1",
            json!({ "session_id": "s1", "message": script(&[says], 0) }),
        )
    };
    ann.send(chat("for ann")).await?;
    let to_ann = ann.answer("r1").await?;
    bob.send(chat("for bob")).await?;
    let to_bob = bob.answer("r1").await?;
    assert_eq!(
        (to_ann.text.as_str(), to_bob.text.as_str()),
        ("for ann", "for bob")
    );
    assert_ne!(to_ann.last()["stream"], to_bob.last()["stream"]);

    let history = bob.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(
        history["payload"]["entries"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(!history.to_string().contains("for ann"));
    bob.ask(
        "sessions",
        json!({ "action": "delete", "session_id": "s1" }),
    )
    .await?;
    let history = ann.ask("history", json!({ "session_id": "s1" })).await?;
    assert_eq!(
        history["payload"]["entries"].as_array().map(Vec::len),
        Some(2)
    );
    Ok(())
}

#[tokio::test]
async fn nobody_stops_or_says_something_in_the_name_of_another() -> Result<()> {
    let stack = Stack::start().await?;
    let (mut ann, mut bob) = (stack.connect("ann").await?, stack.connect("bob").await?);
    let pieces = vec!["piece "; 40];
    ann.send(request(
        "chat",
        "r1",
        json!({ "session_id": "s1", "message": script(&pieces, 20) }),
    ))
    .await?;
    let refusal = bob.ask("cancel", json!({ "request_id": "r1" })).await?;
    assert_eq!(refusal["payload"]["code"], "NOT_FOUND");
    let answer = ann.answer("r1").await?;
    assert_eq!(answer.payload("done")["finish_reason"], "stop");
    assert_eq!(answer.text, pieces.concat());

    let refusal = bob
        .ask("chat", json!({ "message": "hi", "user_id": "ann" }))
        .await?;
    assert_eq!(refusal["payload"]["code"], "FORBIDDEN");
    assert_eq!(refusal["payload"]["field"], "payload.user_id");
    let listed: Value = bob.ask("sessions", json!({})).await?;
    assert!(listed["payload"].get("entries").is_none());
    Ok(())
}
