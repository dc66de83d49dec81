//! The one test every driver passes.

use crate::{Desired, Driver, Reconciler, Settings, plan};

/// Applies the wanted state once, reads again and plans again: the second plan must be empty. The error says what was
/// left, or what failed.
pub async fn settles<D: Driver>(driver: D, desired: Desired<D::Key, D::Wanted>) -> Result<D, String> {
    let mut reconciler = Reconciler::new(driver, Settings::default());
    for (key, wanted) in desired.objects() {
        reconciler.set(key.clone(), wanted.clone());
    }
    if desired.is_complete() {
        reconciler.complete();
    }
    let pass = reconciler.pass().await.map_err(|error| format!("read: {error}"))?;
    if !pass.failed.is_empty() {
        return Err(format!("failed: {:?}", pass.failed));
    }
    let driver = reconciler.into_driver();
    let actual = driver.read().await.map_err(|error| format!("read again: {error}"))?;
    let rest = plan(&driver, &desired, &actual);
    if rest.is_empty() {
        return Ok(driver);
    }
    let describe = |key: &D::Key| format!("{key:?}: wanted {:?}, is {:?}", desired.objects().get(key), actual.get(key));
    let left = rest.create.iter().chain(&rest.update).chain(&rest.remove).map(describe).collect::<Vec<_>>();
    Err(format!("not settled after one pass: {}", left.join("; ")))
}
