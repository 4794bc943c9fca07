//! Posting to a socket through API Gateway's `@connections`.

use std::time::Duration;

use aws_sdk_apigatewaymanagement::{
    Client,
    config::retry::RetryConfig,
    operation::{
        delete_connection::DeleteConnectionError, post_to_connection::PostToConnectionError,
    },
};
use sparkle_core::id::ConnectionId;

use crate::{
    boot::Aws,
    config::{self, ConfigError},
    failure::Failure,
};

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// API Gateway took it.
    Delivered,
    /// The socket is closed; nothing more can be posted to it.
    Gone,
}

/// The sockets of this API.
#[derive(Debug, Clone)]
pub struct Push {
    gateway: Client,
}

impl Push {
    /// Opens the API that `SPARKLE_PUSH_ENDPOINT` names; makes no call.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn open(aws: &Aws) -> Result<Self, ConfigError> {
        let mut config = aws_sdk_apigatewaymanagement::config::Builder::from(&aws.sdk);
        let endpoint = match config::optional("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI") {
            Some(endpoint) => endpoint,
            None => config::required("SPARKLE_PUSH_ENDPOINT")?,
        };
        config.set_endpoint_url(Some(endpoint));
        // 429 means a busy account or a slow reader: both pass, so it is tried longer than the rest.
        config.set_retry_config(Some(
            RetryConfig::standard()
                .with_max_attempts(6)
                .with_initial_backoff(Duration::from_millis(50))
                .with_max_backoff(Duration::from_secs(1)),
        ));
        Ok(Self {
            gateway: Client::from_conf(config.build()),
        })
    }

    /// Posts one frame, at most 128 KiB.
    ///
    /// # Errors
    /// [`Failure::Retry`] if API Gateway did not take it in six tries. Cost: one call.
    pub async fn post(&self, connection: &ConnectionId, text: String) -> Result<Posted, Failure> {
        let post = self
            .gateway
            .post_to_connection()
            .connection_id(connection.as_str());
        match post.data(text.into_bytes().into()).send().await {
            Ok(_) => Ok(Posted::Delivered),
            Err(error) => match error.into_service_error() {
                PostToConnectionError::GoneException(_) => Ok(Posted::Gone),
                too_large @ PostToConnectionError::PayloadTooLargeException(_) => {
                    Err(Failure::fatal(too_large))
                }
                other => Err(Failure::retry(other)),
            },
        }
    }

    /// Closes a socket; one that is closed already is no error.
    ///
    /// # Errors
    /// [`Failure::Retry`] if API Gateway did not answer. Cost: one call.
    pub async fn close(&self, connection: &ConnectionId) -> Result<(), Failure> {
        let close = self
            .gateway
            .delete_connection()
            .connection_id(connection.as_str());
        match close.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.into_service_error() {
                DeleteConnectionError::GoneException(_) => Ok(()),
                other => Err(Failure::retry(other)),
            },
        }
    }
}
