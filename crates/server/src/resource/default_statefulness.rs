//! Whether the security groups of a project are stateful where their creation does not say.

use std::sync::Arc;

use db::{Conn, Row, default_statefulness as rows, list::Listing};
use types::{
    DefaultStatefulnessId, Standard,
    attribute::{Attributes, ResourceTable, table::DEFAULT_STATEFULNESS},
};

use super::{Condition, Resource, find};
use crate::{
    Ctx, Refusal, Result,
    event::{self, Event},
};

pub use types::default_statefulness::DefaultStatefulness;

impl Resource for DefaultStatefulness {
    const TABLE: &'static ResourceTable = &DEFAULT_STATEFULNESS;
    const LISTING: &'static Listing = &rows::LISTING;

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn standard(&self) -> Option<&Standard> {
        None
    }

    async fn load(_: &Ctx, _: &mut Conn, rows: Vec<Row>) -> Result<Vec<Self>> {
        Ok(rows::default_statefulness_from_rows(&rows)?)
    }

    async fn create(ctx: &Ctx, given: Vec<Attributes>) -> Result<Vec<Self>> {
        let mut tx = ctx.db().begin().await?;
        let mut choices = Vec::with_capacity(given.len());
        for given in &given {
            let project_id = given.text("project_id").map(str::to_owned);
            if rows::default_statefulness_exists(&mut tx, project_id.as_deref()).await? {
                let project = project_id.as_deref().unwrap_or("system-wide");
                let message =
                    format!("A security group default statefulness setting already exists for project '{project}'.");
                return Err(Refusal::conflict("SecurityGroupDefaultStatefulnessAlreadyExists", message).into());
            }
            let stateful = given.bool("stateful").unwrap_or(true);
            let choice = DefaultStatefulness { id: DefaultStatefulnessId::random(), project_id, stateful };
            rows::default_statefulness_insert(&mut tx, &choice).await?;
            choices.push(choice);
        }
        let made = choices.iter().map(|choice| Event::DefaultStatefulnessCreated(Arc::new(choice.clone()))).collect();
        let recorded = event::record(ctx, &mut tx, made).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(choices)
    }

    async fn update(ctx: &Ctx, id: &str, given: Attributes, _: Condition) -> Result<Self> {
        let mut tx = ctx.db().begin().await?;
        let mut choice: Self = find(ctx, &mut tx, id).await?;
        choice.stateful = given.bool("stateful").unwrap_or(choice.stateful);
        rows::default_statefulness_update(&mut tx, &choice).await?;
        let updated = Event::DefaultStatefulnessUpdated(Arc::new(choice.clone()));
        let recorded = event::record(ctx, &mut tx, vec![updated]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(choice)
    }

    async fn delete(ctx: &Ctx, id: &str, _: Condition) -> Result<()> {
        let mut tx = ctx.db().begin().await?;
        let choice: Self = find(ctx, &mut tx, id).await?;
        rows::default_statefulness_delete(&mut tx, &choice).await?;
        let recorded = event::record(ctx, &mut tx, vec![Event::DefaultStatefulnessDeleted(Arc::new(choice))]).await?;
        tx.commit().await?;
        recorded.emit(ctx).await;
        Ok(())
    }
}
