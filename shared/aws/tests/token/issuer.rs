//! An issuer: it signs tokens, and serves its public keys or what a broken one would.

use std::sync::{
    Arc, OnceLock, PoisonError, RwLock,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::StreamExt;
use jsonwebtoken::{Algorithm, EncodingKey, crypto::rust_crypto};
use p256::{elliptic_curve::sec1::ToEncodedPoint, pkcs8::EncodePrivateKey};
use rsa::{RsaPrivateKey, pkcs1::EncodeRsaPrivateKey, traits::PublicKeyParts};
use serde_json::{Value, json};
use sparkle_aws::token::Tokens;
use sparkle_core::unit::Timestamp;
use tokio::{net::TcpListener, task::JoinSet};

/// `iss` of every good token.
pub(crate) const ISSUER: &str = "https://issuer.test/pool";
/// `aud` of every good token.
pub(crate) const AUDIENCE: &str = "sparkle";
/// When the tests take place: a whole second.
pub(crate) const NOW_S: i64 = 1_800_000_000;

/// `seconds` after the tests began.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_ms((NOW_S + seconds) * 1000)
}

/// What a good token claims; it ends in two hours.
pub(crate) fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW_S + 7200 })
}

/// The good claims with one of them changed.
pub(crate) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// A key pair, the one algorithm that it signs with, and the name that its tokens call it by.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) key: EncodingKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: &'static str,
    /// What of its JWK is the key itself.
    pub(crate) public: Value,
}

impl Signer {
    /// Signs with a shared secret.
    pub(crate) fn hs256(secret: &[u8], key_id: &'static str) -> Self {
        Self {
            key: EncodingKey::from_secret(secret),
            algorithm: Algorithm::HS256,
            key_id,
            public: json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret) }),
        }
    }

    /// Signs with the one RSA key that there is.
    pub(crate) fn rs256(key_id: &'static str) -> Self {
        static KEY: OnceLock<(EncodingKey, Value)> = OnceLock::new();
        let (key, public) = KEY.get_or_init(|| {
            let mut random = rsa::rand_core::OsRng;
            let key = RsaPrivateKey::new(&mut random, 2048).expect("an RSA key");
            let der = key.to_pkcs1_der().expect("DER");
            let [n, e] = [key.n(), key.e()].map(|part| URL_SAFE_NO_PAD.encode(part.to_bytes_be()));
            let public = json!({ "kty": "RSA", "n": n, "e": e });
            (EncodingKey::from_rsa_der(der.as_bytes()), public)
        });
        Self {
            key: key.clone(),
            algorithm: Algorithm::RS256,
            key_id,
            public: public.clone(),
        }
    }

    /// Signs with the P-256 key whose private number is made of `digit`s.
    pub(crate) fn es256(digit: u8, key_id: &'static str) -> Self {
        let key = p256::SecretKey::from_slice(&[digit; 32]).expect("a P-256 key");
        let der = key.to_pkcs8_der().expect("DER");
        let point = key.public_key().to_encoded_point(false);
        let [x, y] = [point.x(), point.y()].map(|part| URL_SAFE_NO_PAD.encode(part.expect("x, y")));
        Self {
            key: EncodingKey::from_ec_der(der.as_bytes()),
            algorithm: Algorithm::ES256,
            key_id,
            public: json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }),
        }
    }

    /// The public key as a JWKS lists it. That of a secret is the secret itself.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        jwk["alg"] = json!(self.algorithm);
        jwk["kid"] = self.key_id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public key with one member changed, or without it if `value` is null.
    pub(crate) fn jwk_with(&self, name: &str, value: Value) -> Value {
        let mut jwk = self.jwk();
        jwk[name] = value;
        if let Some(members) = jwk.as_object_mut() {
            members.retain(|_, member| !member.is_null());
        }
        jwk
    }

    /// A token, as an honest issuer makes it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "typ": "JWT", "kid": self.key_id });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with whatever header and claims, signed with this key.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = unsigned(header, claims);
        // Not what the process signs with: what verifies there must not be what signed.
        let signer = (rust_crypto::DEFAULT_PROVIDER.signer_factory)(&self.algorithm, &self.key);
        let signature = signer.expect("a signer").try_sign(message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.expect("a signature"));
        format!("{message}.{signature}")
    }
}

/// Header and claims of a token, up to where the last dot would be.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims))
}

/// What the issuer answers to a request for its keys.
#[derive(Clone)]
pub(crate) enum Answer {
    /// This text, with this status.
    Text(StatusCode, String),
    /// A redirect to where good keys are.
    Elsewhere,
    /// No answer, but no hang-up either.
    Silence,
    /// The start of an answer.
    Half,
    /// An answer without end.
    Endless,
}

impl Answer {
    /// A JWKS of these keys.
    pub(crate) fn keys(keys: &[Value]) -> Self {
        Self::Text(StatusCode::OK, json!({ "keys": keys }).to_string())
    }

    async fn respond(self) -> Response {
        match self {
            Self::Text(status, text) => (status, text).into_response(),
            Self::Elsewhere => Redirect::temporary("/elsewhere").into_response(),
            Self::Silence => std::future::pending().await,
            Self::Half => {
                let start = futures_util::stream::iter([Ok::<_, std::io::Error>("{\"keys\":[")]);
                Body::from_stream(start.chain(futures_util::stream::pending())).into_response()
            }
            Self::Endless => {
                let blanks = futures_util::stream::repeat(Bytes::from_static(&[b' '; 4096]));
                Body::from_stream(blanks.map(Ok::<_, std::io::Error>)).into_response()
            }
        }
    }
}

struct Desk {
    answer: RwLock<Answer>,
    elsewhere: Answer,
    fetches: AtomicUsize,
}

/// A running issuer; it goes away when dropped.
pub(crate) struct Issuer {
    /// Where its keys are.
    pub(crate) url: String,
    desk: Arc<Desk>,
    _serving: JoinSet<()>,
}

impl Issuer {
    /// Starts to answer. What it answers first is also what it answers elsewhere for ever.
    pub(crate) async fn start(answer: Answer) -> Self {
        let desk = Arc::new(Desk {
            elsewhere: answer.clone(),
            answer: RwLock::new(answer),
            fetches: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new()
            .route("/keys", get(keys))
            .route("/elsewhere", get(elsewhere))
            .with_state(Arc::clone(&desk));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            axum::serve(listener, routes).await.expect("to serve");
        });
        Self {
            url: format!("http://{address}/keys"),
            desk,
            _serving: serving,
        }
    }

    /// Starts to answer with the keys of these signers.
    pub(crate) async fn of(signers: &[&Signer]) -> Self {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        Self::start(Answer::keys(&keys)).await
    }

    /// Answers this from now on.
    pub(crate) fn answers(&self, answer: Answer) {
        *self
            .desk
            .answer
            .write()
            .unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.desk.fetches.load(Ordering::SeqCst)
    }

    /// What believes this issuer.
    pub(crate) fn tokens(&self) -> Tokens {
        Tokens::with_jwks(&self.url, ISSUER.to_owned(), AUDIENCE.to_owned()).expect("a good URL")
    }
}

async fn keys(State(desk): State<Arc<Desk>>) -> Response {
    desk.fetches.fetch_add(1, Ordering::SeqCst);
    let answer = desk
        .answer
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    answer.respond().await
}

async fn elsewhere(State(desk): State<Arc<Desk>>) -> Response {
    desk.elsewhere.clone().respond().await
}
