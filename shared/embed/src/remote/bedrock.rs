//! Amazon Bedrock's `InvokeModel` with Titan Text Embeddings V2 or Cohere Embed Multilingual.
//!
//! Hides the signature (Signature Version 4) and both models' bodies
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html>).

use std::fmt;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Request, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{RemoteVector, Secret, Settings, address, exchange, http_client, vector};
use crate::error::{EmbedError, SettingsError};
use crate::vector::VectorVersion;

/// How many tokens were billed, in the answer's headers.
const TOKENS_HEADER: &str = "x-amzn-bedrock-input-token-count";

/// What a function's role signs with.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// Not secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: Secret,
    /// Of temporary keys.
    pub session_token: Option<Secret>,
}

/// Where Bedrock is and how to sign for it.
pub struct Place {
    /// Such as `us-east-1`.
    pub region: String,
    /// Instead of `https://bedrock-runtime.REGION.amazonaws.com`.
    pub base_url: Option<String>,
    /// Who asks.
    pub keys: AwsKeys,
    /// The time, which is part of a signature.
    pub clock: fn() -> SystemTime,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// The two kinds of body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Titan,
    Cohere,
}

/// A region's models, our keys, and a pool of connections. Make one per process.
#[derive(Debug)]
pub struct Bedrock {
    http: reqwest::Client,
    endpoint: Url,
    dialect: Dialect,
    place: Place,
    settings: Settings,
    version: VectorVersion,
}

#[derive(Deserialize)]
struct TitanAnswer {
    embedding: Vec<f32>,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CohereAnswer {
    embeddings: Vec<Vec<f32>>,
}

impl Bedrock {
    /// The model is Titan's (`amazon.titan-embed-text-v2:0`) or Cohere's (`cohere.embed-multilingual-v3`), or an
    /// inference profile's of either. Opens no connection.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(place: Place, settings: Settings) -> Result<Self, SettingsError> {
        let dialect = match &settings.model {
            model if model.contains("titan-embed") => Dialect::Titan,
            model if model.contains("cohere.embed") => Dialect::Cohere,
            _ => return Err(SettingsError::Model),
        };
        let usual = || format!("https://bedrock-runtime.{}.amazonaws.com", place.region);
        let mut endpoint = address(&place.base_url.clone().unwrap_or_else(usual))?;
        let mut path = endpoint
            .path_segments_mut()
            .map_err(|()| SettingsError::BaseUrl)?;
        path.pop_if_empty()
            .extend(["model", &settings.model, "invoke"]);
        drop(path);
        // The wire must show what is signed: a colon, which a URL leaves alone, is percent-encoded there.
        let path = endpoint.path().replace(':', "%3A");
        endpoint.set_path(&path);
        Ok(Self {
            http: http_client(&settings)?,
            version: VectorVersion::new(&format!("bedrock {}", settings.model), settings.dimension),
            endpoint,
            dialect,
            place,
            settings,
        })
    }

    /// What its vectors are of: the same model and dimension in any region.
    pub fn version(&self) -> VectorVersion {
        self.version
    }

    /// Takes keys that have been renewed.
    pub fn renew(&mut self, keys: AwsKeys) {
        self.place.keys = keys;
    }

    /// Asks for the vector of a text.
    ///
    /// # Errors
    /// Whatever Bedrock says instead of an answer, and what keeps it from saying anything.
    pub async fn embed(&self, text: &str) -> Result<RemoteVector, EmbedError> {
        let body = match self.dialect {
            Dialect::Titan => {
                json!({ "inputText": text, "dimensions": self.settings.dimension, "normalize": true })
            }
            // A text is never cut, and both sides of a comparison are questions.
            Dialect::Cohere => {
                json!({ "texts": [text], "input_type": "clustering", "truncate": "NONE" })
            }
        };
        let request = self.signed(&body)?;
        let (headers, body) = exchange(&self.http, request, self.settings.timeout).await?;
        let (numbers, tokens) = self.dialect.read(&body).ok_or(EmbedError::Garbage {
            what: "not one vector for one text",
        })?;
        Ok(RemoteVector {
            vector: vector(self.version, &numbers)?,
            input_tokens: tokens.or_else(|| counted(&headers)),
        })
    }

    fn signed(&self, body: &Value) -> Result<Request, EmbedError> {
        let AwsKeys {
            access_key_id,
            secret_access_key,
            session_token,
        } = &self.place.keys;
        let token = session_token
            .as_ref()
            .map(|token| token.expose().to_owned());
        let keys = Credentials::new(
            access_key_id,
            secret_access_key.expose(),
            token,
            None,
            "sparkle",
        );
        let identity = keys.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.place.region)
            .name("bedrock")
            .time((self.place.clock)())
            .settings(SigningSettings::default())
            .build();
        let unsigned = |source| EmbedError::Unsigned { source };
        let parameters = parameters.map_err(|error| unsigned(Box::new(error)))?;

        let bytes = body.to_string().into_bytes();
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json"),
        ];
        let url = self.endpoint.as_str();
        let signable = SignableRequest::new(
            "POST",
            url,
            headers.into_iter(),
            SignableBody::Bytes(&bytes),
        );
        let signed = signable.and_then(|request| sign(request, &parameters.into()));
        let (instructions, _signature) = signed
            .map_err(|error| unsigned(Box::new(error)))?
            .into_parts();
        let mut request = http::Request::new(());
        instructions.apply_to_request_http1x(&mut request);

        let mut sent = Request::new(Method::POST, self.endpoint.clone());
        *sent.headers_mut() = std::mem::take(request.headers_mut());
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (ACCEPT, "application/json"),
        ] {
            sent.headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
        }
        *sent.body_mut() = Some(bytes.into());
        Ok(sent)
    }
}

impl Dialect {
    /// The only vector of an answer, and the tokens that it counts.
    fn read(self, body: &[u8]) -> Option<(Vec<f32>, Option<u64>)> {
        match self {
            Self::Titan => {
                let answer: TitanAnswer = serde_json::from_slice(body).ok()?;
                Some((answer.embedding, answer.tokens))
            }
            Self::Cohere => {
                let answer: CohereAnswer = serde_json::from_slice(body).ok()?;
                let [numbers] = <[Vec<f32>; 1]>::try_from(answer.embeddings).ok()?;
                Some((numbers, None))
            }
        }
    }
}

fn counted(headers: &HeaderMap) -> Option<u64> {
    headers.get(TOKENS_HEADER)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bedrock(model: &str) -> Result<Bedrock, SettingsError> {
        let secret = |text| Secret::new(text).expect("a secret");
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: secret("secret"),
            session_token: Some(secret("token")),
        };
        let place = Place {
            region: "us-east-1".to_owned(),
            base_url: Some("http://127.0.0.1:9".to_owned()),
            keys,
            // 2026-01-02T03:04:05Z
            clock: || SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045),
        };
        let (timeout, roots) = (Duration::from_secs(1), None);
        Bedrock::new(
            place,
            Settings {
                model: model.to_owned(),
                dimension: 4,
                timeout,
                roots,
            },
        )
    }

    /// What botocore 1.x signs for the same request, time and keys.
    #[test]
    fn the_signature_is_botocores() {
        let bedrock = bedrock("amazon.titan-embed-text-v2:0").expect("settings");
        let request = bedrock
            .signed(&json!({ "inputText": "什么" }))
            .expect("signed");
        assert_eq!(
            request.url().path(),
            "/model/amazon.titan-embed-text-v2%3A0/invoke"
        );
        let authorization = request
            .headers()
            .get("authorization")
            .expect("signed")
            .to_str()
            .expect("text");
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/bedrock/aws4_request, \
             SignedHeaders=accept;content-type;host;x-amz-date;x-amz-security-token, \
             Signature=de5097a512271958cffa6ba6b3deac203dec88912a12d49c3a25a673f5d9561d"
        );
        assert_eq!(
            request.headers().get("x-amz-security-token").expect("sent"),
            "token"
        );
    }

    #[test]
    fn only_models_whose_bodies_are_known_are_asked() {
        assert!(bedrock("us.cohere.embed-multilingual-v3").is_ok());
        assert!(matches!(bedrock("meta.llama3"), Err(SettingsError::Model)));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!(
            "{:?}",
            bedrock("cohere.embed-multilingual-v3").expect("settings")
        );
        assert!(
            !shown.contains("AKID") && !shown.contains("token"),
            "{shown}"
        );
    }
}
