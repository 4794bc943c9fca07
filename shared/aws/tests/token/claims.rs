//! What a token must claim, and when. HS256 signs here, which every check of a claim is shared with.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use sparkle_aws::{
    config::ConfigError,
    token::{TokenError, Tokens},
};
use sparkle_core::policy::Tier;

use crate::issuer::{AUDIENCE, ISSUER, NOW_S, Signer, at, claims, claims_with};

const SECRET: &[u8] = b"a secret that only this test uses";

fn tokens() -> Tokens {
    Tokens::with_secret(SECRET, ISSUER.to_owned(), AUDIENCE.to_owned()).expect("a secret")
}

fn signer() -> Signer {
    Signer::hs256(SECRET, "")
}

async fn is_refused(token: &str) -> bool {
    let verdict = tokens().verify(token, at(0)).await;
    matches!(verdict, Err(TokenError::Invalid(_)))
}

#[tokio::test]
async fn a_good_token_says_who_speaks_until_when() {
    let token = signer().token(&claims_with("tier", json!("pro")));
    let identity = tokens().verify(&token, at(0)).await.unwrap();
    assert_eq!(identity.user_id.as_str(), "ann");
    assert_eq!(identity.tier, Tier::Pro);
    assert_eq!(identity.expires_at, at(7200));
}

#[tokio::test]
async fn a_key_id_in_an_hs256_token_is_no_matter() {
    let token = Signer::hs256(SECRET, "some-key").token(&claims());
    assert!(tokens().verify(&token, at(0)).await.is_ok());
}

#[tokio::test]
async fn only_the_word_pro_is_more_than_free() {
    for tier in [
        json!("free"),
        json!("Pro"),
        json!("admin"),
        json!(""),
        json!(null),
    ] {
        let token = signer().token(&claims_with("tier", tier.clone()));
        let identity = tokens().verify(&token, at(0)).await.unwrap();
        assert_eq!(identity.tier, Tier::Free, "{tier}");
    }
    let identity = tokens().verify(&signer().token(&claims()), at(0)).await;
    assert_eq!(identity.unwrap().tier, Tier::Free);
}

#[tokio::test]
async fn a_token_without_a_required_claim_is_refused() {
    for name in ["iss", "aud", "sub", "exp"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name).unwrap();
        assert!(is_refused(&signer().token(&claims)).await, "{name}");
        let claims = claims_with(name, Value::Null);
        assert!(is_refused(&signer().token(&claims)).await, "{name}: null");
    }
}

#[tokio::test]
async fn a_claim_of_a_wrong_type_or_value_is_refused() {
    let cases = [
        ("iss", json!("https://issuer.test/")),
        ("iss", json!("https://ISSUER.test/pool")),
        ("iss", json!(7)),
        ("iss", json!([ISSUER])), // RFC 7519 allows a list of audiences, not of issuers
        ("iss", json!({ "0": ISSUER })),
        ("aud", json!("sparkle2")),
        ("aud", json!("Sparkle")),
        ("aud", json!("")),
        ("aud", json!(true)),
        ("aud", json!([])),
        ("aud", json!(["other", "another"])),
        ("aud", json!([AUDIENCE, 7])),
        ("aud", json!([[AUDIENCE]])),
        ("aud", json!({ "sparkle": "sparkle" })),
        ("sub", json!(42)),
        ("sub", json!("")),
        ("sub", json!("ann\u{0}bob")),
        ("sub", json!("a".repeat(129))),
        ("sub", json!(["ann"])),
        ("exp", json!((NOW_S + 7200).to_string())),
        ("exp", json!(true)),
        ("exp", json!([NOW_S + 7200])),
        ("exp", json!(-1)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(1e300)),
        ("nbf", json!(NOW_S.to_string())),
        ("nbf", json!({})),
        ("nbf", json!(u64::MAX)),
        ("iat", json!("yesterday")),
        ("iat", json!([])),
        ("tier", json!({ "name": "pro" })),
        ("tier", json!(["pro"])),
        ("tier", json!(1)),
    ];
    for (name, value) in cases {
        let token = signer().token(&claims_with(name, value.clone()));
        assert!(is_refused(&token).await, "{name}: {value}");
    }
}

#[tokio::test]
async fn one_of_several_audiences_may_be_ours() {
    for audience in [json!([AUDIENCE]), json!(["other", AUDIENCE])] {
        let token = signer().token(&claims_with("aud", audience.clone()));
        assert!(tokens().verify(&token, at(0)).await.is_ok(), "{audience}");
    }
}

#[tokio::test]
async fn a_claim_made_twice_is_refused() {
    let header = json!({ "alg": "HS256" }).to_string();
    let once = claims().to_string();
    assert!(!is_refused(&signer().sign(&header, &once)).await);
    let cases = [
        r#""sub":"bob""#.to_owned(),
        format!(r#""exp":{}"#, NOW_S + 9),
        format!(r#""iss":"{ISSUER}""#),
        format!(r#""aud":"{AUDIENCE}""#),
        r#""tier":"free","tier":"pro""#.to_owned(),
    ];
    for again in cases {
        let twice = once.replacen('{', &format!("{{{again},"), 1);
        assert!(is_refused(&signer().sign(&header, &twice)).await, "{again}");
    }
}

#[tokio::test]
async fn a_token_ends_with_the_second_that_it_names() {
    let token = signer().token(&claims_with("exp", json!(NOW_S + 10)));
    assert!(tokens().verify(&token, at(9)).await.is_ok());
    for late in [10, 11, 1_000_000] {
        let verdict = tokens().verify(&token, at(late)).await;
        assert!(matches!(verdict, Err(TokenError::Invalid(_))), "{late}");
    }
}

#[tokio::test]
async fn a_token_that_never_ends_does_not_overflow() {
    let token = signer().token(&claims_with("exp", json!(i64::MAX)));
    let identity = tokens().verify(&token, at(0)).await.unwrap();
    assert_eq!(identity.expires_at.unix_ms(), i64::MAX);
}

#[tokio::test]
async fn a_token_begins_when_it_says_but_for_half_a_minute_of_skew() {
    let token = signer().token(&claims_with("nbf", json!(NOW_S + 100)));
    let early = tokens().verify(&token, at(69)).await;
    assert!(matches!(early, Err(TokenError::Invalid(_))));
    assert!(tokens().verify(&token, at(70)).await.is_ok());
    assert!(tokens().verify(&token, at(100)).await.is_ok());
}

#[tokio::test]
async fn a_token_of_eight_kilobytes_is_as_good_as_a_short_one() {
    let token = signer().token(&claims_with("groups", json!("g".repeat(6000))));
    assert!(token.len() > 8000);
    assert!(tokens().verify(&token, at(0)).await.is_ok());
    assert!(is_refused(&"a".repeat(8192)).await);
    assert!(is_refused(&".".repeat(8192)).await);
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    let header = json!({ "alg": "HS256" }).to_string();
    assert!(is_refused(&signer().sign(&header, &deep)).await);
    assert!(is_refused(&signer().sign(&deep, &claims().to_string())).await);
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let token = signer().token(&claims());
    let (unsigned, signature) = token.rsplit_once('.').unwrap();
    let cases = [
        String::new(),
        "..".to_owned(),
        "null".to_owned(),
        "ä.ö.ü".to_owned(),
        unsigned.to_owned(),
        format!("{unsigned}."),
        format!("{unsigned}.{}", &signature[1..]),
        format!("{unsigned}.{signature}="),
        format!("{unsigned}.{signature}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
    ];
    for text in cases {
        assert!(is_refused(&text).await, "{text:?}");
    }
}

#[tokio::test]
async fn a_header_that_demands_what_we_do_not_know_is_refused() {
    // RFC 7515, 4.1.11: an extension listed in `crit` must be understood
    let header = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    assert!(is_refused(&signer().sign(&header.to_string(), &claims().to_string())).await);
}

#[tokio::test]
async fn an_hs256_secret_verifies_nothing_else() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let signer = Signer {
            algorithm,
            ..signer()
        };
        assert!(is_refused(&signer.token(&claims())).await, "{algorithm:?}");
    }
    let other = Signer::hs256(b"another secret, as long as that one", "");
    assert!(is_refused(&other.token(&claims())).await);
}

#[test]
fn an_empty_secret_is_refused() {
    let opened = Tokens::with_secret(b"", ISSUER.to_owned(), AUDIENCE.to_owned());
    assert!(matches!(opened, Err(ConfigError::EmptySecret(_))));
}

#[test]
fn a_secret_is_not_shown() {
    let shown = format!("{:?}", tokens());
    assert!(
        shown.contains(ISSUER) && !shown.contains("secret"),
        "{shown}"
    );
}
