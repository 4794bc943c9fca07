//! Remembers a socket whose client the authorizer has let in.

use sparkle_aws::{
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    table::connections::Connections,
};
use sparkle_core::{frame::Encoding, unit::Timestamp};

const PROTOCOL: &str = "sparkle.v2";

/// Stores the connection, with `?encoding=deflate` if the client asks for it, and selects the
/// subprotocol, if the client offered it. An encoding that is not known is none: every client reads it.
///
/// # Errors
/// [`Failure`]: API Gateway then refuses the handshake. Cost: one write.
pub async fn handle(
    connections: &Connections,
    event: SocketEvent,
    now: Timestamp,
) -> Result<RouteAnswer, Failure> {
    let connection = event.connection_id().map_err(Failure::fatal)?;
    let identity = event.identity().map_err(Failure::fatal)?;
    let encoding = Encoding::of_word(event.query("encoding").unwrap_or_default());
    connections
        .remember(&connection, &identity, encoding, now)
        .await?;
    let offered = event.header("Sec-WebSocket-Protocol").unwrap_or_default();
    let is_offered = offered
        .split(',')
        .any(|protocol| protocol.trim() == PROTOCOL);
    Ok(RouteAnswer::ok(
        is_offered.then_some(("Sec-WebSocket-Protocol", PROTOCOL)),
    ))
}
