//! When an issuer's keys are fetched, and what holds while they cannot be.

use std::time::Duration;

use axum::http::StatusCode;
use sparkle_aws::{
    config::ConfigError,
    token::{Identity, TokenError, Tokens},
};
use tokio::time::timeout;

use crate::issuer::{AUDIENCE, Answer, ISSUER, Issuer, Signer, at, claims};

/// How long keys are believed, in seconds.
const AGE_MAX_S: i64 = 3600;
/// How long after a fetch there is none, in seconds.
const PAUSE_S: i64 = 30;
/// The longest that a fetch may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

async fn verify(tokens: &Tokens, signer: &Signer, seconds: i64) -> Result<Identity, TokenError> {
    tokens.verify(&signer.token(&claims()), at(seconds)).await
}

fn is_invalid(verdict: &Result<Identity, TokenError>) -> bool {
    matches!(verdict, Err(TokenError::Invalid(_)))
}

fn is_unavailable(verdict: &Result<Identity, TokenError>) -> bool {
    matches!(verdict, Err(TokenError::KeysUnavailable(_)))
}

#[tokio::test]
async fn keys_are_fetched_once_an_hour() {
    let ec = Signer::es256(7, "ec");
    let issuer = Issuer::of(&[&ec]).await;
    let tokens = issuer.tokens();
    assert_eq!(issuer.fetches(), 0);
    for seconds in [0, 1, PAUSE_S, AGE_MAX_S - 1] {
        assert!(verify(&tokens, &ec, seconds).await.is_ok());
        assert_eq!(issuer.fetches(), 1, "after {seconds} s");
    }
    for seconds in [AGE_MAX_S, AGE_MAX_S + 1, 2 * AGE_MAX_S - 1] {
        assert!(verify(&tokens, &ec, seconds).await.is_ok());
        assert_eq!(issuer.fetches(), 2, "after {seconds} s");
    }
}

#[tokio::test]
async fn a_copy_shares_the_keys() {
    let ec = Signer::es256(7, "ec");
    let issuer = Issuer::of(&[&ec]).await;
    let tokens = issuer.tokens();
    assert!(verify(&tokens.clone(), &ec, 0).await.is_ok());
    assert!(verify(&tokens, &ec, 0).await.is_ok());
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_most_once_a_pause() {
    let (old, new) = (Signer::es256(7, "old"), Signer::es256(8, "new"));
    let issuer = Issuer::of(&[&old]).await;
    let tokens = issuer.tokens();
    for (seconds, fetches) in [
        (0, 1),
        (1, 1),
        (PAUSE_S - 1, 1),
        (PAUSE_S, 2),
        (PAUSE_S + 1, 2),
    ] {
        assert!(is_invalid(&verify(&tokens, &new, seconds).await));
        assert_eq!(issuer.fetches(), fetches, "after {seconds} s");
    }
    let flood = ["a", "b", "c", "d"].map(|key_id| Signer::es256(8, key_id));
    for signer in &flood {
        assert!(is_invalid(&verify(&tokens, signer, 2 * PAUSE_S).await));
    }
    assert_eq!(issuer.fetches(), 3);
}

#[tokio::test]
async fn a_new_key_is_believed_after_the_pause_and_a_withdrawn_one_no_more() {
    let (old, new) = (Signer::es256(7, "old"), Signer::es256(8, "new"));
    let issuer = Issuer::of(&[&old]).await;
    let tokens = issuer.tokens();
    assert!(verify(&tokens, &old, 0).await.is_ok());
    issuer.answers(Answer::keys(&[new.jwk()]));
    assert!(is_invalid(&verify(&tokens, &new, 1).await));
    assert!(verify(&tokens, &new, PAUSE_S).await.is_ok());
    assert!(is_invalid(&verify(&tokens, &old, PAUSE_S).await));
}

#[tokio::test]
async fn a_withdrawn_key_is_believed_for_an_hour_at_most() {
    let ec = Signer::es256(7, "ec");
    let issuer = Issuer::of(&[&ec]).await;
    let tokens = issuer.tokens();
    assert!(verify(&tokens, &ec, 0).await.is_ok());
    issuer.answers(Answer::keys(&[]));
    assert!(verify(&tokens, &ec, AGE_MAX_S - 1).await.is_ok());
    assert!(is_invalid(&verify(&tokens, &ec, AGE_MAX_S).await));
}

#[tokio::test]
async fn all_who_come_during_a_fetch_wait_for_its_keys() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    let verdicts = tokio::join!(
        verify(&tokens, &ec, 0),
        verify(&tokens, &rsa, 0),
        verify(&tokens, &ec, 1),
    );
    assert!(verdicts.0.is_ok(), "{:?}", verdicts.0);
    assert!(verdicts.1.is_ok(), "{:?}", verdicts.1);
    assert!(verdicts.2.is_ok(), "{:?}", verdicts.2);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn a_fetch_that_nobody_waited_for_is_made_again() {
    let ec = Signer::es256(7, "ec");
    let issuer = Issuer::start(Answer::Silence).await;
    let tokens = issuer.tokens();
    let asked = async {
        while issuer.fetches() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, async {
        tokio::select! {
            _ = verify(&tokens, &ec, 0) => panic!("silence is no answer"),
            () = asked => {}
        }
    })
    .await
    .expect("a fetch");
    issuer.answers(Answer::keys(&[ec.jwk()]));
    assert!(verify(&tokens, &ec, 1).await.is_ok());
}

/// What an issuer in trouble answers at once.
fn troubles(good: &Answer) -> Vec<(&'static str, Answer)> {
    let text = |status, text: &str| Answer::Text(status, text.to_owned());
    let Answer::Text(_, keys) = good else {
        panic!("not keys");
    };
    vec![
        ("503", text(StatusCode::SERVICE_UNAVAILABLE, "")),
        ("404 with keys", text(StatusCode::NOT_FOUND, keys)),
        ("a redirect", Answer::Elsewhere),
        ("202 with keys", text(StatusCode::ACCEPTED, keys)),
        ("nothing", text(StatusCode::OK, "")),
        ("a page", text(StatusCode::OK, "<html>Back soon</html>")),
        (
            "an error",
            text(StatusCode::OK, r#"{"error":"overloaded"}"#),
        ),
        ("no list", text(StatusCode::OK, r#"{"keys":"none"}"#)),
        ("half of it", text(StatusCode::OK, &keys[..keys.len() / 2])),
        (
            "too much",
            text(StatusCode::OK, &format!("{keys}{}", " ".repeat(65_537))),
        ),
        ("no end", Answer::Endless),
    ]
}

#[tokio::test]
async fn an_issuer_in_trouble_locks_out_nobody_whose_key_is_known() {
    let (known, unknown) = (Signer::es256(7, "known"), Signer::es256(8, "unknown"));
    let good = Answer::keys(&[known.jwk()]);
    for (trouble, answer) in troubles(&good) {
        let issuer = Issuer::start(good.clone()).await;
        let tokens = issuer.tokens();
        assert!(verify(&tokens, &known, 0).await.is_ok(), "{trouble}");
        issuer.answers(answer);
        // The keys are stale, and are asked for again once a pause.
        for (seconds, fetches) in [(0, 2), (1, 2), (PAUSE_S - 1, 2), (PAUSE_S, 3)] {
            let verdict = verify(&tokens, &known, AGE_MAX_S + seconds).await;
            assert!(verdict.is_ok(), "{trouble}: {verdict:?}");
            assert_eq!(issuer.fetches(), fetches, "{trouble}");
            let verdict = verify(&tokens, &unknown, AGE_MAX_S + seconds).await;
            assert!(is_unavailable(&verdict), "{trouble}: {verdict:?}");
            assert_eq!(issuer.fetches(), fetches, "{trouble}");
        }
        issuer.answers(Answer::keys(&[unknown.jwk()]));
        let after = AGE_MAX_S + 2 * PAUSE_S;
        assert!(verify(&tokens, &unknown, after).await.is_ok(), "{trouble}");
        assert!(
            is_invalid(&verify(&tokens, &known, after).await),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn without_any_keys_a_token_is_neither_good_nor_bad() {
    let ec = Signer::es256(7, "ec");
    let good = Answer::keys(&[ec.jwk()]);
    for (trouble, answer) in troubles(&good) {
        let issuer = Issuer::start(good.clone()).await;
        issuer.answers(answer);
        let tokens = issuer.tokens();
        for seconds in [0, 1] {
            let verdict = verify(&tokens, &ec, seconds).await;
            assert!(is_unavailable(&verdict), "{trouble}: {verdict:?}");
        }
        let verdicts = tokio::join!(verify(&tokens, &ec, PAUSE_S), verify(&tokens, &ec, PAUSE_S));
        assert!(is_unavailable(&verdicts.0), "{trouble}");
        assert!(is_unavailable(&verdicts.1), "{trouble}");
        assert_eq!(issuer.fetches(), 2, "{trouble}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_one_in_trouble() {
    let (known, unknown) = (Signer::es256(7, "known"), Signer::es256(8, "unknown"));
    let issuer = Issuer::of(&[&known]).await;
    let tokens = issuer.tokens();
    assert!(verify(&tokens, &known, 0).await.is_ok());
    drop(issuer);
    assert!(verify(&tokens, &known, AGE_MAX_S).await.is_ok());
    assert!(is_unavailable(&verify(&tokens, &unknown, AGE_MAX_S).await));
}

#[tokio::test]
async fn an_issuer_that_does_not_finish_is_given_up_on() {
    let ec = Signer::es256(7, "ec");
    let silent = Issuer::start(Answer::Silence).await;
    let half = Issuer::start(Answer::Half).await;
    let (silent, half) = (silent.tokens(), half.tokens());
    let verdicts = async { tokio::join!(verify(&silent, &ec, 0), verify(&half, &ec, 0)) };
    let verdicts = timeout(PATIENCE, verdicts).await.expect("an end");
    assert!(is_unavailable(&verdicts.0), "{:?}", verdicts.0);
    assert!(is_unavailable(&verdicts.1), "{:?}", verdicts.1);
}

#[tokio::test]
async fn one_key_that_is_odd_spoils_no_other() {
    let ec = Signer::es256(7, "ec");
    let odd = [
        serde_json::json!(null),
        serde_json::json!("key"),
        serde_json::json!({}),
        serde_json::json!({ "kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": "AA" }),
        ec.jwk_with("kid", serde_json::json!({ "id": "ec" })),
        ec.jwk(),
    ];
    let issuer = Issuer::start(Answer::keys(&odd)).await;
    assert!(verify(&issuer.tokens(), &ec, 0).await.is_ok());
}

#[test]
fn a_url_that_cannot_be_fetched_is_found_at_the_start() {
    for url in ["", "issuer.test/keys", "/keys", "http://"] {
        let opened = Tokens::with_jwks(url, ISSUER.to_owned(), AUDIENCE.to_owned());
        assert!(matches!(opened, Err(ConfigError::Http(_))), "{url:?}");
    }
}
