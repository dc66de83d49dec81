//! Recognises messages that arrive twice, as they may after a connection was lost.

use std::collections::VecDeque;

/// How many messages are remembered. Upstream remembers 16; more may be on their way when a connection breaks.
const REMEMBERED: usize = 1024;

/// The ids of the last messages.
#[derive(Debug, Default)]
pub(super) struct Duplicates(VecDeque<u128>);

impl Duplicates {
    /// Remembers an id; tells whether it was there before. Messages without id are never the same.
    pub(super) fn is_repeat(&mut self, unique_id: &str) -> bool {
        let Ok(id) = u128::from_str_radix(unique_id, 16) else { return false };
        if self.0.contains(&id) {
            return true;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(id);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_known_for_a_while() {
        let mut duplicates = Duplicates::default();
        assert!(!duplicates.is_repeat("0f") && duplicates.is_repeat("0f"));
        assert!(!duplicates.is_repeat("") && !duplicates.is_repeat(""));
        for n in 0x10..0x10 + REMEMBERED {
            assert!(!duplicates.is_repeat(&format!("{n:x}")));
        }
        assert!(!duplicates.is_repeat("0f"));
    }
}
