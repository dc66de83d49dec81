//! oslo.policy: who may do what, in rules that an operator may replace.
//!
//! A rule is a text such as `role:admin or project_id:%(project_id)s`. It is parsed once, when the rules are loaded, into
//! a [`Check`], and evaluated against the caller's [`Credentials`] and a [`Target`], the resource that the caller wants
//! to act on. The language is whole: `and`, `or`, `not` and parentheses, `@` and `!`, the empty rule, the older
//! list-of-lists, `role:`, `rule:`, comparisons of any credential with a literal or an attribute of the target, and
//! Neutron's own `field:` and owner checks, which may ask for an attribute of the target's parent. Left out are `http:`
//! and `https:`, which would have every request wait for another server: a file that uses them is refused.
//!
//! [`Enforcer`] holds the rules in force: a service's [`Default`]s, replaced by those of the operator's files, which are
//! read again when they change.

mod check;
mod credentials;
mod enforcer;
mod error;
mod file;
mod parse;
mod rules;
mod text;

#[cfg(test)]
mod tests;

pub use check::{Check, Fault, Target};
pub use credentials::Credentials;
pub use enforcer::{Enforcer, Settings};
pub use error::{ParseError, PolicyError};
pub use file::{FileRule, Source, read};
pub use parse::{FieldValue, Language, parse};
pub use rules::{Default, Deprecated, RuleId, Rules, Scope};
