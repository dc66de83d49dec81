//! TLS towards the broker.
//!
//! Certificates are always checked. The host's name is checked where there is one host; members of a cluster may share a
//! certificate that names none of them, as they may upstream.

use std::{fmt, path::Path, sync::Arc};

use lapin::tcp::RustlsConnector;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::{RabbitError, settings::TlsFiles};

/// Where systems keep the certificates they trust.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What connections use.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn read(files: &TlsFiles, check_name: bool) -> Result<Self, RabbitError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(read_authorities(files.authorities.as_deref())?);
        let broken = |error: &dyn fmt::Display| RabbitError::Tls(error.to_string());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| broken(&error))?;
        let verifier = Arc::new(Verifier { inner: verifier, check_name });
        let builder = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &files.certificate {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let key = files.key.as_deref().unwrap_or(path);
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder.with_client_auth_cert(read_certificates(path)?, key).map_err(|error| broken(&error))?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn connector(&self) -> RustlsConnector {
        Arc::clone(&self.0).into()
    }
}

fn read_authorities(path: Option<&Path>) -> Result<RootCertStore, RabbitError> {
    let system = SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = path.or(system) else {
        return Err(RabbitError::Tls("the system has no certificates to trust: set ssl_ca_file".to_owned()));
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates(path)?);
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RabbitError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(certificates) if certificates.is_empty() => Err(unreadable(path, &"it holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, why: &dyn fmt::Display) -> RabbitError {
    RabbitError::Tls(format!("{}: {why}", path.display()))
}

/// Checks certificates, and names only where asked to.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    check_name: bool,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
