//! The upgrade: authorizer, `$connect`, and who is let in.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sparkle_local::gateway::Limits;
use tokio::task::JoinSet;

use crate::stack::{Stack, authorized_api, plain_api, request, soon};

const ARN: &str = "arn:aws:execute-api:us-east-1:000000000000:local/dev/$connect";

fn policy(effect: &str, resource: &str) -> Value {
    json!({
        "principalId": "u1",
        "policyDocument": { "Version": "2012-10-17", "Statement": [
            { "Effect": effect, "Action": "execute-api:Invoke", "Resource": resource } ] },
        "context": { "tier": "pro", "exp": 17, "admin": true },
    })
}

#[tokio::test]
async fn an_authorized_client_is_known_to_every_later_event() -> Result<()> {
    let mut stack = Stack::start(authorized_api(), Limits::default()).await?;
    let mut opening = JoinSet::new();
    opening.spawn(stack.handshake("/dev?token=a%20b", &[("user-agent", "probe/1")]));

    let authorizer = stack.call().await?;
    assert_eq!(authorizer.function, "authorizer");
    assert_eq!(authorizer.event["type"], "REQUEST");
    assert_eq!(authorizer.event["methodArn"], ARN);
    assert_eq!(
        authorizer.event["queryStringParameters"],
        json!({ "token": "a b" })
    );
    assert_eq!(authorizer.event["headers"]["user-agent"], "probe/1");
    assert_eq!(
        authorizer.context("domainName"),
        &json!(stack.address.to_string())
    );
    assert_eq!(authorizer.context("identity")["sourceIp"], "127.0.0.1");
    assert_eq!(
        authorizer.event["headers"]["X-Amzn-Trace-Id"],
        json!(authorizer.trace)
    );
    let id = authorizer.connection_id();
    authorizer.answer(policy("Allow", "*")).await?;

    let connect = stack.call_of("$connect").await?;
    assert_eq!(connect.connection_id(), id);
    let known = connect.context("authorizer").clone();
    assert_eq!(known["principalId"], "u1");
    assert_eq!(known["tier"], "pro");
    assert_eq!(known["exp"], "17");
    assert_eq!(known["admin"], "true");
    assert!(known["integrationLatency"].is_u64(), "{known}");
    connect.ok().await?;
    let mut client = soon(opening.join_next())
        .await?
        .context("no handshake")???
        .0;

    client.send("hello").await?;
    let message = stack.call_of("$default").await?;
    assert_eq!(message.context("authorizer"), &known);
    message.ok().await?;
    client.0.close(None).await?;
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.context("authorizer"), &known);
    disconnect.ok().await?;
    stack.stop(client).await;
    Ok(())
}

/// The names of an object's members and the JSON types of their values.
fn shape(value: &Value) -> Vec<String> {
    let members = value.as_object().into_iter().flatten();
    let kind = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    let mut members: Vec<String> = members
        .map(|(name, value)| format!("{name}:{}", kind(value)))
        .collect();
    members.sort();
    members
}

const CONTEXT: &str = "apiId:string connectedAt:number connectionId:string domainName:string \
    eventType:string extendedRequestId:string identity:object messageDirection:string \
    requestId:string requestTime:string requestTimeEpoch:number routeKey:string stage:string";
/// Each under the name that this client writes: its own headers in lower case.
const HEADERS: &str = "Host:string Sec-WebSocket-Key:string Sec-WebSocket-Version:string \
    X-Amzn-Trace-Id:string X-Forwarded-For:string X-Forwarded-Port:string \
    X-Forwarded-Proto:string user-agent:string";

fn assert_shape(value: &Value, more: &str, members: &str) {
    let mut expected: Vec<&str> = members.split_whitespace().collect();
    expected.extend(more.split_whitespace());
    expected.sort_unstable();
    assert_eq!(shape(value), expected);
}

#[tokio::test]
async fn every_event_has_exactly_the_members_of_the_real_one() -> Result<()> {
    let mut stack = Stack::start(authorized_api(), Limits::default()).await?;
    let mut opening = JoinSet::new();
    opening.spawn(stack.handshake("/dev?a=1", &[("user-agent", "probe/1")]));
    let call = stack.call().await?;
    let members = "headers:object methodArn:string multiValueHeaders:object \
        multiValueQueryStringParameters:object queryStringParameters:object \
        requestContext:object stageVariables:object type:string";
    assert_shape(&call.event, "", members);
    let upgrade = "Connection:string Upgrade:string content-length:string";
    assert_shape(&call.event["headers"], upgrade, HEADERS);
    assert_shape(&call.event["requestContext"], "", CONTEXT);
    call.answer(policy("Allow", "*")).await?;

    let call = stack.call_of("$connect").await?;
    let members = "headers:object isBase64Encoded:boolean multiValueHeaders:object \
        multiValueQueryStringParameters:object queryStringParameters:object requestContext:object";
    assert_shape(&call.event, "", members);
    assert_shape(&call.event["headers"], "", HEADERS);
    let all = HEADERS.replace("string", "array");
    assert_shape(&call.event["multiValueHeaders"], "", &all);
    assert_shape(&call.event["requestContext"], "authorizer:object", CONTEXT);
    let identity = call.context("identity").clone();
    assert_shape(&identity, "", "sourceIp:string userAgent:string");
    let authorizer =
        "admin:string exp:string integrationLatency:number principalId:string tier:string";
    assert_shape(call.context("authorizer"), "", authorizer);
    call.ok().await?;
    let opened = soon(opening.join_next()).await?.context("no handshake")??;
    let mut client = opened?.0;

    client.send("hello").await?;
    let call = stack.call_of("$default").await?;
    let members = "body:string isBase64Encoded:boolean requestContext:object";
    assert_shape(&call.event, "", members);
    let more = "authorizer:object messageId:string";
    assert_shape(&call.event["requestContext"], more, CONTEXT);
    assert_eq!(call.context("identity"), &identity);
    call.ok().await?;

    client.0.close(None).await?;
    let call = stack.call_of("$disconnect").await?;
    let members =
        "headers:object isBase64Encoded:boolean multiValueHeaders:object requestContext:object";
    assert_shape(&call.event, "", members);
    let headers = "Host:string X-Forwarded-For:string x-api-key:string x-restapi:string";
    assert_shape(&call.event["headers"], "", headers);
    let more = "authorizer:object disconnectReason:string disconnectStatusCode:number";
    assert_shape(&call.event["requestContext"], more, CONTEXT);
    call.ok().await?;
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn an_authorizer_refuses_with_401_403_or_500() -> Result<()> {
    let mut stack = Stack::start(authorized_api(), Limits::default()).await?;
    for (said, status, body) in [
        (
            Err("Unauthorized"),
            401,
            json!({ "message": "Unauthorized" }),
        ),
        (
            Err("unauthorized"),
            500,
            json!({ "message": "Internal server error" }),
        ),
        (
            Ok(policy("Deny", ARN)),
            403,
            json!({ "Message": "User is not authorized to access this resource with an explicit deny" }),
        ),
        (
            Ok(policy("Allow", "arn:aws:execute-api:*:*:local/prod/*")),
            403,
            json!({ "Message": "User is not authorized to access this resource" }),
        ),
        (
            Ok(json!("Allow")),
            500,
            json!({ "message": "Internal server error" }),
        ),
    ] {
        let mut refused = JoinSet::new();
        refused.spawn(stack.refused("/"));
        let call = stack.call().await?;
        match said {
            Ok(answer) => call.answer(answer).await?,
            Err(message) => call.fail(message).await?,
        }
        let refused = soon(refused.join_next()).await?.context("no handshake")??;
        assert_eq!(refused?, (status, body));
    }
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn connect_decides_and_a_refused_client_is_never_disconnected() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    for (said, status) in [
        (Ok(json!({ "statusCode": 401 })), 401),
        (Ok(json!({ "statusCode": 403, "body": "no" })), 403),
        (Ok(json!({ "statusCode": 503 })), 503),
        (Ok(json!({ "status": "ok" })), 502),
        (Ok(Value::Null), 502),
        (Err("it broke"), 502),
    ] {
        let mut refused = JoinSet::new();
        refused.spawn(stack.refused("/"));
        let call = stack.call_of("$connect").await?;
        match said {
            Ok(answer) => call.answer(answer).await?,
            Err(message) => call.fail(message).await?,
        }
        let refused = soon(refused.join_next()).await?.context("no handshake")??;
        assert_eq!(refused?.0, status);
    }
    // What comes next is the next client's `$connect`, no `$disconnect`.
    stack.open().await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn a_connect_that_hangs_is_given_up_with_504() -> Result<()> {
    let integration_timeout = Duration::from_millis(200);
    let limits = Limits {
        integration_timeout,
        ..Limits::default()
    };
    let mut stack = Stack::start(plain_api(), limits).await?;
    let refused = stack.refused("/");
    assert_eq!(
        refused.await?,
        (504, json!({ "message": "Endpoint request timed out" }))
    );
    stack.call_of("$connect").await?.ok().await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn the_subprotocol_that_connect_chooses_is_echoed() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let mut opening = JoinSet::new();
    opening.spawn(stack.handshake("/", &[("sec-websocket-protocol", "v1, v2")]));
    let connect = stack.call_of("$connect").await?;
    assert_eq!(connect.event["headers"]["Sec-WebSocket-Protocol"], "v1, v2");
    let answer = json!({ "statusCode": 200, "headers": { "Sec-WebSocket-Protocol": "v2" } });
    connect.answer(answer).await?;
    let (client, response) = soon(opening.join_next())
        .await?
        .context("no handshake")???;
    assert_eq!(response.headers()["sec-websocket-protocol"], "v2");
    stack.stop(client).await;
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_during_connect_is_disconnected() -> Result<()> {
    let mut stack = Stack::start(plain_api(), Limits::default()).await?;
    let mut opening = JoinSet::new();
    opening.spawn(stack.handshake("/", &[]));
    let connect = stack.call_of("$connect").await?;
    opening.shutdown().await;
    let id = connect.connection_id();
    connect.ok().await?;
    let disconnect = stack.call_of("$disconnect").await?;
    assert_eq!(disconnect.connection_id(), id);
    assert_eq!(disconnect.context("disconnectStatusCode"), 1006);
    disconnect.ok().await?;
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn new_connections_are_limited_with_429() -> Result<()> {
    let limits = Limits {
        connections_per_second: 0,
        ..Limits::default()
    };
    let stack = Stack::start(plain_api(), limits).await?;
    let refused = stack.refused("/");
    assert_eq!(
        refused.await?,
        (429, json!({ "message": "Too Many Requests" }))
    );
    stack.stop(()).await;
    Ok(())
}

#[tokio::test]
async fn what_is_no_upgrade_of_the_api_does_not_reach_it() -> Result<()> {
    let stack = Stack::start(plain_api(), Limits::default()).await?;
    let page = request(stack.address, "GET", "/", "", b"").await?;
    assert_eq!((page.status, page.body.as_str()), (200, "the page"));
    let plain = request(stack.address, "GET", "/dev", "", b"").await?;
    assert_eq!(plain.status, 426);
    assert_eq!(
        request(stack.address, "GET", "/nowhere", "", b"")
            .await?
            .status,
        404
    );
    assert_eq!(
        stack.refused("/prod").await?,
        (403, json!({ "message": "Forbidden" }))
    );
    let keyless = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(
        request(stack.address, "GET", "/", keyless, b"")
            .await?
            .status,
        400
    );
    let long = format!("/?token={}", "x".repeat(5_000));
    assert_eq!(stack.refused(&long).await?.0, 414);
    stack.stop(()).await;
    Ok(())
}
