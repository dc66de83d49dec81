//! RBAC policies: the owner of what can be shared, such as a network, shares it with another project, or with everyone.
//!
//! What a policy lets others see follows from its row by [`db::list::Scope`]; nothing else is stored. A policy that
//! lets a network be used as external makes the network external, and the last such one gone makes it internal again.

use db::{
    Conn, Row, Tx,
    list::{ListQuery, Listing},
    network as network_rows, rbac_policy as rows, standard,
};
use types::{
    RbacPolicyId, Standard,
    address_group::AddressGroup,
    address_scope::AddressScope,
    attribute::{Attributes, ResourceTable, table::RBAC_POLICY},
    network::Network,
    rbac_policy::{ACCESS_AS_EXTERNAL, EVERYONE, ObjectType},
    security_group::SecurityGroup,
    subnet_pool::SubnetPool,
};

use super::{Condition, Resource, find, find_any, subnet_pool};
use crate::{Ctx, Error, Refusal, Result, quota};

pub use types::rbac_policy::RbacPolicy;

impl Resource for RbacPolicy {
    const TABLE: &'static ResourceTable = &RBAC_POLICY;
    /// Of networks alone; [`list`] reads all.
    const LISTING: &'static Listing = &rows::NETWORK_LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        None
    }

    async fn load(_: &Ctx, _: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::rbac_policies_from_rows(ObjectType::Network, &rows)?)
    }

    async fn one(ctx: &Ctx, conn: &mut Conn, id: &str) -> Result<Option<Self>> {
        Ok(list(ctx, conn, ListQuery::by_id(id), &ObjectType::ALL).await?.pop())
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        quota::check(ctx, &mut tx, "rbac_policy", &given).await?;
        let mut policies = Vec::with_capacity(given.len());
        for given in &given {
            let policy = described(given)?;
            prepare(ctx, &mut tx, &policy).await?;
            rows::rbac_policy_insert(&mut tx, &policy).await.map_err(duplicate)?;
            policies.push(policy);
        }
        tx.commit().await?;
        Ok(policies)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, _: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let before: Self = find(ctx, &mut tx, id).await?;
        let mut policy = before.clone();
        if let Some(target) = given.text("target_tenant").filter(|target| *target != before.target_tenant) {
            target.clone_into(&mut policy.target_tenant);
            let object = object(ctx, &mut tx, &before).await?;
            refuse_if_used(&mut tx, &object, &before, Some(target)).await?;
            rows::rbac_policy_update(&mut tx, &policy).await.map_err(duplicate)?;
            object.touch(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(policy)
    }

    async fn delete(ctx: &Ctx, id: &str, _: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let policy: Self = find(ctx, &mut tx, id).await?;
        let object = object(ctx, &mut tx, &policy).await?;
        refuse_if_used(&mut tx, &object, &policy, None).await?;
        rows::rbac_policy_delete(&mut tx, policy.object_type, policy.id).await?;
        if policy.action == ACCESS_AS_EXTERNAL
            && let Object::Network(network) = &object
            && rows::rbac_targets(&mut tx, policy.object_type, policy.object_id, ACCESS_AS_EXTERNAL).await?.is_empty()
        {
            network_rows::external_clear(&mut tx, network.id).await?;
        }
        object.touch(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Policies about these kinds of objects that the caller may see.
pub async fn list(ctx: &Ctx, conn: &mut Conn, mut query: ListQuery, kinds: &[ObjectType]) -> Result<Vec<RbacPolicy>> {
    RbacPolicy::restrict(ctx, &mut query);
    let mut policies = Vec::new();
    for kind in kinds {
        let page = rows::listing_of(*kind).page(conn, &query).await?;
        policies.extend(rows::rbac_policies_from_rows(*kind, &page.rows)?);
    }
    Ok(policies)
}

/// What a policy is about.
enum Object {
    Network(Box<Network>),
    /// What has nothing but an owner to do with its policies.
    Owned(String),
}

impl Object {
    fn project_id(&self) -> &str {
        match self {
            Self::Network(network) => &network.project_id,
            Self::Owned(project_id) => project_id,
        }
    }

    /// A change of its policies is one of the network.
    async fn touch(self, tx: &mut Tx) -> Result<()> {
        if let Self::Network(mut network) = self {
            standard::standard_touch(tx, &mut network.standard).await?;
        }
        Ok(())
    }
}

fn described(given: &Attributes) -> Result<RbacPolicy> {
    let missing = |name: &str| Error::Internal(format!("a checked RBAC policy has no {name}"));
    let object_type = given.text("object_type").and_then(ObjectType::named).ok_or_else(|| missing("object_type"))?;
    let action = given.text("action").unwrap_or_default().to_owned();
    Ok(RbacPolicy {
        id: RbacPolicyId::random(),
        project_id: given.text("project_id").unwrap_or_default().to_owned(),
        tenant_id: given.text("project_id").unwrap_or_default().to_owned(),
        action,
        object_id: given.parsed("object_id").ok_or_else(|| missing("object_id"))?,
        target_tenant: given.text("target_tenant").unwrap_or_default().to_owned(),
        object_type,
    })
}

/// Only the owner shares, and only what can be.
async fn prepare(ctx: &Ctx, tx: &mut Tx, policy: &RbacPolicy) -> Result<()> {
    let object = object(ctx, tx, policy).await.map_err(|error| match error {
        Error::Refused(refusal) => Refusal::invalid_input(refusal.message.trim_end_matches('.')).into(),
        other => other,
    })?;
    if !ctx.caller.is_admin && ctx.caller.project_id.as_deref() != Some(object.project_id()) {
        let what = if policy.object_type == ObjectType::Network { "networks" } else { "objects" };
        let reason = format!("Only admins can manipulate policies on {what} they do not own");
        return Err(Refusal::invalid_input(reason).into());
    }
    if policy.object_type == ObjectType::SubnetPool {
        subnet_pool::may_share(ctx, tx, &policy.object_id.to_string(), &policy.target_tenant).await?;
    }
    let valid = policy.object_type.actions();
    if !valid.contains(&policy.action.as_str()) {
        let listed = match valid {
            [only] => format!("('{only}',)"),
            several => format!("('{}')", several.join("', '")),
        };
        let message = format!(
            "Invalid action '{}' for object type '{}'. Valid actions: {listed}",
            policy.action,
            policy.object_type.as_str()
        );
        return Err(Refusal::bad_request("InvalidActionForType", message).into());
    }
    if policy.action == ACCESS_AS_EXTERNAL
        && let Object::Network(network) = &object
        && !network.router_external
    {
        network_rows::external_mark(tx, network.id).await?;
    }
    object.touch(tx).await
}

async fn object(ctx: &Ctx, tx: &mut Tx, policy: &RbacPolicy) -> Result<Object> {
    let id = policy.object_id.to_string();
    Ok(match policy.object_type {
        ObjectType::Network => Object::Network(Box::new(find(ctx, tx, &id).await?)),
        ObjectType::SecurityGroup => Object::Owned(find_any::<SecurityGroup>(ctx, tx, &id).await?.project_id),
        ObjectType::AddressGroup => Object::Owned(find_any::<AddressGroup>(ctx, tx, &id).await?.project_id),
        ObjectType::AddressScope => Object::Owned(find_any::<AddressScope>(ctx, tx, &id).await?.project_id),
        ObjectType::SubnetPool => Object::Owned(find_any::<SubnetPool>(ctx, tx, &id).await?.project_id),
    })
}

fn duplicate(error: db::DbError) -> Error {
    match error.is_duplicate(&[]) {
        true => Refusal::conflict("DuplicateRbacPolicy", "An RBAC policy already exists with those values.").into(),
        false => error.into(),
    }
}

/// Who still uses the object must keep the right to; `new` is the project that the policy is for instead.
async fn refuse_if_used(tx: &mut Tx, object: &Object, policy: &RbacPolicy, new: Option<&str>) -> Result<()> {
    let in_use = |details: String| {
        let message = format!(
            "RBAC policy on object {} cannot be removed because other objects depend on it.\nDetails: {details}",
            policy.object_id
        );
        Err(Refusal::conflict("RbacPolicyInUse", message).into())
    };
    let everyone = policy.target_tenant == EVERYONE;
    if policy.action == ACCESS_AS_EXTERNAL {
        let default = matches!(object, Object::Network(network) if network.is_default == Some(true));
        if everyone && default {
            return in_use("Default external networks must be shared to everyone.".to_owned());
        }
        return Ok(());
    }
    let to_everyone = new == Some(EVERYONE) && policy.object_type != ObjectType::Network;
    if policy.target_tenant == object.project_id() || to_everyone {
        return Ok(());
    }
    let targets = rows::shared_with(tx, policy.object_type, policy.object_id).await?;
    if !everyone && targets.contains(EVERYONE) {
        return Ok(());
    }
    let using = rows::projects_using(tx, policy.object_type, policy.object_id).await?;
    let losing = match (everyone, object) {
        (false, _) => using.contains(&policy.target_tenant),
        (true, Object::Network(network)) => {
            using.iter().any(|project| *project != network.project_id && !targets.contains(project))
        }
        // Upstream counts the owner among those who would lose it.
        (true, Object::Owned(_)) => using.iter().any(|project| !targets.contains(project)),
    };
    match (losing, policy.object_type) {
        (false, _) => Ok(()),
        (true, ObjectType::Network) => in_use(format!(
            "Unable to reconfigure sharing settings for network {}. Multiple projects are using it.",
            policy.object_id
        )),
        (true, _) => in_use(format!("project_id={}", policy.target_tenant)),
    }
}
