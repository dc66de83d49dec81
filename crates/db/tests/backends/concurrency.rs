//! Many writers at once, and connections that end under one.

use std::time::Duration;

use isospin_db::{Backend, Conn, Database, DbError};
use tokio::{sync::Barrier, task::JoinSet};

use super::cases::standard;

const TASKS: usize = 64;
const ROUNDS: usize = 10;

/// 64 tasks over several handles read a number, then write one more; retryable errors alone are retried.
pub(super) async fn no_increment_is_lost(databases: &[Database]) {
    let mut tx = databases[0].begin().await.unwrap();
    let id = standard(&mut tx, "counter").await;
    tx.commit().await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let database = databases[task % databases.len()].clone();
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                while let Err(error) = increment(&database, id).await {
                    assert!(error.is_retryable(), "{error:?}");
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let mut reader = databases[0].reader().await.unwrap();
    let rows =
        reader.sql("SELECT revision_number FROM standardattributes WHERE id = ?", vec![id.into()]).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), (TASKS * ROUNDS) as i64);
}

async fn increment(database: &Database, id: i64) -> Result<(), DbError> {
    let mut tx = database.begin().await?;
    let lock = if tx.backend() == Backend::Sqlite { "" } else { " FOR UPDATE" };
    let text = format!("SELECT revision_number FROM standardattributes WHERE id = ?{lock}");
    let number: i64 = tx.sql(&text, vec![id.into()]).await?[0].get(0)?;
    tokio::task::yield_now().await;
    let text = "UPDATE standardattributes SET revision_number = ? WHERE id = ?";
    assert_eq!(tx.execute(text, vec![(number + 1).into(), id.into()]).await?, 1);
    tx.commit().await
}

pub(super) async fn one_of_two_deadlocked_can_retry(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let (one, two) = (standard(&mut tx, "deadlock").await, standard(&mut tx, "deadlock").await);
    tx.commit().await.unwrap();
    let barrier = Barrier::new(2);
    let cross = async |first: i64, second: i64| {
        let mut tx = database.begin().await?;
        touch(&mut tx, first).await?;
        barrier.wait().await;
        touch(&mut tx, second).await?;
        tx.commit().await
    };
    let (a, b) = tokio::join!(cross(one, two), cross(two, one));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    assert!(a.and(b).unwrap_err().is_retryable());
}

async fn touch(conn: &mut Conn, id: i64) -> Result<u64, DbError> {
    conn.execute("UPDATE standardattributes SET revision_number = 7 WHERE id = ?", vec![id.into()]).await
}

pub(super) async fn a_killed_connection_is_lost_to_its_transaction_alone(database: &Database) {
    let mut victim = database.begin().await.unwrap();
    let (own, kill) = match database.backend() {
        Backend::Mysql => ("SELECT CONNECTION_ID()", "KILL "),
        _ => ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend("),
    };
    let id: i64 = victim.sql(own, vec![]).await.unwrap()[0].get(0).unwrap();
    let end = if database.backend() == Backend::Mysql { "" } else { ")::text" };
    database.reader().await.unwrap().sql(&format!("{kill}{id}{end}"), vec![]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = victim.sql("SELECT 1", vec![]).await.unwrap_err();
    assert!(matches!(error, DbError::Lost { .. }) && error.is_retryable(), "{error:?}");
    drop(victim);
    for _ in 0..5 {
        database.reader().await.unwrap().sql("SELECT 1", vec![]).await.unwrap();
    }
}
