//! The data layer's promises, held on every backend by the same cases.
//!
//! Each backend is one test: starting a server costs more than all the cases together.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "backends/agents.rs"]
mod agents;
#[path = "backends/cases.rs"]
mod cases;
#[path = "backends/concurrency.rs"]
mod concurrency;
#[path = "backends/flights.rs"]
mod flights;
#[path = "backends/outbox.rs"]
mod outbox;
#[path = "backends/revision.rs"]
mod revision;
#[path = "backends/schema.rs"]
mod schema;
#[path = "backends/whole.rs"]
mod whole;

use isospin_db::{Backend, Database, Settings};
use testkit::{mariadb::MariaDb, postgres::Postgres};

/// Runs everything on a server that starts out empty.
async fn run(url: &str) {
    let settings = Settings::new(url);
    let database = Database::connect(&settings).await.unwrap();
    revision::a_missing_schema_is_named(&database).await;
    revision::programs_that_upgrade_at_once_wait_for_each_other(&settings).await;
    revision::an_upgrade_happens_once(&database).await;
    revision::a_revision_is_stamped(&database).await;
    cases::values_survive(&database).await;
    cases::ids_are_given_in_order(&database).await;
    cases::duplicates_name_their_constraint(&database).await;
    cases::references_hold(&database).await;
    cases::bulk_inserts_are_split(&database).await;
    cases::a_dropped_transaction_leaves_nothing(&database).await;
    cases::a_reader_sees_one_snapshot(&database).await;
    cases::a_dropped_statement_costs_only_its_connection(&database).await;
    flights::answers_are_the_same_together(&database).await;
    flights::what_is_behind_is_written_in_order(&database).await;
    flights::what_is_wrong_behind_shows_at_the_latest_with_the_commit(&database).await;
    flights::a_write_outdates_what_was_asked_ahead(&database).await;
    whole::one_statement_tells_what_several_do(&database).await;
    whole::pages_tell_what_all_do(&database).await;
    whole::a_glance_becomes_a_snapshot(&database).await;
    agents::networks_are_given_to_agents(&database).await;
    agents::devices_are_found_and_blocked(&database).await;
    agents::tunnel_ends_are_kept(&database).await;
    outbox::events_are_kept_and_change_hands(&database).await;
    concurrency::no_increment_is_lost(&[database.clone(), Database::connect(&settings).await.unwrap()]).await;
    if database.backend() != Backend::Sqlite {
        concurrency::one_of_two_deadlocked_can_retry(&database).await;
        concurrency::a_killed_connection_is_lost_to_its_transaction_alone(&database).await;
    }
    if database.backend() == Backend::Mysql {
        schema::is_upstreams(&database).await;
    }
    revision::another_revision_is_refused(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_file() {
    let directory = tempfile::tempdir().unwrap();
    run(&format!("sqlite:///{}", directory.path().join("neutron.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    let server = MariaDb::start().unwrap();
    run(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let server = Postgres::start().unwrap();
    run(&server.url()).await;
}
