//! Routers for tests, as the server tells of them.

use rpc::l3::Router;

use super::config::Config;

/// The router of a case.
pub(super) fn router(case: &str) -> Router {
    let path = format!("{}/tests/data/l3/{case}/router.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Options that touch nothing of the machine.
pub(super) fn config() -> Config {
    Config::new("host-a", "/nonexistent/state")
}
