//! The Networking API as the client uses it: requests with errors in words, whole lists, and look-up by name.

use hyper::Method;
use oslo::http::encode;
use serde_json::Value;

use super::error::ClientError;
use super::http::{Answer, Http, query};
use super::keystone::Session;
use super::spec::Resource;

/// How many ids one request filters by, so that its address stays short enough for every server.
const IDS_PER_REQUEST: usize = 100;

/// An open API.
pub(super) struct Api {
    http: Http,
    session: Session,
}

/// Pairs of a query string.
pub(super) type Query = Vec<(String, String)>;

impl Api {
    /// The API a session opens.
    pub(super) fn new(http: Http, session: Session) -> Self {
        Self { http, session }
    }

    /// Whether the caller is known to be an administrator.
    pub(super) fn is_admin(&self) -> bool {
        self.session.is_admin
    }

    /// Sends a request below `/v2.0` and returns the body of a successful answer.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        pairs: &Query,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        self.request_raw(method, path, &query(pairs), body).await
    }

    async fn request_raw(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}/{path}{mark}{query}", self.session.base);
        let token = self.session.token.as_deref().map(|token| ("X-Auth-Token", token));
        let answer = self.http.send(method, &url, token.as_slice(), body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.json());
        }
        Err(ClientError::Server { status: answer.status, message: fault(&answer) })
    }

    /// All entries of a list, whatever the size of its pages.
    pub(super) async fn list(&self, path: &str, plural: &str, pairs: &Query) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        let mut query = query(pairs);
        loop {
            let mut page = self.request_raw(Method::GET, path, &query, None).await?;
            if let Some(Value::Array(entries)) = page.get_mut(plural).map(Value::take) {
                all.extend(entries);
            }
            let links = page.get(format!("{plural}_links")).and_then(Value::as_array);
            let next = links.and_then(|links| links.iter().find(|link| link["rel"] == "next"));
            match next.and_then(|link| link["href"].as_str()).and_then(|href| href.split_once('?')) {
                Some((_, next)) if next != query => query = next.to_owned(),
                _ => return Ok(all),
            }
        }
    }

    /// The entries that have one of these ids.
    pub(super) async fn list_by_id(
        &self,
        resource: &Resource,
        ids: &[String],
        fields: &[&str],
    ) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        for chunk in ids.chunks(IDS_PER_REQUEST) {
            let mut pairs: Query = fields.iter().map(|field| ("fields".into(), (*field).into())).collect();
            pairs.extend(chunk.iter().map(|id| ("id".to_owned(), id.clone())));
            all.extend(self.list(resource.path, resource.plural, &pairs).await?);
        }
        Ok(all)
    }

    /// The id of the one resource that has this id or name.
    pub(super) async fn find(&self, resource: &'static Resource, name_or_id: &str) -> Result<String, ClientError> {
        let name = resource.name;
        if is_uuid(name_or_id)
            && let Some(id) = self.ids_with(resource, "id", name_or_id).await?.pop()
        {
            return Ok(id);
        }
        if !resource.named {
            return Err(ClientError::NotFound(format!("Unable to find {name} with id '{name_or_id}'")));
        }
        let mut ids = self.ids_with(resource, "name", name_or_id).await?;
        match (ids.len(), ids.pop()) {
            (1, Some(id)) => Ok(id),
            (0, _) => Err(ClientError::NotFound(format!("Unable to find {name} with name or id '{name_or_id}'"))),
            _ => Err(ClientError::NoUniqueMatch { resource: name, name: name_or_id.to_owned() }),
        }
    }

    async fn ids_with(&self, resource: &Resource, key: &str, value: &str) -> Result<Vec<String>, ClientError> {
        let pairs = vec![("fields".to_owned(), "id".to_owned()), (key.to_owned(), value.to_owned())];
        let found = self.list(resource.path, resource.plural, &pairs).await?;
        Ok(found.iter().filter_map(|entry| entry["id"].as_str()).map(str::to_owned).collect())
    }
}

/// A path with an id in place of `{}`.
pub(super) fn path_of(template: &str, id: &str) -> String {
    template.replace("{}", &encode(id))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// What an error answer says, with the id by which the server's log knows it.
fn fault(answer: &Answer) -> String {
    let body = answer.json();
    let error = &body["NeutronError"];
    let mut message = match (error, error["message"].as_str()) {
        (_, Some(message)) => {
            let detail = error["detail"].as_str().filter(|detail| !detail.is_empty());
            detail.map_or_else(|| message.to_owned(), |detail| format!("{message}\n{detail}"))
        }
        (Value::Null, None) => {
            let plain = body["message"].as_str().or(body["error"]["message"].as_str()).map(str::to_owned);
            plain.unwrap_or_else(|| match answer.text.trim() {
                "" => format!("HTTP status {}", answer.status),
                text => text.to_owned(),
            })
        }
        (other, None) => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
    };
    if let Some(id) = answer.header("x-openstack-request-id") {
        message.push_str(&format!("\nNeutron server returns request_ids: ['{id}']"));
    }
    message
}
