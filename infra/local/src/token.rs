//! Development tokens: HS256 over a secret that lives in the data directory.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use uuid::Uuid;

use crate::settings::Settings;

/// How tokens are made.
#[derive(Clone)]
pub struct Mint {
    /// The HS256 key.
    pub secret: String,
    issuer: String,
    audience: String,
}

impl std::fmt::Debug for Mint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mint")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// A token and what is in it.
#[derive(Debug, Clone, Serialize)]
pub struct Token {
    /// The JWT.
    pub token: String,
    /// The learner.
    pub user: String,
    /// Unix ms.
    pub expires_at: u64,
}

/// A token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The secret cannot be read or written.
    #[error("the secret in {directory} cannot be kept")]
    Secret {
        /// The data directory.
        directory: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be signed.
    #[error("the token cannot be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    tier: &'a str,
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl Mint {
    /// Takes the secret from the settings, else from the data directory, where it is made if missing.
    ///
    /// # Errors
    /// [`MintError::Secret`].
    pub fn open(settings: &Settings) -> Result<Self, MintError> {
        let secret = match &settings.jwt_secret {
            Some(secret) => secret.clone(),
            None if settings.ephemeral => random_secret(),
            None => kept_secret(&settings.data_dir).map_err(|source| MintError::Secret {
                directory: settings.data_dir.display().to_string(),
                source,
            })?,
        };
        Ok(Self {
            secret,
            issuer: settings.jwt_issuer.clone(),
            audience: settings.jwt_audience.clone(),
        })
    }

    /// Makes a token that is valid for `ttl_seconds` from now.
    ///
    /// # Errors
    /// [`MintError::Sign`].
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge of this command: a token begins now"
    )]
    pub fn token(&self, user: &str, tier: &str, ttl_seconds: u64) -> Result<Token, MintError> {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let iat = since_epoch.as_secs();
        let exp = iat.saturating_add(ttl_seconds);
        let claims = Claims {
            sub: user,
            tier,
            iss: &self.issuer,
            aud: &self.audience,
            iat,
            exp,
        };
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key)?;
        Ok(Token {
            token,
            user: user.to_owned(),
            expires_at: exp.saturating_mul(1000),
        })
    }
}

fn random_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// Readable by its owner only; two programs that start at once agree on the one that was there first.
fn kept_secret(data_dir: &Path) -> io::Result<String> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join("jwt-secret");
    let draft = data_dir.join(format!("jwt-secret-{}", Uuid::new_v4().simple()));
    if !path.exists() {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(random_secret().as_bytes())?;
        // Linking fails if another was first, and then that one is the secret.
        drop(fs::hard_link(&draft, &path));
        fs::remove_file(&draft)?;
    }
    fs::read_to_string(&path)
}
