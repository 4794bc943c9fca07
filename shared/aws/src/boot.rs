//! A cold start: logs, SDK settings, and the loop that serves invocations.
//!
//! The SDK is configured by hand instead of through `aws-config`, whose credential chain a Lambda
//! function never uses: that is a third of the binary and of the start (see docs/adr/0002). What else a
//! start must not cost is in docs/adr/0005.

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_types::SdkConfig;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use sparkle_core::unit::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config, config::ConfigError, failure::Failure};

/// Why a function could not start.
pub use lambda_runtime::Error as BootError;

/// The only roots that AWS's endpoints need. To read the machine's own, well over a hundred, would be nine
/// tenths of a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// What every typed client is made from.
#[derive(Debug, Clone)]
pub struct Aws {
    pub(crate) sdk: SdkConfig,
}

/// Reads region, credentials and time limits; makes no call.
///
/// One call may take 5 s in three tries: less than any function's own timeout. Endpoints are trusted by
/// Amazon's own roots; `SSL_CERT_FILE` has the machine's store trusted instead, for a proxy that looks
/// into TLS.
///
/// # Errors
/// [`ConfigError::Missing`] if the platform set no region or credentials.
pub fn aws() -> Result<Aws, ConfigError> {
    let credentials = Credentials::new(
        config::required("AWS_ACCESS_KEY_ID")?,
        config::required("AWS_SECRET_ACCESS_KEY")?,
        config::optional("AWS_SESSION_TOKEN"),
        None, // a sandbox is replaced before its credentials expire
        "environment",
    );
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(trust()?)
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5))
        .build();
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config::required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .build();
    Ok(Aws { sdk })
}

fn trust() -> Result<TlsContext, ConfigError> {
    let store = match config::optional("SSL_CERT_FILE") {
        Some(_) => TrustStore::default(),
        None => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS),
    };
    let context = TlsContext::builder().with_trust_store(store).build();
    context.map_err(|error| ConfigError::Trust(Box::new(error)))
}

impl Aws {
    /// A secret: from the variable `value` (laptops), else by the name in `name` from Secrets Manager;
    /// none if neither is set. Cost: at most one call, at a cold start.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable whose secret cannot be had.
    pub async fn secret(
        &self,
        value: &'static str,
        name: &'static str,
    ) -> Result<Option<String>, ConfigError> {
        if let Some(secret) = config::optional(value) {
            return Ok(Some(secret));
        }
        let Some(secret_id) = config::optional(name) else {
            return Ok(None);
        };
        let answer = aws_sdk_secretsmanager::Client::new(&self.sdk)
            .get_secret_value()
            .secret_id(secret_id)
            .send()
            .await
            .map_err(|source| ConfigError::Secret {
                name,
                source: Box::new(source.into()),
            })?;
        answer
            .secret_string
            .map(Some)
            .ok_or(ConfigError::EmptySecret(name))
    }
}

/// Starts structured logs: one JSON object a line on stdout, with the trace id of the current span.
///
/// The level is `RUST_LOG`, such as `info` or `info,turn_worker=debug`; `info` if it is unset or no level.
/// Logs carry no message text, token or key (R-OBS-4).
pub fn logs() {
    let levels = config::optional("RUST_LOG").and_then(|levels| levels.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_filter(levels.unwrap_or(Targets::new().with_default(LevelFilter::INFO)));
    tracing_subscriber::registry().with(lines).init();
}

/// Serves invocations until the platform ends the process.
///
/// The time of each invocation enters here; `handle` and what it calls take it as a value.
///
/// # Errors
/// Only if the Runtime API cannot be reached.
pub async fn serve<Event, Answer, Handling>(
    handle: impl Fn(Event, Timestamp) -> Handling,
) -> Result<(), BootError>
where
    Event: DeserializeOwned + Debug,
    Answer: Serialize,
    Handling: Future<Output = Result<Answer, Failure>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Event>| {
        // Boxed: a handler's future holds the SDK's, which are some kilobytes each.
        Box::pin(handle(event.payload, now()))
            .await
            .map_err(Diagnostic::from)
    }))
    .await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where time enters a function"
)]
fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().after(since_epoch)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 fingerprints as Amazon Trust Services publishes them.
    #[test]
    fn the_roots_are_amazons() {
        let pem = std::str::from_utf8(AMAZON_ROOTS).unwrap();
        let fingerprints: Vec<String> = pem
            .split("-----BEGIN CERTIFICATE-----")
            .skip(1)
            .map(|rest| {
                let body = rest.split("-----END").next().unwrap().replace('\n', "");
                let der = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap();
                format!("{:x}", Sha256::digest(der))
            })
            .collect();
        assert_eq!(
            fingerprints,
            [
                "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
                "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
                "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
                "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
                "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
            ]
        );
    }
}
