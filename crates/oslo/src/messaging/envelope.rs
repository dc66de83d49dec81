//! The wire format of oslo.messaging 2.0 as pure functions.
//!
//! A body is an object with the format's version and the message as a JSON *string*; a failure within a reply is once
//! more a JSON string. Receivers accept a body that is the bare message, and any 2.x not newer than their own.

use serde_json::{Map, Value, json};

use super::Failure;
use crate::context::Context;

/// Version of the envelope.
pub const VERSION: &str = "2.0";
/// Version a receiver assumes for a request without one.
pub const DEFAULT_METHOD_VERSION: &str = "1.0";
const VERSION_KEY: &str = "oslo.version";
const MESSAGE_KEY: &str = "oslo.message";

/// A body that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not an object.
    #[error("the message body is not a JSON object: {0}")]
    Malformed(String),
    /// Another generation of the format.
    #[error("the message envelope has version {0}; {VERSION} is understood")]
    Version(String),
    /// A key that must be there is not.
    #[error("the message has no '{0}'")]
    Missing(&'static str),
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the method.
    pub method: String,
    /// Its keyword arguments.
    pub args: Value,
    /// Interface version that the sender needs.
    pub version: String,
    /// Absent from the wire when none.
    pub namespace: Option<String>,
    /// Present in calls only.
    pub call: Option<Call>,
    /// New for each transmission; repeats are dropped by receivers.
    pub unique_id: String,
    /// Who asks.
    pub ctx: Context,
}

/// What makes a request a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Correlates the reply, 32 hexadecimal digits.
    pub msg_id: String,
    /// Queue the reply goes to.
    pub reply_queue: String,
    /// Interval of the heartbeats that the caller wants while it waits, in seconds.
    pub monitor_timeout: Option<f64>,
}

/// What a reply carries.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyMessage {
    /// The call it answers.
    pub msg_id: String,
    /// New for each transmission.
    pub unique_id: String,
    /// The answer.
    pub result: Result<Value, Failure>,
    /// False for a heartbeat that says the method still runs.
    pub ending: bool,
}

/// Whether an endpoint of version `served` can take a request for version `requested`: the same major, and a minor
/// that is not newer. A text that is no version is never compatible.
pub fn compatible(served: &str, requested: &str) -> bool {
    match (parse_version(served), parse_version(requested)) {
        (Some((major, minor)), Some((other_major, other_minor))) => major == other_major && other_minor <= minor,
        _ => false,
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Puts a message in its envelope.
pub fn wrap(message: &Value) -> String {
    json!({VERSION_KEY: VERSION, MESSAGE_KEY: message.to_string()}).to_string()
}

/// Takes a message out of its envelope.
pub fn unwrap(body: &[u8]) -> Result<Map<String, Value>, EnvelopeError> {
    let malformed = |error: serde_json::Error| EnvelopeError::Malformed(error.to_string());
    let mut outer: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    let (Some(version), Some(Value::String(message))) = (outer.get(VERSION_KEY).cloned(), outer.remove(MESSAGE_KEY))
    else {
        return Ok(outer);
    };
    let version = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
    if !compatible(VERSION, &version) {
        return Err(EnvelopeError::Version(version));
    }
    serde_json::from_str(&message).map_err(malformed)
}

impl Request {
    /// The message, ready for [`wrap`].
    pub fn encode(&self) -> Value {
        let mut message = Map::new();
        message.insert("method".into(), self.method.as_str().into());
        message.insert("args".into(), self.args.clone());
        message.insert("version".into(), self.version.as_str().into());
        if let Some(namespace) = &self.namespace {
            message.insert("namespace".into(), namespace.as_str().into());
        }
        if let Some(call) = &self.call {
            message.insert("_msg_id".into(), call.msg_id.as_str().into());
            message.insert("_reply_q".into(), call.reply_queue.as_str().into());
            message.insert("_timeout".into(), call.monitor_timeout.map_or(Value::Null, Value::from));
        }
        message.insert("_unique_id".into(), self.unique_id.as_str().into());
        self.ctx.write_message(&mut message);
        Value::Object(message)
    }

    /// Reads the message that [`unwrap`] brought out.
    pub fn decode(mut message: Map<String, Value>) -> Result<Self, EnvelopeError> {
        let ctx = Context::take_message(&mut message);
        let mut text = |key: &str| match message.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let method = text("method").ok_or(EnvelopeError::Missing("method"))?;
        let version = text("version").unwrap_or_else(|| DEFAULT_METHOD_VERSION.to_owned());
        let namespace = text("namespace");
        let unique_id = text("_unique_id").unwrap_or_default();
        let ids = text("_msg_id").zip(text("_reply_q"));
        let monitor_timeout = message.get("_timeout").and_then(Value::as_f64);
        let call = ids.map(|(msg_id, reply_queue)| Call { msg_id, reply_queue, monitor_timeout });
        let args = message.remove("args").unwrap_or_else(|| Value::Object(Map::new()));
        Ok(Self { method, args, version, namespace, call, unique_id, ctx })
    }
}

impl ReplyMessage {
    /// The message, ready for [`wrap`].
    pub fn encode(&self) -> Value {
        let (result, failure) = match &self.result {
            Ok(result) => (result.clone(), Value::Null),
            Err(failure) => (Value::Null, Value::String(failure.encode())),
        };
        json!({
            "result": result,
            "failure": failure,
            "ending": self.ending,
            "_msg_id": self.msg_id,
            "_unique_id": self.unique_id,
        })
    }

    /// Reads the message that [`unwrap`] brought out.
    pub fn decode(mut message: Map<String, Value>) -> Result<Self, EnvelopeError> {
        let Some(Value::String(msg_id)) = message.remove("_msg_id") else {
            return Err(EnvelopeError::Missing("_msg_id"));
        };
        let unique_id = message.get("_unique_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let ending = message.get("ending").and_then(Value::as_bool).unwrap_or(true);
        let result = match message.remove("failure") {
            Some(Value::String(failure)) => Err(Failure::decode(&failure)),
            _ => Ok(message.remove("result").unwrap_or(Value::Null)),
        };
        Ok(Self { msg_id, unique_id, result, ending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As captured from an Open vSwitch agent, with its context shortened.
    const CAPTURED: &str = r#"{"oslo.version":"2.0","oslo.message":"{\"method\":\"tunnel_sync\",\"args\":{\"tunnel_ip\":\"10.10.0.21\",\"tunnel_type\":\"vxlan\",\"host\":\"ovshost\"},\"version\":\"1.4\",\"_msg_id\":\"8943d12c85234dd48ce3eb7302c58f43\",\"_reply_q\":\"reply_4ecf9fcf5a4846428bc5e0ba9b6b00b8\",\"_timeout\":null,\"_unique_id\":\"24b3700b0e6d4db482363380c47dae4c\",\"_context_is_admin\":true,\"_context_request_id\":\"req-84c6e765-c0a2-4ff1-90c4-30af4e064463\"}"}"#;

    #[test]
    fn a_captured_call_is_read_and_written_alike() {
        let captured = unwrap(CAPTURED.as_bytes()).unwrap();
        let request = Request::decode(captured.clone()).unwrap();
        assert_eq!(request.method, "tunnel_sync");
        assert_eq!(request.args["tunnel_ip"], "10.10.0.21");
        assert_eq!(request.version, "1.4");
        assert_eq!(request.namespace, None);
        assert_eq!(request.call.as_ref().unwrap().reply_queue, "reply_4ecf9fcf5a4846428bc5e0ba9b6b00b8");
        assert!(request.ctx.is_admin);
        assert_eq!(request.ctx.request_id, "req-84c6e765-c0a2-4ff1-90c4-30af4e064463");

        let written = unwrap(wrap(&request.encode()).as_bytes()).unwrap();
        for (key, value) in &captured {
            assert_eq!(written.get(key), Some(value), "{key}");
        }
        assert!(written.keys().all(|k| captured.contains_key(k) || k.starts_with("_context_")), "{written:?}");
    }

    #[test]
    fn a_cast_has_no_reply_keys() {
        let request = Request {
            method: "port_delete".into(),
            args: json!({"port_id": "p"}),
            version: "1.0".into(),
            namespace: None,
            call: None,
            unique_id: "0".repeat(32),
            ctx: Context::admin(),
        };
        let message = request.encode();
        for absent in ["_msg_id", "_reply_q", "_timeout", "namespace"] {
            assert!(message.get(absent).is_none(), "{absent}");
        }
        assert_eq!(Request::decode(message.as_object().unwrap().clone()).unwrap(), request);
    }

    #[test]
    fn replies_carry_a_result_or_a_failure_as_text() {
        let failure = Failure::neutron("NetworkNotFound", "Network n could not be found.");
        for result in [Ok(json!({"tunnels": []})), Ok(Value::Null), Err(failure)] {
            let reply = ReplyMessage { msg_id: "m".into(), unique_id: "u".into(), result, ending: true };
            let message = reply.encode();
            assert_eq!(message["failure"].is_string(), reply.result.is_err());
            let body = wrap(&message);
            assert_eq!(ReplyMessage::decode(unwrap(body.as_bytes()).unwrap()).unwrap(), reply);
        }
    }

    #[test]
    fn versions_are_compatible_within_a_major() {
        for (served, requested, expected) in [
            ("1.9", "1.9", true),
            ("1.9", "1.0", true),
            ("1.9", "1.10", false),
            ("1.10", "1.9", true),
            ("2.0", "1.0", false),
            ("1.0", "2.0", false),
            ("1.0", "one", false),
        ] {
            assert_eq!(compatible(served, requested), expected, "{served} {requested}");
        }
    }

    #[test]
    fn bare_messages_are_accepted_and_other_envelopes_refused() {
        assert_eq!(unwrap(br#"{"method":"m"}"#).unwrap()["method"], "m");
        let other = br#"{"oslo.version":"3.0","oslo.message":"{}"}"#;
        assert_eq!(unwrap(other), Err(EnvelopeError::Version("3.0".into())));
        assert!(matches!(unwrap(b"[]"), Err(EnvelopeError::Malformed(_))));
        assert_eq!(Request::decode(Map::new()), Err(EnvelopeError::Missing("method")));
        let bare = unwrap(br#"{"method":"m"}"#).unwrap();
        assert_eq!(Request::decode(bare).unwrap().version, "1.0");
    }
}
