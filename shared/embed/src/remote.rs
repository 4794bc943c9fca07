//! Vectors from elsewhere: any OpenAI-compatible `/embeddings`, or Bedrock.
//!
//! Hides HTTP, TLS and the two dialects, in `openai` and `bedrock`; this is what they share. One call, never repeated;
//! nothing here waits for longer than its [`Settings::timeout`] or keeps more than [`ANSWER_BYTES_MAX`]. What comes is
//! a vector only: the verifier reads texts with the bundled model or not at all.

pub mod bedrock;
pub mod openai;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Request, StatusCode, Url};
use rustls::RootCertStore;
use tokio::time::timeout;

use crate::error::{EmbedError, SettingsError};
use crate::vector::{Vector, VectorVersion};

/// The longest answer that is read: 65,535 numbers of 24 characters, and what is around them.
pub const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// As for language models: below the 60 s after which common load balancers drop a connection.
const POOL_IDLE: Duration = Duration::from_secs(45);
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// What both kinds of endpoint need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the provider calls the model.
    pub model: String,
    /// How many numbers its vectors have. An answer of another length is refused.
    pub dimension: u16,
    /// For the whole call.
    pub timeout: Duration,
    /// Who may vouch for the provider's certificate; `None`: Mozilla's roots, compiled in.
    pub roots: Option<RootCertStore>,
}

/// A vector from elsewhere, and what the provider counted for it.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteVector {
    /// Where the text points.
    pub vector: Vector,
    /// Tokens that are billed; `None` where the provider does not say, so that the caller has to estimate.
    pub input_tokens: Option<u64>,
}

/// A secret. Never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Surrounding white space is not part of it; a blank one is none.
    pub fn new(secret: &str) -> Option<Self> {
        let secret = secret.trim();
        (!secret.is_empty()).then(|| Self(secret.to_owned()))
    }

    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An endpoint's address without what must not be in it.
fn address(base_url: &str) -> Result<Url, SettingsError> {
    let url = Url::parse(base_url.trim()).map_err(|_not_a_url| SettingsError::BaseUrl)?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_plain && is_http {
        Ok(url)
    } else {
        Err(SettingsError::BaseUrl)
    }
}

fn http_client(settings: &Settings) -> Result<reqwest::Client, SettingsError> {
    let roots = settings.roots.clone().unwrap_or_else(|| RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Tls(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        // A key must not travel to where a redirect or a variable of the environment points.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("sparkle/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| SettingsError::Tls(Box::new(error.without_url())))
}

/// The body of an answer with status 200, and its headers.
async fn exchange(
    http: &reqwest::Client,
    request: Request,
    limit: Duration,
) -> Result<(HeaderMap, Vec<u8>), EmbedError> {
    let call = async {
        let mut response = http.execute(request).await.map_err(unavailable)?;
        if response.status() != StatusCode::OK {
            return Err(refusal(response.status(), response.headers()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(EmbedError::Garbage {
                    what: "more bytes than any vector has",
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((std::mem::take(response.headers_mut()), body))
    };
    timeout(limit, call)
        .await
        .map_err(|_elapsed| EmbedError::Timeout)?
}

fn unavailable(error: reqwest::Error) -> EmbedError {
    EmbedError::Unavailable {
        status: None,
        source: Some(Box::new(error.without_url())),
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> EmbedError {
    match status.as_u16() {
        429 => {
            let seconds = headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let retry_after =
                seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
            EmbedError::RateLimited { retry_after }
        }
        // What these mean differs between servers: a text that is too long, or a model that is not there.
        400 | 413 | 422 => EmbedError::Invalid {
            status: status.as_u16(),
        },
        408 | 425 | 500.. => EmbedError::Unavailable {
            status: Some(status.as_u16()),
            source: None,
        },
        status => EmbedError::Refused { status },
    }
}

fn vector(version: VectorVersion, numbers: &[f32]) -> Result<Vector, EmbedError> {
    Vector::round(version, numbers).map_err(EmbedError::Vector)
}
