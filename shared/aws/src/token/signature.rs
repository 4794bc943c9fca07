//! How the signatures of tokens are checked: by `ring`, which TLS brings anyway. The cryptography that
//! `jsonwebtoken` would bring is a second one, and a tenth of every function that checks tokens.
//!
//! HS256, RS256 and ES256, and nothing else. RSA keys have 2,048 to 8,192 bits (RFC 7518, 3.3).

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};

/// No function signs a token or turns a key into a JWK, which is what `key_utils` is for.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |&algorithm, key| {
        Ok(Box::new(Signature::verifier(algorithm, key)?) as Box<dyn JwtVerifier>)
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has this process check signatures here.
pub(super) fn install() {
    // It fails where that is done already.
    let (Ok(()) | Err(_)) = PROVIDER.install_default();
}

enum Signature {
    Hs256(hmac::Key),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    /// The point, uncompressed.
    Es256(UnparsedPublicKey<Vec<u8>>),
}

impl Signature {
    /// Verifies with `key`, if it is one of the algorithm's.
    fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        match (algorithm, key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                Ok(Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)))
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                Ok(Self::Rs256(RsaPublicKeyComponents {
                    n: without_leading_zeros(n),
                    e: without_leading_zeros(e),
                }))
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => Ok(Self::Es256(
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.clone()),
            )),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Verifier<Vec<u8>> for Signature {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verdict = match self {
            Self::Hs256(key) => hmac::verify(key, message, signature),
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::Es256(key) => key.verify(message, signature),
        };
        verdict.map_err(|_unspecified| signature::Error::new())
    }
}

impl JwtVerifier for Signature {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::Rs256(_) => Algorithm::RS256,
            Self::Es256(_) => Algorithm::ES256,
        }
    }
}

/// Some issuers write one in front, which RFC 7518 forbids (6.3.1.1) and `ring` refuses.
fn without_leading_zeros(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros..).unwrap_or_default().to_vec()
}
