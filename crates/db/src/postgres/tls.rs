//! Encrypted connections to PostgreSQL, by libpq's `sslmode`, `sslrootcert`, `sslcert` and `sslkey`.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{DbError, url::Url};

/// The mode, and the connector unless nothing is to be encrypted.
pub(super) fn connector(url: &Url) -> Result<(Option<MakeRustlsConnect>, SslMode), DbError> {
    let root = url.option("sslrootcert");
    let (mode, check) = match (url.option("sslmode").unwrap_or("prefer"), root) {
        ("disable", _) => return Ok((None, SslMode::Disable)),
        ("allow" | "prefer", _) => (SslMode::Prefer, Check::Nothing),
        ("require", None) => (SslMode::Require, Check::Nothing),
        ("require" | "verify-ca", Some(path)) => (SslMode::Require, Check::Authority(path)),
        ("verify-full", Some(path)) => (SslMode::Require, Check::Name(path)),
        ("verify-ca" | "verify-full", None) => {
            return Err(wrong(
                "sslmode wants the authority that signed the server's certificate: add sslrootcert=/path",
            ));
        }
        (other, _) => {
            return Err(wrong(format!(
                "the database URL has sslmode={other}; it is one of disable, allow, prefer, require, verify-ca, verify-full"
            )));
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        Arc::new(Verifier { inner: check.verifier(&provider)?, check: check.kind(), provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (url.option("sslcert"), url.option("sslkey")) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("sslkey", key, error))?;
            let chain = certificates("sslcert", cert)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable("sslcert", cert, error))?
        }
        _ => return Err(wrong("the database URL wants both sslcert and sslkey, or neither")),
    };
    Ok((Some(MakeRustlsConnect::new(config)), mode))
}

/// What of the server's certificate is checked, and by which authorities.
enum Check<'a> {
    Nothing,
    Authority(&'a str),
    Name(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Authority,
    Name,
}

impl Check<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Nothing => Kind::Nothing,
            Self::Authority(_) => Kind::Authority,
            Self::Name(_) => Kind::Name,
        }
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<WebPkiServerVerifier>>, DbError> {
        let path = match self {
            Self::Nothing => return Ok(None),
            Self::Authority(path) | Self::Name(path) => *path,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("sslrootcert", path)? {
            roots.add(certificate).map_err(|error| unusable("sslrootcert", path, error))?;
        }
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        builder.build().map(Some).map_err(|error| unusable("sslrootcert", path, error))
    }
}

/// Checks as much of a certificate as `sslmode` asks for; signatures always.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    check: Kind,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: all else is right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Kind::Authority => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, DbError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| unusable(option, path, error))
}

fn unusable(option: &str, path: &str, error: impl std::fmt::Display) -> DbError {
    wrong(format!("the database URL has {option}={path}, which cannot be used: {error}"))
}

fn wrong(text: impl Into<String>) -> DbError {
    DbError::Url(text.into())
}
