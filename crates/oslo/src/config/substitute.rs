//! `$option`, `${option}` and `${group.option}` in a value stand for the text of that option; `$$` and `\$` for a dollar.

/// How deep values may refer to values before it must be a circle.
const MAX_DEPTH: usize = 16;

/// Gives the text of an option of a group, `None` when there is no such option.
type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// Replaces every reference in the text of an option of `group`. A name without a group is looked for in `group` first,
/// then in `DEFAULT`. A dollar that starts no name stays.
pub(super) fn substitute(text: &str, group: &str, lookup: Lookup<'_>) -> Result<String, String> {
    expand(text, group, lookup, 0)
}

fn expand(text: &str, group: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, String> {
    if !text.contains('$') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let before = &rest[..dollar];
        let after = &rest[dollar + 1..];
        if let Some(escaped) = before.strip_suffix('\\') {
            out.push_str(escaped);
            out.push('$');
            rest = after;
            continue;
        }
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            out.push_str(&resolve(name, group, lookup, depth)?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The name right after a dollar, and the text after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        let (name, after) = braced.split_once('}')?;
        return (name_length(name) == name.len() && !name.is_empty()).then_some((name, after));
    }
    let length = name_length(text);
    (length > 0).then(|| text.split_at(length))
}

fn name_length(text: &str) -> usize {
    let is_start = |c: char| c == '_' || c.is_ascii_alphabetic();
    if !text.starts_with(is_start) {
        return 0;
    }
    text.find(|c: char| !(is_start(c) || c == '.' || c.is_ascii_digit())).unwrap_or(text.len())
}

fn resolve(name: &str, group: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, String> {
    if depth == MAX_DEPTH {
        return Err(format!("${name} leads back to itself"));
    }
    let (of_group, option) = match name.split_once('.') {
        Some((of_group, option)) => (super::ini::normalize_group(of_group), option),
        None => (group.to_owned(), name),
    };
    for place in [of_group.as_str(), "DEFAULT"] {
        if let Some(text) = lookup(place, option) {
            return expand(&text, place, lookup, depth + 1);
        }
    }
    Err(format!("${name} names no option; a dollar that is meant as such is written $$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, group: &str) -> Result<String, String> {
        substitute(text, group, &|group, name| {
            let text = match (group, name) {
                ("DEFAULT", "b") => "B",
                ("DEFAULT", "only") => "O",
                ("DEFAULT", "path") => "/var/$b",
                ("DEFAULT", "circle") => "$circle",
                ("g", "b") => "GB",
                _ => return None,
            };
            Some(text.to_owned())
        })
    }

    #[test]
    fn references_are_replaced() {
        let cases = [
            ("$b", "DEFAULT", "B"),
            ("${b}x", "DEFAULT", "Bx"),
            ("$b/$b", "DEFAULT", "B/B"),
            ("$$b", "DEFAULT", "$b"),
            ("\\$b", "DEFAULT", "$b"),
            ("$1 $ ${} ${1", "DEFAULT", "$1 $ ${} ${1"),
            ("$b", "g", "GB"),
            ("$only", "g", "O"),
            ("$g.b ${G.b}", "DEFAULT", "GB GB"),
            ("${DEFAULT.b}", "g", "B"),
            ("$path", "g", "/var/B"),
            ("ä$b", "DEFAULT", "äB"),
        ];
        for (text, group, expected) in cases {
            assert_eq!(expand(text, group).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        let missing = "$nope names no option; a dollar that is meant as such is written $$";
        assert_eq!(expand("x$nope", "DEFAULT"), Err(missing.into()));
        assert_eq!(expand("$circle", "DEFAULT"), Err("$circle leads back to itself".into()));
    }
}
