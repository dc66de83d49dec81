//! Who this process runs as, compared with users and groups as operators write them: a name or a number.

use nix::unistd::{Group, User, getegid, geteuid};

/// Whether a user, by name or number, is the one that this process runs as.
pub fn is_ours(user: &str) -> bool {
    let own = geteuid();
    match user.parse::<u32>() {
        Ok(number) => number == own.as_raw(),
        Err(_) => User::from_uid(own).ok().flatten().is_some_and(|own| own.name == user),
    }
}

/// Whether a group, by name or number, is the one that this process runs as.
pub fn is_our_group(group: &str) -> bool {
    let own = getegid();
    match group.parse::<u32>() {
        Ok(number) => number == own.as_raw(),
        Err(_) => Group::from_gid(own).ok().flatten().is_some_and(|own| own.name == group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        let user = User::from_uid(geteuid()).unwrap().unwrap();
        assert!(is_ours(&user.name) && is_ours(&user.uid.to_string()));
        let group = Group::from_gid(getegid()).unwrap().unwrap();
        assert!(is_our_group(&group.name) && is_our_group(&group.gid.to_string()));
        assert!(!is_ours("nobody-of-that-name") && !is_our_group("4294967294"));
    }
}
