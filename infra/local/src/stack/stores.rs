//! Tables and queues: built in or elsewhere, and what the functions see of them.

use std::{fs, path::PathBuf};

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};

use super::{bind, serve};
use crate::{
    access::{Access, guard},
    dynamo,
    metrics::Metrics,
    settings::{DYNAMODB_PORT, Settings},
    sqs::{Outside, Queues, Sqs},
    template::Template,
};

/// Where tables and queues are.
#[derive(Clone, Debug)]
pub(super) struct Urls {
    pub(super) dynamodb: String,
    /// The same tables, as far as the caller may use them.
    pub(super) functions_dynamodb: String,
    pub(super) sqs: String,
}

/// Tables and queues that nothing is in yet. What is elsewhere has no listener.
pub(super) struct Stores {
    pub(super) urls: Urls,
    dynamodb: Option<TcpListener>,
    guarded_dynamodb: TcpListener,
    sqs: Option<TcpListener>,
}

impl Stores {
    /// Takes the ports that the settings name.
    pub(super) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let port = |port: Option<u16>, default| match settings.port {
            0 => port.unwrap_or(0),
            _ => port.unwrap_or(default),
        };
        let (dynamodb, dynamodb_url) = match &settings.dynamodb_endpoint {
            Some(endpoint) => (None, endpoint.trim_end_matches('/').to_owned()),
            None => {
                listen(
                    port(settings.dynamodb_port, DYNAMODB_PORT),
                    "--dynamodb-port",
                )
                .await?
            }
        };
        let (sqs, sqs_url) = match &settings.sqs_endpoint {
            Some(endpoint) => (None, endpoint.trim_end_matches('/').to_owned()),
            None => listen(port(settings.sqs_port, 9324), "--sqs-port").await?,
        };
        let guarded_dynamodb = bind(0, "--port").await?;
        // What is reached by TLS is not looked into.
        let functions_dynamodb = if dynamodb_url.starts_with("http://") {
            format!("http://{}", guarded_dynamodb.local_addr()?)
        } else {
            dynamodb_url.clone()
        };
        Ok(Self {
            urls: Urls {
                dynamodb: dynamodb_url,
                functions_dynamodb,
                sqs: sqs_url,
            },
            dynamodb,
            guarded_dynamodb,
            sqs,
        })
    }

    /// Serves what is built in, and creates what the template declares.
    pub(super) async fn open(
        self,
        settings: &Settings,
        template: &Template,
        access: &Access,
        services: &mut JoinSet<()>,
    ) -> anyhow::Result<Queues> {
        let files = data_dir(settings)?;
        let file = |name| files.map(|directory| directory.join(name));
        let Urls { dynamodb, sqs, .. } = self.urls;
        if let Some(listener) = self.dynamodb {
            let database = dynamo::open(file("dynamodb.sqlite").as_deref())?;
            services.spawn(dynamo::serve(listener, database));
        }
        dynamo::create(&dynamodb, &template.tables).await?;
        if let Some(upstream) = dynamodb.strip_prefix("http://") {
            let (listener, access) = (self.guarded_dynamodb, access.clone());
            services.spawn(guard::dynamodb(listener, access, upstream.to_owned()));
        }
        let Some(listener) = self.sqs else {
            return Ok(Outside::create(&sqs, &template.queues).await?.into());
        };
        let sqs = Sqs::open(file("sqs.sqlite").as_deref(), template.queues.clone(), sqs)?;
        let router = guard::sqs(access, sqs.router());
        serve(services, listener, router, Metrics::default());
        Ok(sqs.into())
    }
}

/// A listener and its URL.
async fn listen(port: u16, flag: &str) -> anyhow::Result<(Option<TcpListener>, String)> {
    let listener = bind(port, flag).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((Some(listener), url))
}

/// Where data is kept, if it is.
fn data_dir(settings: &Settings) -> anyhow::Result<Option<&PathBuf>> {
    let files = (!settings.ephemeral).then_some(&settings.data_dir);
    if let Some(directory) = files {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the data directory {}", directory.display()))?;
    }
    Ok(files)
}
