//! Remembers a socket whose client the authorizer has let in.

use sparkle_aws::{
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    table::connections::Connections,
};
use sparkle_core::unit::Timestamp;

const PROTOCOL: &str = "sparkle.v2";

/// Stores the connection and selects the subprotocol, if the client offered it.
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
    connections.remember(&connection, &identity, now).await?;
    let offered = event.header("Sec-WebSocket-Protocol").unwrap_or_default();
    let is_offered = offered
        .split(',')
        .any(|protocol| protocol.trim() == PROTOCOL);
    Ok(RouteAnswer::ok(
        is_offered.then_some(("Sec-WebSocket-Protocol", PROTOCOL)),
    ))
}
