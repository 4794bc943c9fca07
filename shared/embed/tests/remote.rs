//! Remote models: what is sent, what is understood, and what is refused.
#![expect(
    clippy::expect_used,
    reason = "helpers of tests, outside of test functions"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use serde_json::{Value, json};
use sparkle_embed::remote::bedrock::{AwsKeys, Bedrock, Place};
use sparkle_embed::remote::openai::OpenAi;
use sparkle_embed::remote::{ANSWER_BYTES_MAX, Secret, Settings};
use sparkle_embed::{EmbedError, Embedder, Embedding, SettingsError, VectorError};

/// What a server was asked, and what it answers.
#[derive(Debug, Default)]
struct Exchange {
    path: String,
    headers: HeaderMap,
    body: Value,
}

/// Whether an error is the right one.
type Check = fn(&EmbedError) -> bool;

type Seen = Arc<Mutex<Exchange>>;

/// A server that gives everybody the same answer.
async fn server(
    answer: impl Fn() -> Response<Body> + Clone + Send + Sync + 'static,
) -> (String, Seen) {
    let seen = Seen::default();
    let handler = move |State(seen): State<Seen>, uri: Uri, headers: HeaderMap, body: Bytes| {
        let answer = answer.clone();
        async move {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            *seen.lock().expect("no panic") = Exchange {
                path: uri.to_string(),
                headers,
                body,
            };
            answer()
        }
    };
    let router = Router::new()
        .fallback(handler)
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = format!("http://{}/v1", listener.local_addr().expect("an address"));
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(body.into())
        .expect("an answer")
}

fn vectors(numbers: &[Value]) -> String {
    json!({ "data": [{ "embedding": numbers }], "usage": { "prompt_tokens": 7 } }).to_string()
}

fn settings(model: &str) -> Settings {
    Settings {
        model: model.to_owned(),
        dimension: 3,
        timeout: Duration::from_secs(20),
        roots: None,
    }
}

fn openai(base_url: &str) -> Embedder {
    let key = Secret::new("sk-1");
    Embedder::OpenAi(Box::new(
        OpenAi::new(base_url, key.as_ref(), settings("small")).expect("settings"),
    ))
}

fn bedrock(base_url: String, model: &str) -> Embedder {
    let keys = AwsKeys {
        access_key_id: "AKID".to_owned(),
        secret_access_key: Secret::new("secret").expect("a secret"),
        session_token: None,
    };
    let clock = || SystemTime::UNIX_EPOCH;
    let place = Place {
        region: "eu-west-1".to_owned(),
        base_url: Some(base_url),
        keys,
        clock,
    };
    Embedder::Bedrock(Box::new(
        Bedrock::new(place, settings(model)).expect("settings"),
    ))
}

/// Of a vector from elsewhere: its bytes and what it costs.
fn remote(embedding: Embedding) -> (Vec<u8>, Option<u64>) {
    let Embedding::Remote(remote) = embedding else {
        return (Vec::new(), None);
    };
    (remote.vector.bytes(), remote.input_tokens)
}

#[tokio::test]
async fn an_openai_compatible_server_gives_a_vector_and_what_it_costs() {
    let body = vectors(&[json!(3.0), json!(0), json!(-1.5e0)]);
    let (base_url, seen) = server(move || answer(200, body.clone())).await;
    let embedder = openai(&base_url);
    let embedding = embedder.embed("什么是光？").await.unwrap();
    assert!(embedding.reading().is_none());
    assert_eq!(embedding.vector().version(), embedder.version());
    assert_eq!(remote(embedding), (vec![127, 0, 192], Some(7)));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.path, "/v1/embeddings");
    assert_eq!(seen.headers["authorization"], "Bearer sk-1");
    assert_eq!(
        seen.body,
        json!({ "model": "small", "input": "什么是光？", "encoding_format": "float" })
    );
}

#[tokio::test]
async fn titan_and_cohere_are_asked_in_their_own_words() {
    let titan = json!({ "embedding": [1, 0, 0], "inputTextTokenCount": 5 }).to_string();
    let (base_url, seen) = server(move || answer(200, titan.clone())).await;
    let embedding = bedrock(base_url, "amazon.titan-embed-text-v2:0")
        .embed("a")
        .await
        .unwrap();
    assert_eq!(remote(embedding), (vec![127, 0, 0], Some(5)));
    assert_eq!(
        seen.lock().unwrap().body,
        json!({ "inputText": "a", "dimensions": 3, "normalize": true })
    );
    assert_eq!(
        seen.lock().unwrap().path,
        "/v1/model/amazon.titan-embed-text-v2%3A0/invoke"
    );

    let (base_url, seen) = server(|| {
        let mut answer = answer(
            200,
            json!({ "embeddings": [[0, 1, 0]], "texts": ["a"] }).to_string(),
        );
        answer
            .headers_mut()
            .insert("x-amzn-bedrock-input-token-count", 9.into());
        answer
    })
    .await;
    let embedding = bedrock(base_url, "cohere.embed-multilingual-v3")
        .embed("a")
        .await
        .unwrap();
    assert_eq!(remote(embedding), (vec![0, 127, 0], Some(9)));
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.body,
        json!({ "texts": ["a"], "input_type": "clustering", "truncate": "NONE" })
    );
    assert!(
        seen.headers["authorization"]
            .to_str()
            .unwrap()
            .contains("/eu-west-1/bedrock/")
    );
}

#[tokio::test]
async fn vectors_of_another_model_endpoint_or_dimension_are_of_another_version() {
    let version =
        |base: &str, settings: Settings| OpenAi::new(base, None, settings).unwrap().version();
    let one = version("http://a/v1", settings("small"));
    assert_eq!(one, version("http://a/v1/", settings("small")));
    assert_ne!(one, version("http://b/v1", settings("small")));
    assert_ne!(one, version("http://a/v1", settings("large")));
    assert_ne!(
        one,
        version(
            "http://a/v1",
            Settings {
                dimension: 4,
                ..settings("small")
            }
        )
    );
}

#[tokio::test]
async fn what_is_no_vector_is_refused() {
    let wrong: [(String, Check); 9] = [
        (vectors(&[json!(1), json!(2)]), |error| {
            matches!(
                error,
                EmbedError::Vector(VectorError::Dimension {
                    expected: 3,
                    found: 2
                })
            )
        }),
        (vectors(&[json!(0), json!(0), json!(0)]), no_direction),
        // More than an f32 holds.
        (vectors(&[json!(1e300), json!(0), json!(0)]), |error| {
            no_direction(error) || garbage(error)
        }),
        (vectors(&[json!("NaN"), json!(0), json!(0)]), garbage),
        (vectors(&[json!(null), json!(0), json!(0)]), garbage),
        (r#"{"data":[{"embedding":[NaN,0,1]}]}"#.to_owned(), garbage),
        (r#"{"data":[]}"#.to_owned(), garbage),
        ("<html>".to_owned(), garbage),
        (" ".repeat(ANSWER_BYTES_MAX + 1), garbage),
    ];
    for (body, is_right) in wrong {
        let shown: String = body.chars().take(80).collect();
        let (base_url, _seen) = server(move || answer(200, body.clone())).await;
        let error = openai(&base_url).embed("a").await.expect_err(&shown);
        assert!(is_right(&error), "{shown}: {error:?}");
    }
}

fn no_direction(error: &EmbedError) -> bool {
    matches!(error, EmbedError::Vector(VectorError::NoDirection))
}

fn garbage(error: &EmbedError) -> bool {
    matches!(error, EmbedError::Garbage { .. })
}

#[tokio::test]
async fn a_refusal_says_what_to_do_and_repeats_nothing() {
    let secret = "the text, or the key sk-1";
    let cases: [(u16, Check); 7] = [
        (400, |error| {
            matches!(error, EmbedError::Invalid { status: 400 })
        }),
        (401, |error| {
            matches!(error, EmbedError::Refused { status: 401 })
        }),
        (404, |error| {
            matches!(error, EmbedError::Refused { status: 404 })
        }),
        (307, |error| {
            matches!(error, EmbedError::Refused { status: 307 })
        }),
        (
            429,
            |error| matches!(error, EmbedError::RateLimited { retry_after: Some(wait) } if *wait == Duration::from_hours(1)),
        ),
        (500, |error| {
            matches!(
                error,
                EmbedError::Unavailable {
                    status: Some(500),
                    source: None
                }
            )
        }),
        (529, |error| {
            matches!(
                error,
                EmbedError::Unavailable {
                    status: Some(529),
                    source: None
                }
            )
        }),
    ];
    for (status, is_right) in cases {
        let (base_url, _seen) = server(move || {
            let mut answer = answer(status, secret);
            answer.headers_mut().insert("retry-after", 99_999.into());
            answer
        })
        .await;
        let error = openai(&base_url).embed("a").await.expect_err("a refusal");
        assert!(is_right(&error), "{status}: {error:?}");
        assert!(
            !format!("{error} {error:?}").contains("the text"),
            "{error:?}"
        );
    }
    let error = openai("http://127.0.0.1:1/")
        .embed("a")
        .await
        .expect_err("nobody there");
    assert!(
        matches!(
            error,
            EmbedError::Unavailable {
                status: None,
                source: Some(_)
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    // A head, and then nothing: the body never ends.
    let (base_url, _seen) = server(|| {
        let body =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        Response::new(body)
    })
    .await;
    let settings = Settings {
        timeout: Duration::from_millis(50),
        ..settings("small")
    };
    let client = OpenAi::new(&base_url, None, settings).unwrap();
    assert!(matches!(client.embed("a").await, Err(EmbedError::Timeout)));
}

#[test]
fn addresses_and_keys_that_cannot_be_used_are_refused_without_showing_them() {
    for bad in [
        "",
        "api.openai.com/v1",
        "ftp://x/",
        "https://me:hunter2@x/",
        "http://x/#a",
    ] {
        let error = OpenAi::new(bad, None, settings("small")).expect_err(bad);
        assert!(matches!(error, SettingsError::BaseUrl), "{bad}: {error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let torn = Secret::new("sk-\nsecret");
    let error = OpenAi::new("http://x/", torn.as_ref(), settings("small")).expect_err("torn");
    assert!(matches!(error, SettingsError::Key));
    let client = OpenAi::new(
        "http://x/",
        Secret::new("sk-secret").as_ref(),
        settings("small"),
    )
    .unwrap();
    assert!(!format!("{client:?} {:?}", Secret::new("sk-secret")).contains("sk-secret"));
    assert!(Secret::new("  ").is_none());
}
