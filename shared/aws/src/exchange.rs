//! AWS without a network: for running functions in process, with every call in the hands of a test.
//!
//! Hides the SDK's connector and clock. Backoff and token seeds come from `fastrand`'s generator of the
//! thread, which a test seeds; waiting is tokio's, whose time a test may pause. Nothing here is
//! reached from a function's `main`.

use std::{fmt, future::Future, pin::Pin, sync::Arc, sync::OnceLock, time::SystemTime};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_dynamodb::config::Region;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use sparkle_core::unit::Timestamp;

use crate::boot::{self, Aws};

/// What becomes of a request; nothing if the connection breaks before an answer.
pub type Answering = Pin<Box<dyn Future<Output = Option<http::Response<Bytes>>> + Send>>;

/// Answers requests in place of AWS. Called once for each attempt of the SDK, signed and whole.
#[derive(Clone)]
pub struct Exchange {
    answer: Arc<dyn Fn(http::Request<Bytes>) -> Answering + Send + Sync>,
}

impl Exchange {
    /// An exchange that answers like this.
    pub fn new(answer: impl Fn(http::Request<Bytes>) -> Answering + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange { .. }")
    }
}

/// AWS as `exchange` plays it, with a function's own time limits and retries; makes no call.
///
/// `process` is a name of letters, digits and hyphens. The SDK keeps one allowance of retries for each
/// region of a process: functions that are processes of their own must differ in it.
pub fn aws(
    exchange: Exchange,
    process: &str,
    clock: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Aws {
    let credentials = Credentials::new("exchange", "exchange", None, None, "exchange");
    let sdk = boot::settings()
        .region(Region::new(process.to_owned()))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .time_source(Clock(Box::new(clock)))
        .http_client(exchange)
        .build();
    Aws {
        sdk,
        dynamo: OnceLock::new(),
    }
}

impl HttpClient for Exchange {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Exchange {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = Arc::clone(&self.answer);
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            // Every body of ours is in memory.
            let request = request.map(|body| Bytes::copy_from_slice(body.bytes().unwrap_or(&[])));
            let Some(response) = answer(request).await else {
                return Err(ConnectorError::io("the connection broke".into()));
            };
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

struct Clock(Box<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock { .. }")
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let now_ms = u64::try_from((self.0)().unix_ms()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(now_ms)
    }
}
