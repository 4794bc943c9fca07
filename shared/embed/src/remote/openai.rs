//! Any server that speaks OpenAI's `/embeddings` (<https://platform.openai.com/docs/api-reference/embeddings/create>).

use std::fmt;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{RemoteVector, Secret, Settings, address, exchange, http_client, vector};
use crate::error::{EmbedError, SettingsError};
use crate::vector::VectorVersion;

/// A provider's address, our key, and a pool of connections to it. Make one per process.
pub struct OpenAi {
    http: reqwest::Client,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    settings: Settings,
    version: VectorVersion,
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query, where some providers want the key.
        f.debug_struct("OpenAi")
            .field("host", &self.endpoint.host_str())
            .field("path", &self.endpoint.path())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a str,
    encoding_format: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
}

impl OpenAi {
    /// `base_url` is what comes before `/embeddings`, such as `https://api.openai.com/v1`; a query is kept. Opens no
    /// connection.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(
        base_url: &str,
        key: Option<&Secret>,
        settings: Settings,
    ) -> Result<Self, SettingsError> {
        let mut endpoint = address(base_url)?;
        let path = endpoint.path().trim_end_matches('/').to_owned();
        if !path.ends_with("/embeddings") {
            endpoint.set_path(&format!("{path}/embeddings"));
        }
        let bearer = |key: &Secret| HeaderValue::from_str(&format!("Bearer {}", key.expose()));
        let mut authorization = key
            .map(bearer)
            .transpose()
            .map_err(|_not_a_header| SettingsError::Key)?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        // Without the query, where some providers want the key.
        let place = format!(
            "{}{}",
            endpoint.host_str().unwrap_or_default(),
            endpoint.path()
        );
        Ok(Self {
            http: http_client(&settings)?,
            version: VectorVersion::new(&format!("{place} {}", settings.model), settings.dimension),
            endpoint,
            authorization,
            settings,
        })
    }

    /// What its vectors are of: the same host, path, model and dimension.
    pub fn version(&self) -> VectorVersion {
        self.version
    }

    /// Asks for the vector of a text.
    ///
    /// # Errors
    /// Whatever the provider says instead of an answer, and what keeps it from saying anything.
    pub async fn embed(&self, text: &str) -> Result<RemoteVector, EmbedError> {
        let body = Body {
            model: &self.settings.model,
            input: text,
            encoding_format: "float",
        };
        let mut request = self.http.post(self.endpoint.clone()).json(&body);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request = request
            .build()
            .map_err(|_too_odd| EmbedError::Invalid { status: 0 })?;
        let (_headers, body) = exchange(&self.http, request, self.settings.timeout).await?;
        let garbage = |what| EmbedError::Garbage { what };
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_not_json| garbage("no list of vectors"))?;
        let [item] = answer.data.as_slice() else {
            return Err(garbage("not one vector for one text"));
        };
        Ok(RemoteVector {
            vector: vector(self.version, &item.embedding)?,
            input_tokens: answer.usage.and_then(|usage| usage.prompt_tokens),
        })
    }
}
