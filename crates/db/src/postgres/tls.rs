//! Encrypted connections to PostgreSQL: `?sslmode=verify-full&sslrootcert=/path/ca.pem`.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{DbError, url::Url};

/// The URL asks for TLS.
pub(super) fn is_wanted(url: &Url) -> bool {
    matches!(url.option("sslmode"), Some("require" | "verify-ca" | "verify-full"))
}

/// The connector, if TLS is wanted. The server's certificate is always checked.
pub(super) fn connector(url: &Url) -> Result<Option<MakeRustlsConnect>, DbError> {
    if !is_wanted(url) {
        return Ok(None);
    }
    let path = url.option("sslrootcert").ok_or_else(|| {
        DbError::Url(
            "sslmode wants the authority that signed the server's certificate: add sslrootcert=/path".to_owned(),
        )
    })?;
    let unreadable = |error| DbError::Url(format!("sslrootcert '{path}' holds no usable certificate: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))? {
        let certificate = certificate.map_err(|e| unreadable(e.to_string()))?;
        roots.add(certificate).map_err(|e| unreadable(e.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unreadable(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(config)))
}
