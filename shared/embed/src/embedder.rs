//! Where vectors come from, behind one face.

use crate::bundled::{Bundled, Reading};
use crate::error::EmbedError;
use crate::remote::RemoteVector;
use crate::remote::bedrock::Bedrock;
use crate::remote::openai::OpenAi;
use crate::vector::{Vector, VectorVersion};

/// A source of vectors. Those of different sources never compare.
#[derive(Debug)]
pub enum Embedder {
    /// The model that comes with Sparkle: no network, no bill.
    Bundled(Box<Bundled>),
    /// Any server with an OpenAI-compatible `/embeddings`.
    OpenAi(Box<OpenAi>),
    /// Titan or Cohere on Amazon Bedrock.
    Bedrock(Box<Bedrock>),
}

/// What became of a text.
#[derive(Debug, Clone)]
pub enum Embedding {
    /// A reading, which a [`Verifier`](crate::Verifier) can judge.
    Read(Box<Reading>),
    /// A vector only, with what is billed for it. To judge the text, read it with a [`Bundled`] as well.
    Remote(RemoteVector),
}

impl Embedding {
    /// Where the text points.
    pub fn vector(&self) -> &Vector {
        match self {
            Self::Read(reading) => reading.vector(),
            Self::Remote(remote) => &remote.vector,
        }
    }

    /// The reading, where the text was read here.
    pub fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Read(reading) => Some(reading),
            Self::Remote(_) => None,
        }
    }
}

impl Embedder {
    /// What its vectors are of.
    pub fn version(&self) -> VectorVersion {
        match self {
            Self::Bundled(bundled) => bundled.version(),
            Self::OpenAi(openai) => openai.version(),
            Self::Bedrock(bedrock) => bedrock.version(),
        }
    }

    /// The vector of a text. The bundled model works on this thread, see [`Bundled::read`]; the others make one call.
    ///
    /// # Errors
    /// The text has no reading, or the provider gives no vector.
    pub async fn embed(&self, text: &str) -> Result<Embedding, EmbedError> {
        match self {
            Self::Bundled(bundled) => Ok(Embedding::Read(Box::new(bundled.read(text)?))),
            Self::OpenAi(openai) => openai.embed(text).await.map(Embedding::Remote),
            Self::Bedrock(bedrock) => bedrock.embed(text).await.map(Embedding::Remote),
        }
    }
}
