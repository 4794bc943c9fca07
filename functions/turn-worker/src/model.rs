//! Which model answers, as the environment says.

use std::time::Duration;

use sparkle_aws::{
    boot::{Aws, BootError},
    config, trust,
};
use sparkle_llm::{ApiKey, Llm, Scripting, Settings, Timeouts};

/// The model that `SPARKLE_LLM_BASE_URL` names, or the offline one. Cost: fetches the key from Secrets
/// Manager where one is named, once for a cold start.
///
/// # Errors
/// Whatever is wrong with the settings, by name.
pub async fn open(aws: &Aws) -> Result<Llm, BootError> {
    let base_url = config::optional("SPARKLE_LLM_BASE_URL");
    let key = match base_url {
        Some(_) => {
            aws.secret("SPARKLE_LLM_API_KEY", "SPARKLE_LLM_API_KEY_SECRET_NAME")
                .await?
        }
        None => None,
    };
    let default = Timeouts::default();
    let timeouts = match config::positive_or_unset("SPARKLE_LLM_TIMEOUT_SECONDS")? {
        Some(seconds) => {
            let silence = Duration::from_secs(seconds.into());
            Timeouts {
                first_byte: silence,
                idle: silence,
                ..default
            }
        }
        None => default,
    };
    let scripting = match config::optional("SPARKLE_LLM_SCRIPTED").as_deref() {
        Some("1") => Scripting::Obeyed,
        _ => Scripting::Ignored,
    };
    let tokenizer = config::optional("SPARKLE_LLM_TOKENIZER");
    let api_key = key.as_deref().and_then(ApiKey::new);
    Ok(Llm::from_settings(&Settings {
        base_url,
        api_key,
        timeouts,
        scripting,
        roots: trust::given_roots()?,
        tokenizer: tokenizer.as_deref().map(str::parse).transpose()?,
    })?)
}
