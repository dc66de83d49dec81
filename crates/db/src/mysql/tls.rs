//! A certificate that is checked by its authority but not by its name, which is PyMySQL's default.
//!
//! The driver means to offer that and does not: it refuses the certificate all the same. But it can be told which name
//! to look for, and the refusal says which names there are. So the first connection learns a name that the certificate
//! holds, and later ones ask for that. A certificate without any name is refused.

use mysql_async::{Error, IoError, Opts, OptsBuilder};
use rustls::CertificateError;

/// The same options with a name that the refused certificate holds, if its name was all that was wrong.
pub(super) fn with_presented_name(driver: &Opts, refused: &Error) -> Option<Opts> {
    let tls = driver.ssl_opts()?;
    let Error::Io(IoError::Io(error)) = refused else { return None };
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = cause else {
        return None;
    };
    if !tls.skip_domain_validation() || tls.tls_hostname_override().is_some() {
        return None;
    }
    let name = presented.iter().find_map(|name| plain(name))?;
    let tls = tls.clone().with_danger_tls_hostname_override(Some(name));
    Some(OptsBuilder::from_opts(driver.clone()).ssl_opts(Some(tls)).into())
}

/// `DnsName("*.example.org")` and `IpAddress(10.0.0.1)` as names that such a certificate is valid for.
fn plain(presented: &str) -> Option<String> {
    let (_, rest) = presented.split_once('(')?;
    let name = rest.trim_end_matches(')').trim_matches('"');
    (!name.is_empty()).then(|| name.replacen('*', "any", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_refusal() {
        assert_eq!(plain("DnsName(\"db.example.org\")").as_deref(), Some("db.example.org"));
        assert_eq!(plain("DnsName(\"*.example.org\")").as_deref(), Some("any.example.org"));
        assert_eq!(plain("IpAddress(10.0.0.1)").as_deref(), Some("10.0.0.1"));
        assert_eq!(plain("nothing"), None);
    }
}
