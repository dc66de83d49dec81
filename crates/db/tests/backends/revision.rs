//! The revision of the schema: made once, kept, and never touched when it is somebody else's.

use isospin_db::{
    Database, DbError, Settings,
    migrate::{self, State, Target},
};

pub(super) async fn a_missing_schema_is_named(database: &Database) {
    assert_eq!(migrate::state(database).await.unwrap(), State::Empty);
    assert!(migrate::current(database).await.unwrap().is_empty());
    let error = migrate::check(database).await.unwrap_err().to_string();
    assert!(error.contains("empty") && error.contains("db upgrade head"), "{error}");
}

pub(super) async fn programs_that_upgrade_at_once_wait_for_each_other(settings: &Settings) {
    let (one, two) = (Database::connect(settings).await.unwrap(), Database::connect(settings).await.unwrap());
    let (one, two) = tokio::join!(migrate::upgrade(&one), migrate::upgrade(&two));
    assert_ne!(one.unwrap(), two.unwrap(), "one of them made the schema");
}

pub(super) async fn an_upgrade_happens_once(database: &Database) {
    let before = rules(database).await;
    assert!(!migrate::upgrade(database).await.unwrap());
    assert_eq!(rules(database).await, before);
    assert_eq!(before.len(), 4);
    migrate::check(database).await.unwrap();
    let current = migrate::current(database).await.unwrap();
    assert_eq!(current, migrate::HEADS);
}

pub(super) async fn another_revision_is_refused(database: &Database) {
    set_revisions(database, "deadbeef0001").await;
    let error = migrate::upgrade(database).await.unwrap_err();
    assert!(matches!(error, DbError::Revision(_)));
    let text = error.to_string();
    assert!(text.contains("deadbeef0001") && text.contains(migrate::HEADS[0]), "{text}");
    assert_eq!(migrate::check(database).await.unwrap_err().to_string(), text);
    assert_eq!(migrate::current(database).await.unwrap(), ["deadbeef0001"]);
    assert_eq!(rules(database).await.len(), 4);

    let mut tx = database.begin().await.unwrap();
    tx.execute("DELETE FROM alembic_version", vec![]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(migrate::state(database).await.unwrap(), State::Other(vec![]));
    assert!(matches!(migrate::upgrade(database).await, Err(DbError::Revision(_))));
}

/// What is written down is what is shown, and nothing else changes.
pub(super) async fn a_revision_is_stamped(database: &Database) {
    let revision = |id| Target::Revision(migrate::revision(id).unwrap());
    let current = async || migrate::current(database).await.unwrap();
    migrate::stamp(database, revision("b1bca967e19d")).await.unwrap();
    assert_eq!(current().await, [migrate::HEADS[0], "b1bca967e19d"], "the other branch is as it was");
    let text = migrate::upgrade(database).await.unwrap_err().to_string();
    assert!(text.contains("b1bca967e19d (2026.1)") && text.contains("c7f8d9e0f1a2 (2026.2)"), "{text}");
    migrate::stamp(database, Target::Base).await.unwrap();
    assert!(current().await.is_empty());
    migrate::stamp(database, Target::Heads).await.unwrap();
    assert_eq!(migrate::state(database).await.unwrap(), State::Head);
    assert_eq!(rules(database).await.len(), 4);
}

async fn set_revisions(database: &Database, revision: &str) {
    let mut tx = database.begin().await.unwrap();
    tx.execute("DELETE FROM alembic_version WHERE version_num = ?", vec![migrate::HEADS[1].into()]).await.unwrap();
    tx.execute("UPDATE alembic_version SET version_num = ?", vec![revision.into()]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn rules(database: &Database) -> Vec<String> {
    let mut reader = database.reader().await.unwrap();
    let text = "SELECT r.id FROM securitygroupdefaultrules r \
                JOIN standardattributes s ON s.id = r.standard_attr_id ORDER BY r.id";
    reader.sql(text, vec![]).await.unwrap().iter().map(|row| row.get(0).unwrap()).collect()
}
