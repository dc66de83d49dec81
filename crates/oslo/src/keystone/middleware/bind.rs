//! Tokens may be bound to a login, by Kerberos for example. No login reaches us, so a token that needs one is refused.

use super::super::TokenInfo;
use super::validation::Failure;

/// How strictly the binding of tokens is taken: `enforce_token_bind`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bind {
    /// Not at all.
    Disabled,
    /// A binding of a known kind must hold.
    #[default]
    Permissive,
    /// And one of another kind is refused.
    Strict,
    /// And there must be one.
    Required,
    /// And it must be of this kind.
    Named(String),
}

/// The kind of binding that is known.
const KERBEROS: &str = "kerberos";

impl Bind {
    /// The word of the configuration.
    pub fn parse(text: &str) -> Self {
        match text {
            "disabled" => Self::Disabled,
            "permissive" => Self::Permissive,
            "strict" => Self::Strict,
            "required" => Self::Required,
            other => Self::Named(other.to_owned()),
        }
    }

    pub(super) fn check(&self, token: &TokenInfo) -> Result<(), Failure> {
        let holds = match self {
            Self::Disabled => true,
            Self::Permissive => token.bind.iter().all(|(kind, _)| kind != KERBEROS),
            Self::Strict => token.bind.is_empty(),
            Self::Required | Self::Named(_) => false,
        };
        if holds {
            return Ok(());
        }
        tracing::info!("a token is bound to a login, or would have to be, and there is none (enforce_token_bind)");
        Err(Failure::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_is_as_strict_as_it_says() {
        let bound = |kind: &str| TokenInfo { bind: vec![(kind.into(), "u@X".into())], ..TokenInfo::default() };
        let (free, kerberos, other) = (TokenInfo::default(), bound("kerberos"), bound("x509"));
        for (mode, expected) in [
            ("disabled", [true, true, true]),
            ("permissive", [true, false, true]),
            ("strict", [true, false, false]),
            ("required", [false, false, false]),
            ("kerberos", [false, false, false]),
        ] {
            let found = [&free, &kerberos, &other].map(|token| Bind::parse(mode).check(token).is_ok());
            assert_eq!(found, expected, "{mode}");
        }
    }
}
