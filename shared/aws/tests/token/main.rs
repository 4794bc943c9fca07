//! Which tokens are believed, over real signatures and a real JWKS endpoint.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "an issuer that cannot be set up fails the test that asked for it"
)]

mod claims;
mod forgery;
mod issuer;
mod rotation;
