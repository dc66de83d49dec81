//! What travels together does what it would do alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use isospin_db::{Database, DbError, Race, Statement, Value, schema::tables};
use sea_query::{Expr, ExprTrait, SelectStatement};
use types::PortId;

use super::cases::{network, port, standard};

/// Texts that a statement with values in it could mistake for something else.
const TEXTS: [&str; 9] =
    ["", "it's", "\\", "\\' OR 1=1 -- ", "'; DROP TABLE tags; --", "a?b", "é ☃", "line\nend;\n", "\"`$1%_"];

fn tagged(text: &str) -> SelectStatement {
    let mut select = tables::TAGS.select(&["standard_attr_id", "tag"]);
    select.and_where(Expr::col("tag").eq(text));
    select
}

pub(super) async fn answers_are_the_same_together(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let id = standard(&mut tx, "x").await;
    for text in TEXTS {
        let row = vec![id.into(), text.into()];
        tx.insert_behind(&tables::TAGS, &["standard_attr_id", "tag"], vec![row]).await.unwrap();
    }
    let now = chrono::DateTime::from_timestamp(1_795_341_297, 0).unwrap().naive_utc();
    let update = "UPDATE standardattributes SET created_at = ?, description = NULL WHERE id = ?";
    tx.execute_behind(update, vec![now.into(), id.into()]).await.unwrap();
    network(&mut tx).await;
    tx.commit().await.unwrap();

    let mut conn = database.reader().await.unwrap();
    let columns = ["id", "resource_type", "description", "revision_number", "created_at", "updated_at"];
    let mut attributes = tables::STANDARDATTRIBUTES.select(&columns);
    attributes.and_where(Expr::col("created_at").eq(Value::from(now)));
    let mut networks = tables::NETWORKS.select(&["id", "name", "admin_state_up", "mtu", "project_id"]);
    networks.and_where(Expr::col("admin_state_up").eq(true));
    let together = conn.select_all([&attributes, &networks]).await.unwrap();
    assert_eq!(together, [conn.select(&attributes).await.unwrap(), conn.select(&networks).await.unwrap()]);
    assert_eq!(together[0].len(), 1);
    assert!(!together[1].is_empty());
    for pair in TEXTS.windows(2) {
        let [one, other] = [tagged(pair[0]), tagged(pair[1])];
        let together = conn.select_all([&one, &other]).await.unwrap();
        for (rows, text) in together.iter().zip(pair) {
            let found: Vec<(i64, String)> = rows.iter().map(|r| (r.get(0).unwrap(), r.get(1).unwrap())).collect();
            assert_eq!(found, [(id, (*text).to_owned())]);
        }
    }
}

pub(super) async fn what_is_behind_is_written_in_order(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let row = || vec!["later".into()];
    let first = tx.insert_id_behind(&tables::STANDARDATTRIBUTES, &["resource_type"], row()).await.unwrap();
    let second = tx.insert_id_behind(&tables::STANDARDATTRIBUTES, &["resource_type"], row()).await.unwrap();
    let mut numbers = vec![tx.number(&first).await.unwrap(), second.get().unwrap()];
    for _ in 0..2 {
        numbers.push(tx.insert_id(&tables::STANDARDATTRIBUTES, &["resource_type"], row()).await.unwrap());
    }
    let last = tx.insert_id_behind(&tables::STANDARDATTRIBUTES, &["resource_type"], row()).await.unwrap();
    let count = "SELECT COUNT(*) FROM standardattributes WHERE resource_type = 'later'";
    assert_eq!(tx.sql(count, vec![]).await.unwrap()[0].get::<i64>(0).unwrap(), 5, "a query sees what is behind");
    tx.execute_behind("UPDATE standardattributes SET resource_type = 'late' WHERE resource_type = 'later'", vec![])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let all: Vec<i64> = numbers.into_iter().chain([last.get().unwrap()]).collect();
    assert!(all.is_sorted() && all[0] > 0, "{all:?}");
    let rows = "SELECT id FROM standardattributes WHERE resource_type = 'late' ORDER BY id";
    let rows = database.reader().await.unwrap().sql(rows, vec![]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<i64>(0).unwrap()).collect::<Vec<_>>(), all);
}

pub(super) async fn what_is_wrong_behind_shows_at_the_latest_with_the_commit(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let id = standard(&mut tx, "before").await;
    tx.commit().await.unwrap();
    let columns = ["standard_attr_id", "tag"];
    let lost = Arc::new(AtomicBool::new(false));
    let race = Race::new({
        let lost = Arc::clone(&lost);
        move || lost.store(true, Ordering::Relaxed)
    });
    for raced in [false, true] {
        let wrong = async {
            let mut tx = database.begin().await.unwrap();
            standard(&mut tx, "never").await;
            tx.insert_behind(&tables::TAGS, &columns, vec![vec![id.into(), "once".into()]]).await?;
            let again = vec![vec![id.into(), "once".into()]];
            match raced {
                false => tx.insert_behind(&tables::TAGS, &columns, again).await?,
                true => tx.insert_raced(&tables::TAGS, &columns, again, race.clone()).await?,
            }
            tx.insert_behind(&tables::TAGS, &columns, vec![vec![id.into(), "other".into()]]).await?;
            tx.commit().await
        };
        let error = wrong.await.unwrap_err();
        assert_eq!(lost.swap(false, Ordering::Relaxed), raced);
        match (error, raced) {
            (DbError::Duplicate { table, constraint }, false) => {
                assert_eq!((table.as_str(), constraint.as_str()), ("tags", "PRIMARY"));
            }
            (error, raced) => assert!(raced && error.is_retryable(), "{error:?}"),
        }
    }
    let mut tx = database.begin().await.unwrap();
    tx.insert_raced(&tables::TAGS, &columns, vec![vec![(-1).into(), "orphan".into()]], race).await.unwrap_or_else(
        |error| {
            assert!(error.is_retryable(), "SQLite writes at once: {error:?}");
        },
    );
    if let Err(error) = tx.commit().await {
        assert!(error.is_retryable(), "{error:?}");
    }
    let mut conn = database.reader().await.unwrap();
    let left = "SELECT tag FROM tags WHERE standard_attr_id IN (?, -1)";
    assert!(conn.sql(left, vec![id.into()]).await.unwrap().is_empty());
    let never = "SELECT id FROM standardattributes WHERE resource_type = 'never'";
    assert!(conn.sql(never, vec![]).await.unwrap().is_empty());
}

pub(super) async fn a_write_outdates_what_was_asked_ahead(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let network_id = network(&mut tx).await;
    let ports = || Statement::new("SELECT COUNT(*) FROM ports WHERE network_id = ?", vec![network_id.into()]);
    let name = || Statement::new("SELECT name FROM networks WHERE id = ?", vec![network_id.into()]);
    tx.ahead(vec![ports(), name()]).await.unwrap();
    port(&mut tx, PortId::random(), network_id, "fa:16:3e:00:01:01").await.unwrap();
    let count = "SELECT COUNT(*) FROM ports WHERE network_id = ?";
    assert_eq!(tx.sql(count, vec![network_id.into()]).await.unwrap()[0].get::<i64>(0).unwrap(), 1);
    tx.ahead(vec![ports(), name()]).await.unwrap();
    tx.execute("UPDATE networks SET name = 'new' WHERE id = ?", vec![network_id.into()]).await.unwrap();
    let text = "SELECT name FROM networks WHERE id = ?";
    assert_eq!(tx.sql(text, vec![network_id.into()]).await.unwrap()[0].get::<String>(0).unwrap(), "new");
}
