//! What is SQLite's alone: one file under several processes, private databases, and files that cannot be used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Command;

use isospin_db::{Database, DbError, Settings, migrate, schema::tables};
use tokio::task::JoinSet;

/// Names the file for a copy of this program that is to write to it.
const FILE: &str = "ISOSPIN_TEST_SQLITE_FILE";
const PROCESSES: i64 = 3;
const TASKS: i64 = 16;
const ROUNDS: i64 = 20;

async fn write(url: &str) {
    let database = Database::connect(&Settings::new(url)).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let database = database.clone();
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                let mut tx = database.begin().await.unwrap();
                let number =
                    tx.sql("SELECT revision_number FROM standardattributes WHERE id = 1", vec![]).await.unwrap();
                let number: i64 = number[0].get(0).unwrap();
                tokio::task::yield_now().await;
                let text = "UPDATE standardattributes SET revision_number = ? WHERE id = 1";
                tx.execute(text, vec![(number + 1).into()]).await.unwrap();
                tx.commit().await.unwrap();
                let mut reader = database.reader().await.unwrap();
                reader.sql("SELECT COUNT(*) FROM standardattributes", vec![]).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

/// Not a test by itself: the other processes of the next one.
#[tokio::test(flavor = "multi_thread")]
async fn writer_process() {
    if let Ok(url) = std::env::var(FILE) {
        write(&url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_file_without_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}", directory.path().join("neutron.db").display());
    let database = Database::connect(&Settings::new(&url)).await.unwrap();
    migrate::upgrade(&database).await.unwrap();
    let program = std::env::current_exe().unwrap();
    let start = || Command::new(&program).args(["--exact", "writer_process"]).env(FILE, &url).spawn().unwrap();
    let children: Vec<_> = (1..PROCESSES).map(|_| start()).collect();
    write(&url).await;
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut reader = database.reader().await.unwrap();
    let rows = reader.sql("SELECT revision_number FROM standardattributes WHERE id = 1", vec![]).await.unwrap();
    assert_eq!(rows[0].get::<i64>(0).unwrap(), PROCESSES * TASKS * ROUNDS);
}

#[tokio::test]
async fn a_private_database_is_shared_by_its_handles_alone() {
    let one = Database::connect(&Settings::new("sqlite://")).await.unwrap();
    let two = Database::connect(&Settings::new("sqlite:///:memory:")).await.unwrap();
    migrate::upgrade(&one).await.unwrap();
    let mut reader = one.clone().reader().await.unwrap();
    let mut tx = one.begin().await.unwrap();
    tx.insert_id(&tables::STANDARDATTRIBUTES, &["resource_type"], vec!["x".into()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reader.sql("SELECT id FROM standardattributes", vec![]).await.unwrap().len(), 5);
    assert_eq!(migrate::state(&two).await.unwrap(), migrate::State::Empty);
}

#[tokio::test]
async fn a_locked_file_is_waited_for_and_then_named() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:///{}", directory.path().join("neutron.db").display());
    let settings = Settings { wait: std::time::Duration::from_secs(1), ..Settings::new(url) };
    let (one, two) = (Database::connect(&settings).await.unwrap(), Database::connect(&settings).await.unwrap());
    migrate::upgrade(&one).await.unwrap();
    let held = one.begin().await.unwrap();
    assert!(matches!(two.begin().await.unwrap_err(), DbError::Busy { .. }), "held by another handle");
    assert!(matches!(one.begin().await.unwrap_err(), DbError::Busy { .. }), "held by this handle");
    two.reader().await.unwrap().sql("SELECT COUNT(*) FROM networks", vec![]).await.unwrap();
    drop(held);
    two.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn unusable_urls_say_why() {
    let refused = async |url: &str| Database::connect(&Settings::new(url)).await.unwrap_err();
    assert!(refused("oracle://x/y").await.to_string().contains("'oracle' is not a database"));
    assert!(refused("sqlite:neutron.db").await.to_string().contains("four slashes"));
    let error = refused("sqlite:////nonexistent/directory/neutron.db").await;
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(matches!(error, DbError::Unavailable { .. }) && source.contains("/nonexistent/directory"), "{source}");
    assert!(matches!(refused("mysql+pymysql://u:p@127.0.0.1:1/neutron").await, DbError::Unavailable { .. }));
    assert!(matches!(refused("postgresql://u:p@127.0.0.1:1/neutron").await, DbError::Unavailable { .. }));
}
