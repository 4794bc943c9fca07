//! JWTs: who is speaking, until when, in which tier.
//!
//! Two ways to sign, never both: HS256 with a shared secret, or RS256 and ES256 with the keys of an
//! issuer's JWKS. The algorithm is taken from the key, never from the token, so that a token cannot
//! choose to be verified as something else. Every claim is required and type-checked, but `nbf`, `iat`
//! (type-checked if present) and `tier` (absent: free). Times are whole seconds.
//!
//! An issuer that is away, or answers with anything but a key set, changes nothing: keys that were known
//! stay known, and a token with another key is neither good nor bad.

mod signature;

use std::{
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use sparkle_core::{id::UserId, policy::Tier, unit::Timestamp};
use tracing::warn;

use crate::{
    boot::Aws,
    config::{self, ConfigError},
    failure::causes,
    trust,
};

/// Longest wait for an issuer's keys: less than a learner waits for a handshake.
const JWKS_TIMEOUT: Duration = Duration::from_secs(3);
/// Keys older than this are fetched again, so that a withdrawn key stops working.
const JWKS_AGE_MAX: Duration = Duration::from_hours(1);
/// An unknown key id fetches the keys again, but not more often than this.
const JWKS_PAUSE: Duration = Duration::from_secs(30);
/// Most bytes of a JWKS; Cognito's has about 800.
const JWKS_BYTES_MAX: usize = 64 * 1024;
/// How far the issuer's clock may run ahead of ours.
const SKEW: Duration = Duration::from_secs(30);

/// Who is speaking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`.
    pub user_id: UserId,
    /// What they may use.
    pub tier: Tier,
    /// When they must prove it again.
    pub expires_at: Timestamp,
}

/// A token is not acceptable, or could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is malformed, forged, for somebody else, or its time has not come or is over.
    #[error("the token is not valid")]
    Invalid(#[source] Option<jsonwebtoken::errors::Error>),
    /// The issuer's keys cannot be had right now.
    #[error("the issuer's keys cannot be fetched")]
    KeysUnavailable(#[source] Arc<KeysError>),
}

/// Why an issuer's keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be reached, or did not finish in time.
    #[error("the issuer did not answer")]
    Http(#[from] reqwest::Error),
    /// It answered something other than 200; redirects are not followed.
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    /// Its answer is longer than any key set.
    #[error("the issuer's answer is over {JWKS_BYTES_MAX} bytes")]
    TooLong,
    /// Its answer is not a key set.
    #[error("the issuer's answer is not a key set")]
    NotKeys(#[from] serde_json::Error),
}

/// Checks tokens.
#[derive(Clone)]
pub struct Tokens {
    keys: Keys,
    issuer: String,
    audience: String,
}

#[derive(Clone)]
enum Keys {
    Secret(DecodingKey),
    Issuer(Arc<IssuerKeys>),
}

impl Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "iss")]
    _iss: String,
    exp: i64,
    nbf: Option<i64>,
    #[serde(rename = "iat")]
    _iat: Option<i64>,
    tier: Option<String>,
}

impl Tokens {
    /// Reads how tokens are signed; fetches the HS256 secret from Secrets Manager where one is named.
    ///
    /// # Errors
    /// [`ConfigError`] if neither a secret nor a JWKS is configured, or the secret cannot be had.
    pub async fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let issuer = config::required("SPARKLE_JWT_ISSUER")?;
        let audience = config::required("SPARKLE_JWT_AUDIENCE")?;
        if let Some(url) = config::optional("SPARKLE_JWKS_URL") {
            return Self::with_jwks(&url, issuer, audience);
        }
        let secret = aws
            .secret("SPARKLE_JWT_SECRET", "SPARKLE_JWT_SECRET_NAME")
            .await?;
        let secret = secret.ok_or(ConfigError::Missing("SPARKLE_JWT_SECRET_NAME"))?;
        Self::with_secret(secret.as_bytes(), issuer, audience)
    }

    /// Checks HS256 tokens, signed with a secret that the issuer shares with us.
    ///
    /// # Errors
    /// [`ConfigError::EmptySecret`]: anybody could sign with that one.
    pub fn with_secret(
        secret: &[u8],
        issuer: String,
        audience: String,
    ) -> Result<Self, ConfigError> {
        if secret.is_empty() {
            return Err(ConfigError::EmptySecret("SPARKLE_JWT_SECRET_NAME"));
        }
        signature::install();
        Ok(Self {
            keys: Keys::Secret(DecodingKey::from_secret(secret)),
            issuer,
            audience,
        })
    }

    /// Checks RS256 and ES256 tokens, signed with the keys in the JWKS at `url`; fetches nothing yet.
    ///
    /// # Errors
    /// [`ConfigError::Http`] if nothing can be fetched from such a URL.
    pub fn with_jwks(url: &str, issuer: String, audience: String) -> Result<Self, ConfigError> {
        signature::install();
        Ok(Self {
            keys: Keys::Issuer(Arc::new(IssuerKeys::at(url)?)),
            issuer,
            audience,
        })
    }

    /// Says who a token is about.
    ///
    /// # Errors
    /// [`TokenError`]. Cost: none, but for one fetch of the issuer's keys an hour and after a rotation.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        let invalid = |error| TokenError::Invalid(Some(error));
        let (key, algorithm) = match &self.keys {
            Keys::Secret(key) => (key.clone(), Algorithm::HS256),
            Keys::Issuer(keys) => {
                let header = jsonwebtoken::decode_header(token).map_err(invalid)?;
                let key_id = header.kid.ok_or(TokenError::Invalid(None))?;
                keys.find(&key_id, now).await?
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_exp = false; // checked below, against the time of the invocation
        let token = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(invalid)?;
        if token.header.crit.is_some() {
            return Err(TokenError::Invalid(None)); // demands an extension (RFC 7515, 4.1.11)
        }

        let claims = token.claims;
        let now_s = now.unix_seconds();
        let latest_start_s = now.after(SKEW).unix_seconds();
        if claims.exp <= now_s || claims.nbf.is_some_and(|nbf| nbf > latest_start_s) {
            return Err(TokenError::Invalid(None));
        }
        Ok(Identity {
            user_id: UserId::parse(claims.sub).map_err(|_bad_sub| TokenError::Invalid(None))?,
            tier: Tier::of_word(claims.tier.as_deref().unwrap_or_default()),
            expires_at: Timestamp::from_unix_ms(claims.exp.saturating_mul(1000)),
        })
    }
}

/// An issuer's public keys, by key id.
struct IssuerKeys {
    http: reqwest::Client,
    url: Url,
    known: RwLock<Known>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Vec<(String, DecodingKey, Algorithm)>,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    /// Why the last try failed, if it did.
    failure: Option<Arc<KeysError>>,
}

impl Known {
    fn find(&self, key_id: &str) -> Option<(DecodingKey, Algorithm)> {
        let found = self.keys.iter().find(|(id, ..)| id == key_id);
        found.map(|(_, key, algorithm)| (key.clone(), *algorithm))
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.fetched_at
            .is_none_or(|at| at.after(JWKS_AGE_MAX) <= now)
    }

    fn may_fetch(&self, now: Timestamp) -> bool {
        self.tried_at.is_none_or(|at| at.after(JWKS_PAUSE) <= now)
    }
}

impl IssuerKeys {
    fn at(url: &str) -> Result<Self, ConfigError> {
        let http = reqwest::Client::builder()
            .timeout(JWKS_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0) // by the next fetch the connection is long dead
            .tls_backend_preconfigured(trust::public()?)
            .build()?;
        let url = http.get(url).build()?.url().clone();
        Ok(Self {
            http,
            url,
            known: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    async fn find(
        &self,
        key_id: &str,
        now: Timestamp,
    ) -> Result<(DecodingKey, Algorithm), TokenError> {
        let needs_fetch = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            match known.find(key_id) {
                Some(key) if !known.is_stale(now) => return Ok(key),
                _ => known.may_fetch(now),
            }
        };
        if needs_fetch {
            self.refresh(now).await;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match (known.find(key_id), &known.failure) {
            // An issuer that is away for a while locks nobody out whose key was known.
            (Some(key), _) => Ok(key),
            (None, None) => Err(TokenError::Invalid(None)),
            (None, Some(failure)) => Err(TokenError::KeysUnavailable(Arc::clone(failure))),
        }
    }

    /// Tries to fetch the keys, unless somebody did while this caller waited for its turn.
    async fn refresh(&self, now: Timestamp) {
        let _one_at_a_time = self.fetching.lock().await;
        let may_fetch = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.may_fetch(now)
        };
        if !may_fetch {
            return;
        }
        let fetched = self.fetch().await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Only now, so that whoever comes during the fetch waits for it.
        known.tried_at = Some(now);
        match fetched {
            Ok(keys) => {
                known.keys = keys;
                known.fetched_at = Some(now);
                known.failure = None;
            }
            Err(error) => {
                warn!(
                    error = causes(&error),
                    "the issuer's keys cannot be fetched"
                );
                known.failure = Some(Arc::new(error));
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<(String, DecodingKey, Algorithm)>, KeysError> {
        /// Each key is read by itself, so that one of a kind unknown here spoils no other.
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<serde_json::Value>,
        }

        let mut answer = self.http.get(self.url.clone()).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(KeysError::Status(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await? {
            body.extend_from_slice(&part);
            if body.len() > JWKS_BYTES_MAX {
                return Err(KeysError::TooLong);
            }
        }
        let set: KeySet = serde_json::from_slice(&body)?;
        let keys = set.keys.into_iter().filter_map(|key| {
            let jwk = serde_json::from_value(key).ok()?;
            usable(&jwk)
        });
        Ok(keys.collect())
    }
}

/// A key that we verify with, and the one algorithm it may be used for.
fn usable(jwk: &Jwk) -> Option<(String, DecodingKey, Algorithm)> {
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    // What a key says about its purpose is optional, but binds (RFC 7517, 4.2 to 4.4).
    let common = &jwk.common;
    let is_for_us = common.key_algorithm.is_none_or(|named| named == name)
        && matches!(&common.public_key_use, None | Some(PublicKeyUse::Signature))
        && common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_us {
        return None;
    }
    let key_id = common.key_id.clone()?;
    Some((key_id, DecodingKey::from_jwk(jwk).ok()?, algorithm))
}
