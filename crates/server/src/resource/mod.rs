//! The resources. Each is one file: how it is read, and its operations as functions read from top to bottom.
//!
//! The pattern every resource follows is described in `docs/adding-a-resource.md`; [`network`] is the model.

pub mod address_group;
pub mod address_scope;
pub mod agent;
pub mod default_security_group_rule;
pub mod default_statefulness;
pub mod floatingip;
pub mod network;
pub mod network_segment;
pub mod port;
pub mod port_binding;
pub mod rbac_policy;
pub mod router;
pub mod router_port;
pub mod security_group;
pub mod security_group_rule;
pub mod subnet;
pub mod subnet_pool;

#[cfg(test)]
mod orphans;

use std::future::Future;

use db::{
    Conn, Row,
    list::{Items, ListQuery, Listing},
};
use serde::Serialize;
use serde_json::{Map, Value};
use types::{
    Standard,
    attribute::{Attributes, ResourceTable},
};

use crate::{Ctx, Refusal, Result};

/// What the HTTP layer needs to know of a resource.
pub trait Resource: Serialize + Send + Sync + Sized + 'static {
    /// Its attributes.
    const TABLE: &'static ResourceTable;
    /// How it is listed.
    const LISTING: &'static Listing;

    /// Its id.
    fn id(&self) -> String;

    /// Description, tags, revision, timestamps; none for agents.
    fn standard(&self) -> Option<&Standard>;

    /// Attributes that are not shown but that rules may ask for.
    const UNSHOWN: &'static [&'static str] = &[];

    /// Adds those.
    fn unshown(&self, _: &mut Map<String, Value>) {}

    /// Makes what a list of them shows that is only made when somebody looks.
    fn prepare(_: &Ctx, _: &ListQuery) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Leaves to a query what its caller may see.
    fn restrict(ctx: &Ctx, query: &mut ListQuery) {
        query.viewer = ctx.viewer();
    }

    /// Whether [`Self::page`] reads a single one by one statement, and begins anew where that does not do.
    const AT_A_GLANCE: bool = false;

    /// The one with this id that the caller may see.
    fn one(ctx: &Ctx, conn: &mut Conn, id: &str) -> impl Future<Output = Result<Option<Self>>> + Send {
        async move {
            let mut query = ListQuery { limit: Some(1), ..ListQuery::by_id(id) };
            Self::restrict(ctx, &mut query);
            Ok(Self::page(ctx, conn, &query).await?.make()?.pop())
        }
    }

    /// A page of them, whole.
    fn page(ctx: &Ctx, conn: &mut Conn, query: &ListQuery) -> impl Future<Output = Result<Items<Self>>> + Send {
        async move {
            let page = Self::LISTING.page(conn, query).await?;
            Ok(Items::made(Self::load(ctx, conn, page.rows).await?, page.last))
        }
    }

    /// Puts filters by attributes that no column holds in terms of those that some does.
    fn refine(_: &Ctx, _: &mut ListQuery) -> Result<()> {
        Ok(())
    }

    /// Whole resources from the rows that [`Self::LISTING`] selected, in their order, with their children loaded by a
    /// number of queries that does not depend on how many rows there are.
    fn load(ctx: &Ctx, conn: &mut Conn, rows: Vec<Row>) -> impl Future<Output = Result<Vec<Self>>> + Send;

    /// Leaves out what a list does not tell of each, though its own answer does.
    fn in_list(&mut self) {}

    /// Creates all of them or none.
    fn create(ctx: &Ctx, given: Vec<Attributes>) -> impl Future<Output = Result<Vec<Self>>> + Send;

    /// Changes one.
    fn update(
        ctx: &Ctx,
        id: &str,
        given: Attributes,
        condition: Condition,
    ) -> impl Future<Output = Result<Self>> + Send;

    /// Deletes one.
    fn delete(ctx: &Ctx, id: &str, condition: Condition) -> impl Future<Output = Result<()>> + Send;
}

/// `If-Match: revision_number=N`: the change is wanted only at this revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Condition(pub Option<i64>);

impl Condition {
    /// 412 when the resource has moved on.
    pub fn check(self, standard: &Standard) -> Result<()> {
        match self.0 {
            Some(wanted) if wanted != standard.revision_number => Err(Refusal::new(
                axum::http::StatusCode::PRECONDITION_FAILED,
                "RevisionNumberConstraintFailed",
                format!("Constrained to {wanted}, but current revision is {}", standard.revision_number),
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// The resource with this id, or 404, also where the caller may not see it.
pub async fn find<R: Resource>(ctx: &Ctx, conn: &mut Conn, id: &str) -> Result<R> {
    R::one(ctx, conn, id).await?.ok_or_else(|| Refusal::not_found(R::TABLE.noun, id).into())
}

/// The same without regard to what the caller may see.
pub async fn find_any<R: Resource>(ctx: &Ctx, conn: &mut Conn, id: &str) -> Result<R> {
    let page = R::LISTING.page(conn, &ListQuery::by_id(id)).await?;
    let found = R::load(ctx, conn, page.rows).await?.into_iter().next();
    found.ok_or_else(|| Refusal::not_found(R::TABLE.noun, id).into())
}

/// All resources that match, without regard to what the caller may see.
pub async fn find_all<R: Resource>(ctx: &Ctx, conn: &mut Conn, query: &ListQuery) -> Result<Vec<R>> {
    let page = R::LISTING.page(conn, query).await?;
    R::load(ctx, conn, page.rows).await
}
