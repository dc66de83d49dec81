//! Tokens that Keystone has told us of, in the process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::super::TokenInfo;

/// Tokens are remembered by their hashes only.
pub(super) type Key = [u8; 32];

/// Tokens that are kept. They take about a kilobyte each.
const MOST: usize = 1000;

/// A bounded number of tokens, each for a while.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<Key, (Instant, Arc<TokenInfo>)>>,
}

/// The key of a token.
pub(super) fn key(token: &str) -> Key {
    Sha256::digest(token.as_bytes()).into()
}

impl Cache {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<TokenInfo>> {
        let entries = self.entries.lock();
        entries.get(key).filter(|(until, _)| Instant::now() < *until).map(|(_, info)| Arc::clone(info))
    }

    /// Keeps a token. Where there is no room, what is over goes, and then what is over soonest.
    pub(super) fn put(&self, key: Key, info: &Arc<TokenInfo>, time: Duration) {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.len() >= MOST && !entries.contains_key(&key) {
            entries.retain(|_, (until, _)| now < *until);
            if entries.len() >= MOST {
                let mut times: Vec<Instant> = entries.values().map(|(until, _)| *until).collect();
                let (_, soon, _) = times.select_nth_unstable(MOST / 10);
                let soon = *soon;
                entries.retain(|_, (until, _)| *until > soon);
            }
        }
        entries.insert(key, (now + time, Arc::clone(info)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_kept_for_their_time() {
        let (cache, info) = (Cache::default(), Arc::new(TokenInfo::default()));
        cache.put(key("a"), &info, Duration::from_secs(60));
        cache.put(key("b"), &info, Duration::ZERO);
        assert!(cache.get(&key("a")).is_some() && cache.get(&key("b")).is_none() && cache.get(&key("c")).is_none());
    }

    #[test]
    fn there_is_a_bound_and_the_newest_stay() {
        let (cache, info) = (Cache::default(), Arc::new(TokenInfo::default()));
        for number in 0..5000_u64 {
            cache.put(key(&number.to_string()), &info, Duration::from_millis(60_000 + number));
        }
        assert!(cache.entries.lock().len() <= MOST);
        for number in 4500..5000 {
            assert!(cache.get(&key(&number.to_string())).is_some(), "{number}");
        }
    }
}
