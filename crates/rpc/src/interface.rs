//! What an interface is, and the `interface!` list that makes both sides of one.
//!
//! Version rules are oslo.messaging's: a topic's endpoints are asked in order; one is a candidate when it has the
//! namespace of the message and a compatible version; the first candidate with the method takes it.

use std::time::{Duration, Instant};

use oslo::{
    context::Context,
    messaging::{Bus, CallError, Failure, Target, envelope::compatible},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Whether a method is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The caller waits for a result.
    Call,
    /// The caller does not wait.
    Cast,
}

/// One method of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// Interface version that a caller asks for.
    pub version: &'static str,
    /// Whether it is answered.
    pub kind: Kind,
    /// The topic it is sent to.
    pub topic: &'static str,
}

/// An interface: its version and its methods. Namespaces are null in all of them.
#[derive(Debug)]
pub struct Interface {
    /// Module that holds it.
    pub name: &'static str,
    /// The newest version that its callee serves.
    pub version: &'static str,
    /// Its methods.
    pub methods: &'static [Method],
}

impl Interface {
    /// The method of that name.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|m| m.name == name)
    }
}

/// The interface that takes a request, of those served on its topic.
pub fn select(
    served: &[&'static Interface],
    namespace: Option<&str>,
    version: &str,
    method: &str,
) -> Result<&'static Interface, Failure> {
    let mut candidates = served.iter().filter(|i| namespace.is_none() && compatible(i.version, version)).peekable();
    if candidates.peek().is_none() {
        return Err(Failure::unsupported_version(version, method));
    }
    candidates.find(|i| i.method(method).is_some()).copied().ok_or_else(|| Failure::no_such_method(method))
}

/// The sending half of a client: whom it talks to and how long it waits.
#[derive(Debug, Clone)]
pub struct Caller {
    bus: Bus,
    server: Option<String>,
    fanout: bool,
    /// A time of its own, instead of the method's.
    timeout: Option<Duration>,
}

impl Caller {
    /// Talks to any one server of the topic.
    pub fn new(bus: Bus) -> Self {
        Self { bus, server: None, fanout: false, timeout: None }
    }

    /// Talks to the server on that host.
    pub fn to_server(mut self, host: impl Into<String>) -> Self {
        self.server = Some(host.into());
        self.fanout = false;
        self
    }

    /// Talks to all servers of the topic.
    pub fn to_all(mut self) -> Self {
        self.server = None;
        self.fanout = true;
        self
    }

    /// Waits that long for an answer, whatever was waited before.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn target(&self, method: &Method) -> Target {
        Target { topic: method.topic.to_owned(), server: self.server.clone(), fanout: self.fanout, ..Target::default() }
    }

    /// Sends a call and reads its answer.
    pub async fn call<R: DeserializeOwned>(&self, ctx: &Context, method: &Method, args: Value) -> Result<R, CallError> {
        let (target, began) = (self.target(method), Instant::now());
        let answer = match self.timeout {
            Some(timeout) => self.bus.call(ctx, &target, method.version, method.name, args, timeout).await,
            None => self.bus.call_patiently(ctx, &target, method.version, method.name, args).await,
        };
        let unread =
            |error: serde_json::Error| CallError::Answer { method: method.name.to_owned(), why: error.to_string() };
        let answer = answer.and_then(|answer| serde_json::from_value(answer).map_err(unread));
        crate::metrics::called(method.name, began, &answer);
        answer
    }

    /// Sends a cast; the error tells that the transport did not take it.
    pub async fn cast(&self, ctx: &Context, method: &Method, args: Value) -> Result<(), CallError> {
        crate::metrics::cast(method.name);
        self.bus.deliver(ctx, &self.target(method), method.version, method.name, args).await
    }
}

/// An argument or a result as JSON. Payloads are plain data, whose conversion cannot fail.
pub fn encode<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Makes an interface of its list of methods: `VERSION`, `INTERFACE`, `Client`, the trait `Callee`, and `dispatch`.
macro_rules! interface {
    (
        version $version:literal;
        calls { $($(#[$call_doc:meta])* $call:ident $call_version:literal on $call_topic:path:
            ($($call_arg:ident: $call_type:ty),*) -> $call_result:ty;)* }
        casts { $($(#[$cast_doc:meta])* $cast:ident $cast_version:literal on $cast_topic:path:
            ($($cast_arg:ident: $cast_type:ty),*);)* }
    ) => {
        /// The newest version that the callee serves.
        pub const VERSION: &str = $version;

        /// The methods, with the version and topic of each.
        #[allow(missing_docs)]
        pub mod method {
            use super::*;
            use $crate::interface::{Kind, Method};
            $(#[allow(non_upper_case_globals)]
            pub const $call: Method = Method { name: stringify!($call), version: $call_version, kind: Kind::Call, topic: $call_topic };)*
            $(#[allow(non_upper_case_globals)]
            pub const $cast: Method = Method { name: stringify!($cast), version: $cast_version, kind: Kind::Cast, topic: $cast_topic };)*
        }

        /// The interface as data.
        pub static INTERFACE: $crate::interface::Interface = $crate::interface::Interface {
            name: module_path!(),
            version: VERSION,
            methods: &[$(method::$call,)* $(method::$cast,)*],
        };

        /// The caller's side.
        #[derive(Debug, Clone)]
        pub struct Client(pub $crate::interface::Caller);

        impl Client {
            /// Talks to any one server of the topic.
            pub fn new(bus: oslo::messaging::Bus) -> Self {
                Self($crate::interface::Caller::new(bus))
            }

            /// Talks to the server on that host.
            pub fn to_server(self, host: impl Into<String>) -> Self {
                Self(self.0.to_server(host))
            }

            /// Talks to all servers of the topic.
            pub fn to_all(self) -> Self {
                Self(self.0.to_all())
            }

            /// Waits that long for an answer.
            pub fn with_timeout(self, timeout: std::time::Duration) -> Self {
                Self(self.0.with_timeout(timeout))
            }

            $($(#[$call_doc])*
            pub async fn $call(&self, ctx: &oslo::context::Context $(, $call_arg: $call_type)*) -> Result<$call_result, oslo::messaging::CallError> {
                #[allow(unused_mut)]
                let mut args = serde_json::Map::new();
                $(args.insert(stringify!($call_arg).to_owned(), $crate::interface::encode(&$call_arg));)*
                self.0.call(ctx, &method::$call, args.into()).await
            })*

            $($(#[$cast_doc])*
            pub async fn $cast(&self, ctx: &oslo::context::Context $(, $cast_arg: $cast_type)*) -> Result<(), oslo::messaging::CallError> {
                #[allow(unused_mut)]
                let mut args = serde_json::Map::new();
                $(args.insert(stringify!($cast_arg).to_owned(), $crate::interface::encode(&$cast_arg));)*
                self.0.cast(ctx, &method::$cast, args.into()).await
            })*
        }

        /// The callee's side.
        pub trait Callee: Sync {
            /// What a method fails with; failures of the dispatch itself become one.
            type Error: From<oslo::messaging::Failure> + Send;

            $($(#[$call_doc])*
            fn $call(&self, ctx: &oslo::context::Context $(, $call_arg: $call_type)*)
                -> impl Future<Output = Result<$call_result, Self::Error>> + Send;)*

            $($(#[$cast_doc])*
            fn $cast(&self, ctx: &oslo::context::Context $(, $cast_arg: $cast_type)*)
                -> impl Future<Output = Result<(), Self::Error>> + Send;)*
        }

        /// Reads the arguments, runs the method of that name, and writes its result.
        pub async fn dispatch<C: Callee>(
            callee: &C,
            ctx: &oslo::context::Context,
            name: &str,
            args: &serde_json::Value,
        ) -> Result<serde_json::Value, C::Error> {
            use oslo::messaging::Failure;
            use serde::Deserialize;
            match name {
                $(stringify!($call) => {
                    #[derive(Deserialize)]
                    struct Args { $($call_arg: $call_type,)* }
                    #[allow(unused_variables)]
                    let args = Args::deserialize(args).map_err(|e| Failure::bad_arguments(name, e))?;
                    let result = callee.$call(ctx $(, args.$call_arg)*).await?;
                    Ok($crate::interface::encode(&result))
                })*
                $(stringify!($cast) => {
                    #[derive(Deserialize)]
                    struct Args { $($cast_arg: $cast_type,)* }
                    #[allow(unused_variables)]
                    let args = Args::deserialize(args).map_err(|e| Failure::bad_arguments(name, e))?;
                    callee.$cast(ctx $(, args.$cast_arg)*).await?;
                    Ok(serde_json::Value::Null)
                })*
                _ => Err(Failure::no_such_method(name).into()),
            }
        }
    };
}
