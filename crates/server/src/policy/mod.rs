//! Who may do what: the rules of [`defaults`] and the operator's files, enforced where requests enter.
//!
//! What is checked, and when:
//!
//! | request | before | in the answer |
//! |---|---|---|
//! | create | `create_<resource>`, and `:<attribute>` for each guarded one that is given | guarded attributes |
//! | list | – ([`db::list::Scope`] selects what the project sees) | `get_<resource>` for each item, guarded attributes |
//! | show | – | `get_<resource>`, else 404; guarded attributes |
//! | update | `update_<resource>` and attributes; 404 instead of 403 where `get_<resource>` fails | guarded attributes |
//! | delete | `delete_<resource>`; likewise | – |
//!
//! Where nobody authenticates callers there are no rules: [`Policy::open`] costs nothing. Elsewhere a rule is first asked
//! whether it is decided by the caller's roles alone, which for administrators it is; only otherwise is the target
//! loaded, and the parents that its rules name.

mod defaults;
mod guard;
mod lens;
mod subject;

#[cfg(test)]
mod tests;

use oslo::{
    context::Context,
    policy::{Credentials, Enforcer, PolicyError, RuleId, Rules, Settings},
};
use serde_json::Value;
use types::attribute::table;

pub use guard::Guard;
pub use lens::Lens;
pub(crate) use lens::target;
pub use subject::{Parents, Subject};

use crate::Ctx;

/// The policy of a server.
#[derive(Debug, Default)]
pub struct Policy {
    enforcer: Option<Enforcer>,
}

impl Policy {
    /// Everyone may do everything, as without authentication.
    pub fn open() -> Self {
        Self { enforcer: None }
    }

    /// The default rules with those of the operator's files over them.
    pub fn load(settings: Settings) -> Result<Self, PolicyError> {
        Enforcer::load(settings, defaults::ALL, field_value).map(|enforcer| Self { enforcer: Some(enforcer) })
    }

    /// Looks at the operator's files now, rather than within a second.
    pub fn refresh(&self) {
        if let Some(enforcer) = &self.enforcer {
            enforcer.refresh();
        }
    }

    /// Settles what a caller is by its roles: administrator, service, seeing every project, making resources for others.
    /// What is set already stays.
    pub fn admit(&self, caller: &mut Context) {
        let Some(enforcer) = &self.enforcer else { return };
        let rules = enforcer.rules();
        caller.is_admin |= is(&rules, "context_is_admin", caller);
        caller.is_service_role |= is(&rules, "service_api", caller) || is(&rules, "context_is_advsvc", caller);
        caller.has_global_access |= caller.is_admin || is(&rules, "context_with_global_access", caller);
        caller.can_set_project_id |=
            caller.is_admin || caller.is_service_role || is(&rules, "context_can_set_project_id", caller);
    }

    #[cfg(test)]
    fn rules(&self) -> Option<std::sync::Arc<Rules>> {
        self.enforcer.as_ref().map(Enforcer::rules)
    }

    /// What checks the requests of this caller; none where it may do everything.
    pub fn guard(&self, ctx: &Ctx) -> Option<Guard> {
        let rules = self.enforcer.as_ref()?.rules();
        // The older rules let administrators do everything.
        if ctx.caller.is_admin && !rules.enforces_new_defaults() {
            return None;
        }
        Some(Guard::new(rules, &ctx.caller))
    }
}

/// A rule about the caller alone, which is then the target too.
fn is(rules: &Rules, name: &str, caller: &Context) -> bool {
    let id: Option<RuleId> = rules.find(name);
    let caller = Credentials::of(caller);
    rules.holds(id, caller.values(), &caller).unwrap_or(false)
}

/// The value in a `field:` check as the attribute has it: `True` is a truth value where the attribute is one.
fn field_value(resource: &str, attribute: &str, text: &str) -> Value {
    let table = table::ALL.iter().find(|table| table.plural == resource);
    let convert = table.and_then(|table| table.attribute(attribute)).map(|attribute| attribute.convert);
    let plain = Value::from(text);
    match convert {
        Some(convert) => convert.apply(plain.clone()).unwrap_or(plain),
        // Whatever else can be shared is shared or not.
        None if attribute == "shared" => Value::Bool(text.eq_ignore_ascii_case("true")),
        None => plain,
    }
}
