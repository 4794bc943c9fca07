//! The provider of vectors that `SPARKLE_EMBEDDING_*` name, if they name one.

use std::time::{Duration, SystemTime};

use sparkle_aws::{
    boot::{Aws, BootError},
    config, trust,
};
use sparkle_embed::{
    Embedder,
    remote::{
        Secret, Settings,
        bedrock::{AwsKeys, Bedrock, Place},
        openai::OpenAi,
    },
};

use crate::mind::Remote;

/// What stands in the place of an address for Amazon Bedrock.
const BEDROCK: &str = "bedrock";
/// Of Titan's and Cohere's vectors.
const DIMENSION_DEFAULT: u32 = 1_024;
/// A learner is waiting: without a vector by then, the model is asked.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn open(aws: &Aws) -> Result<Option<Remote>, BootError> {
    let Some(base_url) = config::optional("SPARKLE_EMBEDDING_BASE_URL") else {
        return Ok(None);
    };
    let model = config::required("SPARKLE_EMBEDDING_MODEL")?;
    let dimension = config::positive_or_unset("SPARKLE_EMBEDDING_DIMENSION")?;
    let settings = Settings {
        model: model.clone(),
        dimension: u16::try_from(dimension.unwrap_or(DIMENSION_DEFAULT))?,
        timeout: TIMEOUT,
        roots: trust::given_roots()?,
    };
    let embedder = if base_url == BEDROCK {
        Embedder::Bedrock(Box::new(Bedrock::new(bedrock()?, settings)?))
    } else {
        let (key, name) = (
            "SPARKLE_EMBEDDING_API_KEY",
            "SPARKLE_EMBEDDING_API_KEY_SECRET_NAME",
        );
        let key = aws.secret(key, name).await?;
        let key = key.as_deref().and_then(Secret::new);
        Embedder::OpenAi(Box::new(OpenAi::new(&base_url, key.as_ref(), settings)?))
    };
    Ok(Some(Remote { embedder, model }))
}

/// Bedrock in the function's own region, asked with the function's own role.
#[expect(
    clippy::disallowed_methods,
    reason = "a signature holds the real time, whatever is asked"
)]
fn bedrock() -> Result<Place, BootError> {
    let secret = config::required("AWS_SECRET_ACCESS_KEY")?;
    let token = config::optional("AWS_SESSION_TOKEN");
    Ok(Place {
        region: config::required("AWS_REGION")?,
        base_url: config::optional("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"),
        keys: AwsKeys {
            access_key_id: config::required("AWS_ACCESS_KEY_ID")?,
            secret_access_key: Secret::new(&secret).ok_or("AWS_SECRET_ACCESS_KEY is blank")?,
            session_token: token.as_deref().and_then(Secret::new),
        },
        clock: SystemTime::now,
    })
}
