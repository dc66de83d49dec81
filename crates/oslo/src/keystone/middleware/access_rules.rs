//! Application credentials may be restricted to some requests.

use hyper::Method;

use super::super::TokenInfo;
use super::validation::Failure;

/// Refuses a request that the credential behind a token does not allow. `service` is our own type in the catalogue. A
/// request that a service makes for the user is not one that the user's rules tell of.
pub(super) fn check(
    token: &TokenInfo,
    service: Option<&str>,
    method: &Method,
    path: &str,
    by_service: bool,
) -> Result<(), Failure> {
    let Some(rules) = &token.access_rules else { return Ok(()) };
    let Some(service) = service else {
        tracing::warn!(
            "a token has access rules, which cannot be checked: set service_type = network in [keystone_authtoken]"
        );
        return Err(Failure::Invalid);
    };
    if !token.services.iter().any(|known| known == service) {
        tracing::warn!(
            "a token has access rules, and its catalogue has no service of the type that service_type in \
             [keystone_authtoken] names: {service}"
        );
        return Err(Failure::Invalid);
    }
    let allows = |rule: &super::super::token::AccessRule| {
        rule.method == method.as_str() && rule.service == service && matches(path, &rule.path)
    };
    if by_service || rules.iter().any(allows) { Ok(()) } else { Err(Failure::Invalid) }
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    /// This character.
    Literal(char),
    /// `*` or `{name}`: one segment, or part of one.
    Segment,
    /// `**`: anything, also nothing.
    Anything,
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = if let Some(end) = rest.strip_prefix('{').and_then(|rest| rest.find('}')) {
            (Piece::Segment, end + 2)
        } else if rest.starts_with("**") {
            (Piece::Anything, 2)
        } else if first == '*' {
            (Piece::Segment, 1)
        } else {
            (Piece::Literal(first), first.len_utf8())
        };
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

/// Whether a path is one that a pattern describes. It follows all ways through the pattern at once, so that no pattern
/// takes long.
fn matches(path: &str, pattern: &str) -> bool {
    let pieces = pieces(pattern);
    // `at[i]`: what was read fits the first i pieces. A segment fits while it grows, at `inside`.
    let mut at = vec![false; pieces.len() + 1];
    at[0] = true;
    skip_anything(&pieces, &mut at);
    for c in path.chars() {
        let mut next = vec![false; pieces.len() + 1];
        for (i, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Literal(wanted) => next[i + 1] |= at[i] && c == *wanted,
                Piece::Segment => next[i + 1] |= (at[i] || at[i + 1]) && c != '/',
                Piece::Anything => next[i + 1] |= at[i] || at[i + 1],
            }
        }
        at = next;
        skip_anything(&pieces, &mut at);
    }
    at[pieces.len()]
}

fn skip_anything(pieces: &[Piece], at: &mut [bool]) {
    for (i, piece) in pieces.iter().enumerate() {
        if *piece == Piece::Anything && at[i] {
            at[i + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::token::AccessRule;
    use super::*;

    #[test]
    fn patterns_are_those_of_keystone() {
        for (path, pattern, fits) in [
            ("/v2.0/networks", "/v2.0/networks", true),
            ("/v2.0/networks/", "/v2.0/networks", false),
            ("/v2.0/networks/1", "/v2.0/networks/*", true),
            ("/v2.0/networks/1/dhcp-agents", "/v2.0/networks/*", false),
            ("/v2.0/networks/", "/v2.0/networks/*", false),
            ("/v2.0/networks/1/dhcp-agents", "/v2.0/networks/{id}/dhcp-agents", true),
            ("/v2.0/networks/1/dhcp-agents", "/v2.0/networks/**", true),
            ("/v2.0/networks/", "/v2.0/networks/**", true),
            ("/v2.0/ports", "/v2.0/networks/**", false),
            ("/a/b/c", "**/c", true),
            ("/a/b", "{a", false),
            ("{a", "{a", true),
        ] {
            assert_eq!(matches(path, pattern), fits, "{path} {pattern}");
        }
        let pattern = "**a".repeat(200);
        assert!(!matches(&"a".repeat(5000).replace('\0', "b"), &format!("{pattern}b")), "and soon done");
    }

    #[test]
    fn rules_restrict_users_and_not_services() {
        let rule = AccessRule { service: "network".into(), method: "GET".into(), path: "/v2.0/ports".into() };
        let services = vec!["network".to_owned()];
        let token = TokenInfo { access_rules: Some(vec![rule]), services, ..TokenInfo::default() };
        let ask = |service, method, path, by_service| check(&token, service, &method, path, by_service).is_ok();
        assert!(ask(Some("network"), Method::GET, "/v2.0/ports", false));
        assert!(!ask(Some("network"), Method::POST, "/v2.0/ports", false));
        assert!(!ask(Some("network"), Method::GET, "/v2.0/networks", false));
        assert!(ask(Some("network"), Method::GET, "/v2.0/networks", true));
        assert!(!ask(None, Method::GET, "/v2.0/ports", false));
        assert!(!ask(Some("compute"), Method::GET, "/v2.0/ports", true));
        let free = TokenInfo::default();
        assert!(check(&free, None, &Method::PUT, "/", false).is_ok());
        let nothing = TokenInfo { access_rules: Some(Vec::new()), ..token.clone() };
        assert!(check(&nothing, Some("network"), &Method::GET, "/v2.0/ports", false).is_err());
    }
}
