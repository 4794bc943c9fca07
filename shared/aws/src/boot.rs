//! A cold start: logs, SDK settings, and the loop that serves invocations.
//!
//! The SDK is configured by hand instead of through `aws-config`, whose credential chain a Lambda
//! function never uses: that is a third of the binary and of the start (see docs/adr/0002). What else a
//! start must not cost is in docs/adr/0005.

use std::{
    fmt::Debug,
    future::Future,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_types::SdkConfig;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use sparkle_core::unit::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config, config::ConfigError, failure::Failure, trust};

/// Why a function could not start.
pub use lambda_runtime::Error as BootError;

/// What every typed client is made from.
#[derive(Debug, Clone)]
pub struct Aws {
    pub(crate) sdk: SdkConfig,
    /// Opened by the first table.
    pub(crate) dynamo: OnceLock<aws_sdk_dynamodb::Client>,
}

/// Reads region, credentials and time limits; makes no call.
///
/// One call may take 5 s in three tries: less than any function's own timeout. Whom it trusts is said in
/// [`trust`].
///
/// # Errors
/// [`ConfigError::Missing`] if the platform set no region or credentials;
/// [`ConfigError::Certificates`] if `SSL_CERT_FILE` is set and holds none.
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
        .tls_context(trust::aws()?)
        .build_https();
    let sdk = settings()
        .region(Region::new(config::required("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http)
        .build();
    Ok(Aws {
        sdk,
        dynamo: OnceLock::new(),
    })
}

/// How long a call may take and how often it is tried, wherever it goes.
pub(crate) fn settings() -> aws_types::sdk_config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5))
        .build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
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

/// One invocation of a function: where time and identity enter it (invariant A1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// When it began.
    pub now: Timestamp,
    /// When the platform ends it, finished or not.
    pub deadline: Timestamp,
    /// The platform's id of it: another for every invocation, also of the same event.
    pub id: String,
}

/// Serves invocations until the platform ends the process.
///
/// # Errors
/// Only if the Runtime API cannot be reached.
pub async fn serve<Event, Answer, Handling>(
    handle: impl Fn(Event, Invocation) -> Handling,
) -> Result<(), BootError>
where
    Event: DeserializeOwned + Debug,
    Answer: Serialize,
    Handling: Future<Output = Result<Answer, Failure>>,
{
    let handle = &handle;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Event>| {
        let deadline_ms = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        let invocation = Invocation {
            now: now(),
            deadline: Timestamp::from_unix_ms(deadline_ms),
            id: event.context.request_id,
        };
        // Boxed: a handler's future holds the SDK's, which are some kilobytes each.
        Box::pin(handle(event.payload, invocation))
            .await
            .map_err(Diagnostic::from)
    }))
    .await
}

/// The time of this moment, for a program that is no function.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where time enters a function"
)]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default().after(since_epoch)
}
