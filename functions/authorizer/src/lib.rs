//! Decides who may connect: the REQUEST authorizer of `$connect`.
//!
//! The token is taken from `Sec-WebSocket-Protocol: sparkle.v2, bearer.<jwt>`, from
//! `Authorization: Bearer <jwt>`, or from the `token` query parameter: the first of them that is there.

use sparkle_aws::{
    event::{Authorization, AuthorizerEvent},
    failure::Failure,
    token::{TokenError, Tokens},
};
use sparkle_core::unit::Timestamp;
use tracing::info;

/// Says who is connecting, or that nobody may.
///
/// # Errors
/// [`Failure::Unauthorized`], which API Gateway answers with 401, for any token that is not valid;
/// [`Failure::Retry`] if the issuer's keys cannot be fetched. Cost: see [`Tokens::verify`].
pub async fn handle(
    tokens: &Tokens,
    event: AuthorizerEvent,
    now: Timestamp,
) -> Result<Authorization, Failure> {
    let token = token(&event).ok_or(Failure::Unauthorized)?;
    match tokens.verify(token, now).await {
        Ok(identity) => Ok(Authorization::granted(&identity, &event)),
        Err(TokenError::Invalid(_)) => {
            // Not why: the cause quotes what anybody may have written into a token.
            info!("token refused");
            Err(Failure::Unauthorized)
        }
        Err(error @ TokenError::KeysUnavailable(_)) => Err(Failure::retry(error)),
    }
}

fn token(event: &AuthorizerEvent) -> Option<&str> {
    let offered = event.header("Sec-WebSocket-Protocol").unwrap_or_default();
    let in_protocol = offered
        .split(',')
        .find_map(|protocol| protocol.trim().strip_prefix("bearer."));
    let in_header = || {
        let (scheme, token) = event.header("Authorization")?.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    };
    in_protocol
        .or_else(in_header)
        .or_else(|| event.query("token"))
}
