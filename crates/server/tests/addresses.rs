//! Address management on real databases: no address twice, none lost, none kept back, at a cost that does not grow.
//!
//! Every case runs on SQLite, MariaDB and PostgreSQL, with creators in one process and in several.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, unreachable_pub, missing_docs)]

#[path = "addresses/cases.rs"]
mod cases;
#[path = "addresses/operations.rs"]
mod operations;
#[path = "addresses/world.rs"]
mod world;

use db::{Backend, Database};
use testkit::{mariadb::MariaDb, postgres::Postgres};
use world::World;

async fn run(url: &str) {
    let world = World::new(url).await;
    cases::requests_and_releases(&world).await;
    cases::updates(&world).await;
    cases::a_subnet_that_upstream_made(&world).await;
    cases::automatic_addresses_come_with_the_subnet(&world).await;
    cases::bulk(&world).await;
    cases::creators_at_once_never_share_an_address(&world, 64, 5).await;
    cases::a_pool_gives_exactly_its_size(&world, 80).await;
    cases::processes_never_share_an_address(&world, 4, 16, 5).await;
    operations::ports_at_once_are_all_different(&world, 64, 3).await;
    operations::a_quota_is_exact(&world, 64, 20).await;
    cases::macs_are_unique(&world).await;
    cases::cost_does_not_grow(&world, if world.backend() == Backend::Sqlite { 50_000 } else { 4_000 }).await;
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

/// Not a test of its own: what each of the processes of [`cases::processes_never_share_an_address`] runs.
#[tokio::test(flavor = "multi_thread")]
async fn process() {
    let Ok(work) = std::env::var(cases::WORK) else { return };
    cases::work(&work).await;
}

async fn connect(url: &str) -> Database {
    Database::connect(&db::Settings::new(url)).await.unwrap()
}
