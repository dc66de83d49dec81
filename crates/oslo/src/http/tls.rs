//! What a TLS connection trusts and shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::HttpError;

/// Where systems keep the certificates they trust: Debian, Red Hat, Alpine.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How peers of `https` are recognised, and how we show ourselves to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates to trust, in PEM; without it those that the system trusts.
    pub cafile: Option<PathBuf>,
    /// Our certificate, in PEM; a key may be in the same file.
    pub certfile: Option<PathBuf>,
    /// The key of our certificate, in PEM.
    pub keyfile: Option<PathBuf>,
    /// Take any certificate of any peer.
    pub insecure: bool,
}

/// A certificate with those above it, and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The files of a [`Tls`], read.
pub(crate) struct Material {
    roots: Option<RootCertStore>,
    identity: Option<Identity>,
    insecure: bool,
}

impl Tls {
    pub(crate) fn read(&self) -> Result<Material, HttpError> {
        let roots = match &self.cafile {
            Some(path) if !self.insecure => Some(read_roots(path)?),
            _ => None,
        };
        let identity = self.certfile.as_ref().map(|path| {
            let key = self.keyfile.as_ref().unwrap_or(path);
            Ok::<_, HttpError>((read_certificates(path)?, read_key(key)?))
        });
        Ok(Material { roots, identity: identity.transpose()?, insecure: self.insecure })
    }
}

impl Material {
    /// Whom to trust, and how to show ourselves.
    pub(crate) fn into_parts(self) -> Result<(RootCertStore, Option<Identity>), HttpError> {
        let roots = self.roots.map_or_else(system_roots, Ok)?;
        Ok((roots, self.identity))
    }

    /// A connector that also speaks TLS. `peer` is for errors only.
    pub(super) fn connector(
        &self,
        http: HttpConnector,
        peer: &str,
    ) -> Result<HttpsConnector<HttpConnector>, HttpError> {
        let failed = |error: rustls::Error| HttpError::Tls { peer: peer.to_owned(), reason: error.to_string() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        } else {
            builder.with_root_certificates(match &self.roots {
                Some(roots) => roots.clone(),
                None => system_roots()?,
            })
        };
        let config = match &self.identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(failed)?,
            None => builder.with_no_client_auth(),
        };
        Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(http))
    }
}

/// Whether an error was caused by TLS rather than by the network below it.
pub(super) fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || io.is_some_and(|inner| caused(inner)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn system_roots() -> Result<RootCertStore, HttpError> {
    match SYSTEM_CERTIFICATES.iter().map(PathBuf::from).find(|path| path.is_file()) {
        Some(path) => read_roots(&path),
        None => Err(refused(
            Path::new(SYSTEM_CERTIFICATES[0]),
            "the system has no certificates to trust: install ca-certificates, or name a file (cafile, OS_CACERT)",
        )),
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, HttpError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_certificates(path)?);
    if roots.is_empty() { Err(refused(path, "it has no certificates that can be trusted")) } else { Ok(roots) }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(path, unread(&error)))?;
    let certificates: Vec<_> = certificates.filter_map(Result::ok).collect();
    if certificates.is_empty() { Err(refused(path, "it has no certificates in PEM")) } else { Ok(certificates) }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, HttpError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => refused(path, "it has no private key in PEM"),
        other => refused(path, unread(&other)),
    })
}

fn unread(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn refused(path: &Path, reason: impl Into<String>) -> HttpError {
    HttpError::Certificates { path: path.display().to_string(), reason: reason.into() }
}

/// Takes any certificate, as long as the peer has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
