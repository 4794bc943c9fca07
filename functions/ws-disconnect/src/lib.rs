//! Forgets a socket that has closed.
//!
//! `$disconnect` is best effort: a connection that it misses is forgotten where a post meets 410, and at
//! the latest when it expires.

use sparkle_aws::{
    event::{RouteAnswer, SocketEvent},
    failure::Failure,
    table::connections::Connections,
};

/// Deletes the connection.
///
/// # Errors
/// [`Failure`]. Cost: one write.
pub async fn handle(connections: &Connections, event: SocketEvent) -> Result<RouteAnswer, Failure> {
    let connection = event.connection_id().map_err(Failure::fatal)?;
    connections.forget(&connection).await?;
    Ok(RouteAnswer::ok([]))
}
