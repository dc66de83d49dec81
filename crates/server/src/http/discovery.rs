//! What the API is: versions, the resources of v2.0, its extensions.

use axum::http::StatusCode;
use serde_json::{Value, json};
use types::extension::{ALL, Extension};

use super::{Answer, Request};
use crate::{Refusal, Result};

/// `GET /`
pub(super) fn versions(request: &Request) -> Result<Answer> {
    let link = json!([{"rel": "self", "href": format!("{}/v2.0/", request.base)}]);
    Answer::json(StatusCode::OK, &json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": link}]}))
}

/// `GET /v2.0/`
pub(super) fn resources(request: &Request) -> Result<Answer> {
    let core = [("network", "networks"), ("subnet", "subnets"), ("port", "ports")];
    let resources: Vec<Value> = core
        .iter()
        .map(|(name, collection)| {
            let href = format!("{}/v2.0/{collection}", request.base);
            json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
        })
        .collect();
    Answer::json(StatusCode::OK, &json!({ "resources": resources }))
}

/// `GET /v2.0/extensions`
pub(super) fn extensions() -> Result<Answer> {
    let extensions: Vec<Value> = ALL.iter().map(shown).collect();
    Answer::json(StatusCode::OK, &json!({ "extensions": extensions }))
}

/// `GET /v2.0/extensions/<alias>`
pub(super) fn extension(alias: &str) -> Result<Answer> {
    let extension = ALL.iter().find(|e| e.alias == alias).ok_or_else(|| {
        let message = format!("Extension with alias {alias} does not exist");
        Refusal::new(StatusCode::NOT_FOUND, "HTTPNotFound", message)
    })?;
    Answer::json(StatusCode::OK, &json!({"extension": shown(extension)}))
}

fn shown(extension: &Extension) -> Value {
    json!({
        "name": extension.name,
        "alias": extension.alias,
        "description": extension.description,
        "updated": extension.updated,
        "links": [],
    })
}
