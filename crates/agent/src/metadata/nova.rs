//! The compute service's metadata API: asked for one instance, whose id is signed with the secret that both know.

use std::{net::Ipv6Addr, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac as _};
use hyper::{
    Method, Request, Response,
    header::{HeaderName, HeaderValue, InvalidHeaderValue},
};
use oslo::http::{Client, HttpError};
use sha2::Sha256;

use super::{Config, FORWARDED_FOR, Secret, lookup::Instance};

const INSTANCE_ID: HeaderName = HeaderName::from_static("x-instance-id");
const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const SIGNATURE: HeaderName = HeaderName::from_static("x-instance-id-signature");
/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How the compute service is asked.
pub(super) struct Nova {
    client: Client,
    base: String,
    secret: Secret,
}

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    /// Path and query, as the instance wrote them.
    pub(super) target: String,
    pub(super) body: Bytes,
    /// As the proxy wrote it.
    pub(super) forwarded_for: HeaderValue,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// What is known of the instance cannot be put into a header.
    #[error("the id of the instance or its project has characters that no header has")]
    Header(#[from] InvalidHeaderValue),
    /// The path is none.
    #[error("what is asked for is not a path")]
    Target,
    /// The compute service was not reached, or not in time.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Nova {
    pub(super) fn new(config: &Config) -> Result<Self, HttpError> {
        let host = match config.nova_metadata_host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => config.nova_metadata_host.clone(),
        };
        Ok(Self {
            client: Client::new(&config.tls)?,
            base: format!("{}://{host}:{}", config.nova_metadata_protocol, config.nova_metadata_port),
            secret: config.metadata_proxy_shared_secret.clone(),
        })
    }

    /// Asks on behalf of an instance. Nothing of the instance's own headers is passed on.
    pub(super) async fn ask(&self, question: &Question, instance: &Instance) -> Result<Response<Bytes>, AskError> {
        let url = format!("{}{}", self.base, question.target);
        let mut request = Request::new(question.body.clone());
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = url.parse().map_err(|_| AskError::Target)?;
        let headers = request.headers_mut();
        headers.insert(FORWARDED_FOR, question.forwarded_for.clone());
        headers.insert(INSTANCE_ID, HeaderValue::from_str(&instance.id)?);
        headers.insert(TENANT_ID, HeaderValue::from_str(&instance.project)?);
        headers.insert(SIGNATURE, HeaderValue::from_str(&sign(&self.secret, &instance.id))?);
        Ok(self.client.send(request, ANSWER_LIMIT).await?)
    }
}

/// HMAC-SHA256 of an instance's id, in hexadecimal digits.
fn sign(secret: &Secret, instance: &str) -> String {
    // A key may have any length, so there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal()) else { return String::new() };
    mac.update(instance.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231_and_of_python() {
        let of = |secret: &str, id: &str| sign(&Secret::new(secret), id);
        assert_eq!(
            of("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            of("abcdocker", "3b6a5a9c-2f0e-4d53-9a58-0c9dba4ad6a1"),
            "2ee8bd176ebc6cd2cebe8b95ec923f1e8461f47d48a9a8a5cf9deb1f6266fb2f"
        );
        assert_eq!(of("", ""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
        assert_eq!(of(&"k".repeat(200), "x"), "a34abd1b081e75091b5f15447fb45ea6a1a7d624c190b880750d5d0f52ca715e");
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        let mut config = Config::new("h", "/s");
        config.nova_metadata_host = "2001:db8::1".to_owned();
        assert_eq!(Nova::new(&config).unwrap().base, "http://[2001:db8::1]:8775");
    }
}
