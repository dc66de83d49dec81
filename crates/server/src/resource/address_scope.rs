//! Address scopes: within one, addresses are unique, so that it can be routed without translation.

use std::sync::Arc;

use db::{Conn, Row, address_scope as rows, list::Listing, rbac_policy};
use types::{
    AddressScopeId, Standard,
    attribute::{Attributes, ResourceTable, table::ADDRESS_SCOPE},
    rbac_policy::ObjectType,
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Error, Refusal, Result,
    event::{self, Event},
};

pub use types::address_scope::AddressScope;

impl Resource for AddressScope {
    const TABLE: &'static ResourceTable = &ADDRESS_SCOPE;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        None
    }

    async fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::address_scopes_from_rows(conn, rows, ctx.caller.project_id.as_deref()).await?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut scopes = Vec::with_capacity(given.len());
        for given in &given {
            let scope = described(given)?;
            rows::address_scope_insert(&mut tx, &scope).await?;
            if scope.shared {
                share(&mut tx, &scope, &scope.project_id).await?;
            }
            scopes.push(scope);
        }
        let made = scopes.iter().map(|scope| Event::AddressScopeCreated(Arc::new(scope.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(scopes)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, _: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let mut scope: Self = find(ctx, &mut tx, id).await?;
        match given.bool("shared") {
            Some(false) if scope.shared => {
                let message = format!("Unable to update address scope {id} : Shared address scope can't be unshared.");
                return Err(Refusal::bad_request("AddressScopeUpdateError", message).into());
            }
            Some(true) if !scope.shared => {
                share(&mut tx, &scope, &scope.project_id).await?;
                scope.shared = true;
            }
            _ => {}
        }
        if let Some(name) = given.text("name") {
            name.clone_into(&mut scope.name);
            rows::address_scope_rename(&mut tx, &scope).await?;
        }
        let updated = Event::AddressScopeUpdated(Arc::new(scope.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(scope)
    }

    async fn delete(ctx: &Ctx, id: &str, _: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let scope: Self = find(ctx, &mut tx, id).await?;
        if rows::address_scope_is_used(&mut tx, scope.id).await? {
            let message = format!(
                "Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the \
                 address scope."
            );
            return Err(Refusal::conflict("AddressScopeInUse", message).into());
        }
        rows::address_scope_delete(&mut tx, scope.id).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::AddressScopeDeleted(Arc::new(scope))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}

fn described(given: &Attributes) -> Result<AddressScope> {
    let project_id = given.text("project_id").unwrap_or_default().to_owned();
    let ip_version = given.int("ip_version").and_then(|version| u8::try_from(version).ok());
    Ok(AddressScope {
        id: AddressScopeId::random(),
        name: given.text("name").unwrap_or_default().to_owned(),
        tenant_id: project_id.clone(),
        project_id,
        shared: given.bool("shared").unwrap_or_default(),
        ip_version: ip_version.ok_or_else(|| Error::Internal("a checked scope has no ip_version".to_owned()))?,
    })
}

async fn share(conn: &mut Conn, scope: &AddressScope, project_id: &str) -> Result<()> {
    Ok(rbac_policy::share_with_everyone(conn, ObjectType::AddressScope, scope.id.0, project_id).await?)
}
