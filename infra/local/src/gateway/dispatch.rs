//! From a message or an ended connection to the function that its route names.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::lambda::{Invocation, InvokeError};

use super::Gateway;
use super::connection::{Connection, Ending, Running};
use super::event::{self, Inbound, Stamp};
use super::refusal::Refusal;
use super::route;

/// What became of a function's invocation, as far as the gateway waited for it.
pub(super) enum Outcome {
    Answered(Bytes),
    /// Without an error if the gateway is shutting down.
    Failed(Option<InvokeError>),
    TimedOut,
}

impl Outcome {
    /// Logs what went wrong, if anything did.
    pub(super) fn logged(self, function: &str) -> Self {
        match &self {
            Self::Answered(_) | Self::Failed(None) => {}
            Self::Failed(Some(error)) => tracing::warn!(function, %error, "integration failed"),
            Self::TimedOut => {
                tracing::warn!(function, "integration timed out; the function runs on");
            }
        }
        self
    }
}

impl Gateway {
    /// Takes a message of an open connection and dispatches it; waits only while the connection
    /// has as many functions running as [`super::Limits`] allows. Unconfirmed: that a message
    /// without a route, or over the account's rate, is answered with a frame and the connection
    /// stays open.
    pub(super) async fn receive(&self, connection: &Arc<Connection>, message: Inbound<'_>) {
        let stamp = Stamp::new(self.clock());
        if !self.0.requests.take() {
            return report(connection, &stamp, Refusal::TOO_MANY_REQUESTS.message);
        }
        let api = &self.0.api;
        let key = match message {
            Inbound::Text(text) => route::key(&api.route_selection_expression, text),
            Inbound::Binary(_) => None,
        };
        let by_key = key.as_deref().and_then(|key| api.routes.get_key_value(key));
        let Some((key, function)) = by_key.or_else(|| api.routes.get_key_value(route::DEFAULT))
        else {
            return report(connection, &stamp, Refusal::FORBIDDEN.message);
        };
        let Some(running) = connection.may_run(message.len()).await else {
            return;
        };
        let message_id = self.clock().id();
        let event = event::message(
            &connection.opening,
            &stamp,
            connection.authorizer.as_ref(),
            key,
            &message_id,
            message,
        );
        let (gateway, connection) = (self.clone(), Arc::clone(connection));
        let function = function.clone();
        self.0.tasks.spawn(async move {
            let outcome = gateway.integrate(&function, &event, None, Some(running));
            let refusal = match outcome.await.logged(&function) {
                Outcome::Answered(answer) => match route::proxy_answer(&answer) {
                    // Unconfirmed: that a status from 500 on counts as a failure, and a lower one
                    // does not.
                    Some(answer) if answer.status < 500 => return,
                    Some(_) | None => Refusal::INTERNAL,
                },
                Outcome::Failed(_) => Refusal::INTERNAL,
                Outcome::TimedOut => Refusal::TIMED_OUT,
            };
            report(&connection, &stamp, refusal.message);
        });
    }

    /// Tells `$disconnect` how a connection ended. Best effort, as on AWS: a failure is logged and
    /// nobody tries again.
    pub(super) async fn disconnect(&self, connection: &Connection, ending: &Ending) {
        let Some(function) = self.0.api.routes.get(route::DISCONNECT) else {
            return;
        };
        let event = event::disconnect(
            &connection.opening,
            &Stamp::new(self.clock()),
            connection.authorizer.as_ref(),
            ending.status,
            &ending.reason,
        );
        let outcome = self.integrate(function, &event, None, None).await;
        drop(outcome.logged(function));
    }

    /// Invokes a function and waits for up to [`super::Limits::integration_timeout`]; past it the
    /// function runs on. `running` is given back when the function has really finished.
    ///
    /// Where Lambda would throttle, the invocation waits for an instance: a laptop has few, and
    /// the timeout bounds the wait.
    pub(super) async fn integrate(
        &self,
        function: &str,
        event: &Value,
        trace_header: Option<String>,
        running: Option<Running>,
    ) -> Outcome {
        let (sender, answered) = oneshot::channel();
        let (lambda, name) = (self.0.lambda.clone(), function.to_owned());
        let event = Bytes::from(event.to_string());
        self.0.tasks.spawn(async move {
            let invocation = Invocation {
                trace_header,
                ..Invocation::default()
            };
            let result = lambda.invoke(&name, event, invocation).await;
            drop(running);
            drop(sender.send(result));
        });
        match timeout(self.limits().integration_timeout, answered).await {
            Ok(Ok(Ok(answer))) => Outcome::Answered(answer),
            Ok(Ok(Err(error))) => Outcome::Failed(Some(error)),
            // The task was aborted: the gateway is shutting down.
            Ok(Err(_)) => Outcome::Failed(None),
            Err(_) => Outcome::TimedOut,
        }
    }
}

/// Sends the client a frame of the gateway's own. A client that has no room gets none.
fn report(connection: &Connection, stamp: &Stamp, message: &str) {
    let id = &connection.opening.connection_id;
    let frame = event::error_frame(message, id, &stamp.request_id);
    let pushed = connection.push(frame.into());
    tracing::debug!(id, message, ?pushed, "gateway frame");
}
