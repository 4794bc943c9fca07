//! Tokens that look as if a trusted key had signed them, and keys that must not be trusted.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use sparkle_aws::token::{TokenError, Tokens};

use crate::issuer::{AUDIENCE, Answer, Issuer, NOW_S, Signer, at, claims, claims_with, unsigned};

async fn is_refused(tokens: &Tokens, token: &str) -> bool {
    let verdict = tokens.verify(token, at(0)).await;
    matches!(verdict, Err(TokenError::Invalid(_)))
}

/// Whether a token is refused whose key is listed like this, beside a key that is good.
async fn key_is_unused(listed: Value, signer: &Signer) -> bool {
    let good = Signer::es256(9, "good");
    let issuer = Issuer::start(Answer::keys(&[listed, good.jwk()])).await;
    let tokens = issuer.tokens();
    let good = tokens.verify(&good.token(&claims()), at(0)).await;
    assert!(good.is_ok(), "{good:?}");
    is_refused(&tokens, &signer.token(&claims())).await
}

#[tokio::test]
async fn rs256_and_es256_are_believed() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    for signer in [rsa, ec] {
        let identity = tokens.verify(&signer.token(&claims()), at(0)).await;
        assert_eq!(identity.unwrap().user_id.as_str(), "ann");
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn claims_are_checked_whatever_signed_them() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    let cases = [
        ("exp", json!(NOW_S)),
        ("exp", json!((NOW_S + 60).to_string())),
        ("aud", json!(["other"])),
        ("iss", json!("https://issuer.test/another-pool")),
        ("sub", json!(42)),
        ("nbf", json!(NOW_S + 3600)),
    ];
    for signer in [rsa, ec] {
        for (name, value) in &cases {
            let token = signer.token(&claims_with(name, value.clone()));
            assert!(is_refused(&tokens, &token).await, "{name}: {value}");
        }
        let both = signer.token(&claims_with("aud", json!(["other", AUDIENCE])));
        assert!(tokens.verify(&both, at(0)).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_that_nobody_signed_is_refused() {
    let rsa = Signer::rs256("rsa");
    let secret = Tokens::with_secret(b"secret", String::new(), String::new()).unwrap();
    let tokens = [Issuer::of(&[&rsa]).await.tokens(), secret];
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({ "alg": none, "kid": "rsa" }).to_string();
        let message = unsigned(&header, &claims().to_string());
        let (_, _, signature) = split(&rsa.token(&claims()));
        for tokens in &tokens {
            assert!(is_refused(tokens, &format!("{message}.")).await, "{none}");
            let token = format!("{message}.{signature}");
            assert!(is_refused(tokens, &token).await, "{none}");
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    for signer in [rsa, ec] {
        let jwk = signer.jwk();
        let members = ["n", "e", "x", "y"].map(|member| jwk[member].as_str());
        let mut secrets: Vec<Vec<u8>> = vec![jwk.to_string().into_bytes(), Vec::new()];
        let mut point = vec![4]; // an uncompressed point, as the verifier holds it
        for member in members.into_iter().flatten() {
            let bytes = URL_SAFE_NO_PAD.decode(member).unwrap();
            point.extend_from_slice(&bytes);
            secrets.extend([member.as_bytes().to_vec(), bytes]);
        }
        secrets.push(point);
        for secret in secrets {
            let forged = Signer::hs256(&secret, signer.key_id).token(&claims());
            assert!(is_refused(&tokens, &forged).await, "{secret:?}");
        }
    }
}

#[tokio::test]
async fn a_key_serves_the_one_algorithm_that_it_is_for() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    for algorithm in [
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ] {
        let signer = Signer {
            algorithm,
            ..rsa.clone()
        };
        let token = signer.token(&claims());
        assert!(is_refused(&tokens, &token).await, "{algorithm:?}");
    }
    // Signed as one, named as another.
    for name in ["ES256", "ES384", "HS256", "EdDSA", "PS256"] {
        let header = json!({ "alg": name, "kid": "rsa" }).to_string();
        let token = rsa.sign(&header, &claims().to_string());
        assert!(is_refused(&tokens, &token).await, "{name}");
    }
    for name in ["RS256", "ES384", "HS256", "EdDSA"] {
        let header = json!({ "alg": name, "kid": "ec" }).to_string();
        let token = ec.sign(&header, &claims().to_string());
        assert!(is_refused(&tokens, &token).await, "{name}");
    }
}

#[tokio::test]
async fn a_token_brings_no_key_of_its_own() {
    let (real, forger) = (Signer::es256(7, "ec"), Signer::es256(8, "ec"));
    let issuer = Issuer::of(&[&real]).await;
    let theirs = Issuer::of(&[&forger]).await;
    let tokens = issuer.tokens();
    let headers = [
        json!({ "alg": "ES256", "kid": "ec" }),
        json!({ "alg": "ES256", "kid": "ec", "jwk": forger.jwk() }),
        json!({ "alg": "ES256", "kid": "ec", "jku": theirs.url }),
        json!({ "alg": "ES256", "kid": theirs.url }),
        json!({ "alg": "ES256", "kid": "" }),
        json!({ "alg": "ES256", "jwk": forger.jwk() }),
    ];
    for header in headers {
        let token = forger.sign(&header.to_string(), &claims().to_string());
        assert!(is_refused(&tokens, &token).await, "{header}");
    }
    assert_eq!(theirs.fetches(), 0);
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let (rsa, ec) = (Signer::rs256("rsa"), Signer::es256(7, "ec"));
    let issuer = Issuer::of(&[&rsa, &ec]).await;
    let tokens = issuer.tokens();
    for signer in [rsa, ec] {
        let (header, _, signature) = split(&signer.token(&claims()));
        let bob = URL_SAFE_NO_PAD.encode(claims_with("sub", json!("bob")).to_string());
        let forged = format!("{header}.{bob}.{signature}");
        assert!(is_refused(&tokens, &forged).await);
        for signature in [vec![], vec![0; 64], vec![0; 256], vec![255; 256]] {
            let signature = URL_SAFE_NO_PAD.encode(signature);
            let forged = format!("{header}.{bob}.{signature}");
            assert!(is_refused(&tokens, &forged).await, "{signature}");
        }
    }
}

#[tokio::test]
async fn a_token_without_a_key_id_is_refused_and_costs_no_fetch() {
    let rsa = Signer::rs256("rsa");
    let issuer = Issuer::of(&[&rsa]).await;
    for header in [
        json!({ "alg": "RS256" }),
        json!({ "alg": "RS256", "kid": 7 }),
    ] {
        let token = rsa.sign(&header.to_string(), &claims().to_string());
        assert!(is_refused(&issuer.tokens(), &token).await, "{header}");
    }
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn a_secret_in_a_jwks_is_no_key() {
    let secret = Signer::hs256(b"a secret that everybody can read here", "oct");
    assert!(key_is_unused(secret.jwk(), &secret).await);
}

#[tokio::test]
async fn a_key_for_anything_but_our_signatures_is_no_key() {
    let ec = Signer::es256(7, "ec");
    let rsa = Signer::rs256("rsa");
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!("something")),
        ("key_ops", json!(["encrypt", "wrapKey"])),
        ("key_ops", json!([])),
        ("alg", json!("ES384")),
        ("alg", json!("ECDH-ES")),
        ("alg", json!("HS256")),
        ("crv", json!("P-384")),
        ("crv", json!("secp256k1")),
        ("kty", json!("OKP")),
        ("kid", Value::Null),
        ("kid", json!(7)),
        ("x", json!("AAAA")),
        ("y", Value::Null),
    ] {
        let listed = ec.jwk_with(name, value.clone());
        assert!(key_is_unused(listed, &ec).await, "{name}: {value}");
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("alg", json!("RSA-OAEP-256")),
        ("alg", json!("PS256")),
        ("n", json!("AQAB")),
        ("n", json!("")),
        ("n", json!("/+ not base64url")),
        ("e", json!("")),
        ("e", json!("AQ")), // 1, with which everybody signs
    ] {
        let listed = rsa.jwk_with(name, value.clone());
        assert!(key_is_unused(listed, &rsa).await, "{name}: {value}");
    }
}

#[tokio::test]
async fn what_a_key_need_not_say_it_need_not_say() {
    let ec = Signer::es256(7, "ec");
    for listed in [
        ec.jwk_with("use", Value::Null),
        ec.jwk_with("alg", Value::Null),
        ec.jwk_with("key_ops", json!(["verify"])),
    ] {
        assert!(!key_is_unused(listed.clone(), &ec).await, "{listed}");
    }
}

#[tokio::test]
async fn a_zero_in_front_of_a_modulus_changes_no_key() {
    let rsa = Signer::rs256("rsa");
    let modulus = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap());
    let longer = URL_SAFE_NO_PAD.encode([vec![0], modulus.unwrap()].concat());
    assert!(!key_is_unused(rsa.jwk_with("n", json!(longer)), &rsa).await);
}

#[tokio::test]
async fn of_two_keys_with_one_id_the_first_that_can_verify_counts() {
    let (first, second) = (Signer::es256(7, "same"), Signer::es256(8, "same"));
    let unusable = second.jwk_with("use", json!("enc"));
    let keys = [unusable, first.jwk(), second.jwk()];
    let issuer = Issuer::start(Answer::keys(&keys)).await;
    let tokens = issuer.tokens();
    assert!(tokens.verify(&first.token(&claims()), at(0)).await.is_ok());
    assert!(is_refused(&tokens, &second.token(&claims())).await);
}

fn split(token: &str) -> (String, String, String) {
    let mut parts = token.split('.').map(str::to_owned);
    let mut part = || parts.next().expect("three parts");
    (part(), part(), part())
}
