//! Whom TLS trusts: root certificates that are compiled in. To read the machine's own, well over a
//! hundred, would be most of a cold start (docs/adr/0005).
//!
//! AWS's endpoints are trusted by Amazon's roots alone, all others by Mozilla's. Where `SSL_CERT_FILE` is
//! set, its certificates count instead for both: for a proxy that looks into TLS, and for endpoints that
//! no public authority vouches for.

use std::{fs, sync::Arc};

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::config::{self, ConfigError};

const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// For AWS's own endpoints.
pub(crate) fn aws() -> Result<TlsContext, ConfigError> {
    let roots = match given()? {
        Some((pem, _parsed)) => TrustStore::empty().with_pem_certificate(pem),
        None => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS),
    };
    let context = TlsContext::builder().with_trust_store(roots).build();
    context.map_err(|error| ConfigError::Tls(Box::new(error)))
}

/// For any other endpoint.
pub(crate) fn public() -> Result<ClientConfig, ConfigError> {
    let roots = given_roots()?.unwrap_or_else(|| RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(Box::new(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(tls)
}

/// The certificates in `SSL_CERT_FILE`; none if it is unset.
///
/// # Errors
/// [`ConfigError::Certificates`] if it names no file of certificates in PEM.
pub fn given_roots() -> Result<Option<RootCertStore>, ConfigError> {
    Ok(given()?.map(|(_pem, roots)| roots))
}

fn given() -> Result<Option<(Vec<u8>, RootCertStore)>, ConfigError> {
    let Some(path) = config::optional("SSL_CERT_FILE") else {
        return Ok(None);
    };
    let pem = fs::read(path).map_err(|error| ConfigError::Certificates(Some(Box::new(error))))?;
    let roots = parse(&pem)?;
    Ok(Some((pem, roots)))
}

fn parse(pem: &[u8]) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = match certificate {
            Ok(certificate) => roots.add(certificate).map_err(Into::into),
            Err(error) => Err(error.into()),
        };
        added.map_err(|error| ConfigError::Certificates(Some(error)))?;
    }
    if roots.is_empty() {
        return Err(ConfigError::Certificates(None));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 fingerprints as Amazon Trust Services publishes them.
    #[test]
    fn the_roots_are_amazons() {
        let fingerprints: Vec<String> = CertificateDer::pem_slice_iter(AMAZON_ROOTS)
            .map(|certificate| format!("{:x}", Sha256::digest(certificate.unwrap())))
            .collect();
        assert_eq!(
            fingerprints,
            [
                "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
                "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
                "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
                "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
                "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
            ]
        );
    }

    /// The SDK would panic at them.
    #[test]
    fn what_holds_no_certificate_is_refused() {
        assert_eq!(parse(AMAZON_ROOTS).unwrap().len(), 5);
        let armour =
            |body| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        for pem in [
            "",
            "none",
            &armour("AAAA"),
            &armour("%%%%"),
            "-----BEGIN CERTIFICATE-----\nAAAA",
        ] {
            assert!(parse(pem.as_bytes()).is_err(), "{pem}");
        }
    }
}
