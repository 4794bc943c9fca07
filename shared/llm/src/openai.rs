//! Any server that speaks OpenAI's `/chat/completions` with `stream: true`.
//!
//! Hides the HTTP client and the dialects. In the order data flows: `request` writes the body,
//! the client sends it, `refusal` reads what comes instead of an answer, `answer` reads the
//! bytes in time, `sse` cuts them into events, `assembly` makes pieces of those.

mod answer;
mod assembly;
mod refusal;
mod request;
mod sse;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use rustls::RootCertStore;
use tokio::time::{Instant, timeout};

use crate::Timeouts;
use crate::error::{LlmError, Phase, ProviderText, SettingsError};
use crate::prompt::Prompt;
use crate::tokens::{Counter, Family};

pub use answer::Answer;
use request::AnswerCap;

/// How long an unused connection is kept. Below the 60 s after which common load balancers drop
/// it, so that a call rarely meets a connection that is already dead.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// How much is read of what comes instead of an answer.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// How long the rest of a refusal is waited for: its status has said the most.
const REFUSAL_WAIT: Duration = Duration::from_secs(2);

/// The secret that a provider knows us by. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Surrounding white space is not part of a key; a blank key is none.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(key.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// A provider's address, our key, and a pool of connections to it. Make one per process.
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    api_key: Option<ApiKey>,
    timeouts: Timeouts,
    answer_cap: AnswerCap,
    /// Of all its models, as the operator says.
    tokenizer: Option<Family>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, where some providers want the key.
        f.debug_struct("Client")
            .field("host", &self.host())
            .field("path", &self.endpoint.path())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// `base_url` is what comes before `/chat/completions`; a query, such as Azure's
    /// `?api-version=…`, is kept. `roots` as in [`Settings`](crate::Settings). Opens no connection.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(
        base_url: &str,
        api_key: Option<&ApiKey>,
        timeouts: Timeouts,
        roots: Option<RootCertStore>,
    ) -> Result<Self, SettingsError> {
        let endpoint = endpoint(base_url)?;
        let authorization = api_key.map(authorization).transpose()?;
        Ok(Self {
            http: http_client(timeouts, roots)?,
            answer_cap: AnswerCap::known_by(&endpoint),
            endpoint,
            authorization,
            api_key: api_key.cloned(),
            timeouts,
            tokenizer: None,
        })
    }

    /// The same, whose models have a tokenizer that the operator knows.
    pub fn counting_by(self, tokenizer: Option<Family>) -> Self {
        Self { tokenizer, ..self }
    }

    /// How the tokens of a model's prompts are counted.
    pub fn counter(&self, model: &str) -> Counter {
        let is_openai = self.endpoint.scheme() == "https" && self.host() == "api.openai.com";
        let known = || is_openai.then(|| Family::of_model(model)).flatten();
        let family = self.tokenizer.or_else(known);
        family.map_or(Counter::Bytes, Counter::Exact)
    }

    /// The provider's host name.
    pub fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    /// Sends the prompt and waits for the head of the answer.
    ///
    /// # Errors
    /// No connection, no head in time, or a refusal.
    pub(crate) async fn stream(&self, prompt: &Prompt) -> Result<Answer, LlmError> {
        let mut request = self
            .http
            .post(self.endpoint.clone())
            .header(ACCEPT, "text/event-stream")
            .json(&request::body(prompt, self.answer_cap));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(trace_parent) = &prompt.trace_parent {
            request = request.header("traceparent", trace_parent.to_string());
        }

        let sent = Instant::now();
        // The connection has its own, shorter limit inside of this one.
        let response = match timeout(self.timeouts.first_byte, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(not_sent(error)),
            Err(_elapsed) => {
                return Err(LlmError::Timeout {
                    phase: Phase::FirstByte,
                });
            }
        };
        if response.status() != StatusCode::OK {
            return Err(self.refused(response).await);
        }
        let first_byte = self.timeouts.first_byte.saturating_sub(sent.elapsed());
        match content_type(&response) {
            "text/html" => Err(LlmError::Garbage {
                what: "a web page instead of an answer",
            }),
            "application/json" => Answer::from_json(response, first_byte).await,
            // Some servers stream with no or with another content type.
            _ => Ok(Answer::from_events(
                response,
                first_byte,
                self.timeouts.idle,
            )),
        }
    }

    async fn refused(&self, mut response: Response) -> LlmError {
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(refusal::retry_after);
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = REFUSAL_BYTES_MAX.saturating_sub(body.len());
                body.extend(chunk.iter().take(room));
                if chunk.len() >= room {
                    break;
                }
            }
        };
        // What has come by then is enough; a body that is cut says less, not something else.
        let _is_whole = timeout(REFUSAL_WAIT, read).await.is_ok();
        let mut body = String::from_utf8_lossy(&body).into_owned();
        if let Some(ApiKey(key)) = &self.api_key {
            // Some servers quote the key that they refuse.
            body = body.replace(key.as_str(), "[key]");
        }
        refusal::from_response(status, retry_after, &body)
    }
}

fn endpoint(base_url: &str) -> Result<Url, SettingsError> {
    let bad = |problem| SettingsError::BaseUrl { problem };
    let mut url = Url::parse(base_url).map_err(|_not_a_url| bad("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("does not begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(
            "has a user name or password in it; SPARKLE_LLM_API_KEY is for secrets",
        ));
    }
    if url.fragment().is_some() {
        return Err(bad("has a # in it"));
    }
    let path = url.path().trim_end_matches('/');
    if !path.ends_with("/chat/completions") {
        let path = format!("{path}/chat/completions");
        url.set_path(&path);
    }
    Ok(url)
}

fn authorization(ApiKey(key): &ApiKey) -> Result<HeaderValue, SettingsError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_not_a_header| SettingsError::ApiKey)?;
    value.set_sensitive(true);
    Ok(value)
}

fn http_client(
    timeouts: Timeouts,
    roots: Option<RootCertStore>,
) -> Result<reqwest::Client, SettingsError> {
    let roots = roots.unwrap_or_else(|| RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Tls(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .connect_timeout(timeouts.connect)
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

fn not_sent(error: reqwest::Error) -> LlmError {
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => LlmError::Timeout {
            phase: Phase::Connect,
        },
        (true, false) => LlmError::Timeout {
            phase: Phase::FirstByte,
        },
        (false, _) => LlmError::Unavailable {
            said: ProviderText::default(),
            source: Some(Box::new(error.without_url())),
        },
    }
}

/// The media type, without parameters; `""` if there is none.
fn content_type(response: &Response) -> &str {
    response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map_or("", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_follows_the_base_url() {
        let at = |base: &str| {
            endpoint(base)
                .map(String::from)
                .map_err(|error| error.to_string())
        };
        let same = Ok("https://api.openai.com/v1/chat/completions".to_owned());
        assert_eq!(at("https://api.openai.com/v1"), same);
        assert_eq!(at("https://api.openai.com/v1/"), same);
        assert_eq!(at("https://api.openai.com/v1/chat/completions"), same);
        assert_eq!(
            at("http://127.0.0.1:11434").as_deref(),
            Ok("http://127.0.0.1:11434/chat/completions")
        );
        assert_eq!(
            at("https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21").as_deref(),
            Ok(
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
            )
        );
    }

    #[test]
    fn a_bad_base_url_is_refused_by_the_name_of_its_variable() {
        for bad in [
            "api.openai.com/v1",
            "localhost:8080",
            "ftp://x/",
            "http://",
            "https://me:hunter2@x/",
            "http://x/#a",
        ] {
            let error = Client::new(bad, None, Timeouts::default(), None)
                .expect_err(bad)
                .to_string();
            assert!(error.contains("SPARKLE_LLM_BASE_URL"), "{bad}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ApiKey::new(" sk-secret ").expect("a key");
        let client = Client::new(
            "http://x/v1?key=secret",
            Some(&key),
            Timeouts::default(),
            None,
        );
        let client = client.expect("a client");
        assert!(!format!("{client:?} {key:?}").contains("secret"));
        assert_eq!(ApiKey::new("  "), None);
        let torn = ApiKey::new("sk-\nsecret");
        let error =
            Client::new("http://x/", torn.as_ref(), Timeouts::default(), None).expect_err("torn");
        assert!(error.to_string().contains("SPARKLE_LLM_API_KEY"), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
