//! What is still to be told, on each backend.

use isospin_db::{
    Database,
    outbox::{self, Message},
};

pub(super) async fn events_are_kept_and_change_hands(database: &Database) {
    outbox::ensure(database).await.unwrap();
    outbox::ensure(database).await.unwrap();
    let mut tx = database.begin().await.unwrap();
    let message = |audience: &str| Message {
        audience: audience.to_owned(),
        context: "{}".to_owned(),
        // More than a short text holds.
        body: "ü".repeat(100_000),
    };
    let mut ids = Vec::new();
    for audience in ["agents", "nova", "agents"] {
        ids.push(outbox::insert(&mut tx, "first", 1_000, &message(audience)).await.unwrap());
    }
    tx.commit().await.unwrap();
    let ids: Vec<i64> = ids.iter().map(|id| id.get().unwrap()).collect();
    assert!(ids.is_sorted());
    let mut tx = database.begin().await.unwrap();
    let found = outbox::abandoned(&mut tx, "", &["agents"], 1_001, 10).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert!(outbox::claim(&mut tx, &found[0], "second", 2_000).await.unwrap());
    assert!(!outbox::claim(&mut tx, &found[0], "third", 2_000).await.unwrap());
    // The former owner has lost the one and keeps the others.
    outbox::renew(&mut tx, "first", &ids, 3_000).await.unwrap();
    outbox::remove(&mut tx, "first", &ids).await.unwrap();
    assert_eq!(outbox::count(&mut tx).await.unwrap(), 1);
    assert_eq!(outbox::messages(&mut tx, &ids).await.unwrap().into_values().collect::<Vec<_>>(), [message("agents")]);
    outbox::release(&mut tx, "second", 0).await.unwrap();
    assert_eq!(outbox::purge(&mut tx, 1).await.unwrap(), 1);
    tx.commit().await.unwrap();
}
