//! Kernel parameters of a namespace, by their path below `/proc/sys`.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Error, Namespace, Result};

/// Reads for example `net/ipv4/ip_forward`, without the final newline.
pub fn read(namespace: &Namespace, key: &str) -> Result<String> {
    let path = Path::new("/proc/sys").join(key);
    let text = namespace.run(|| fs::read_to_string(&path))?;
    text.map(|text| text.trim_end().to_owned()).map_err(|error| Error::io("read sysctl", key, &error))
}

/// Writes for example `1` to `net/ipv6/conf/ns-1234/disable_ipv6`.
pub fn write(namespace: &Namespace, key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(key);
    namespace.run(|| fs::write(&path, value))?.map_err(|error| Error::io("write sysctl", key, &error))
}

/// Reads many at once; those that this kernel does not have are left out.
pub fn read_all(namespace: &Namespace, keys: &[String]) -> Result<BTreeMap<String, String>> {
    namespace.run(|| {
        let value = |key: &String| fs::read_to_string(Path::new("/proc/sys").join(key)).ok();
        keys.iter().filter_map(|key| Some((key.clone(), value(key)?.trim_end().to_owned()))).collect()
    })
}
