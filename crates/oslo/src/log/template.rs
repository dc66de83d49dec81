//! Python's `%(name)s` templates, as far as oslo.log's options use them.
//!
//! A template is taken apart once, when the configuration is read; a name that no line can fill is refused there.

use std::fmt::{self, Write};

/// A text with places to fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place { name: &'static str, width: usize, left: bool, zeros: bool },
}

/// Every name that a template may use.
const NAMES: [&str; 41] = [
    "asctime",
    "auth_token",
    "color",
    "created",
    "domain",
    "error_summary",
    "filename",
    "funcName",
    "global_request_id",
    "hostname",
    "instance",
    "isotime",
    "levelname",
    "levelno",
    "lineno",
    "message",
    "module",
    "msecs",
    "name",
    "pathname",
    "process",
    "processName",
    "project",
    "project_domain",
    "project_id",
    "project_name",
    "request_id",
    "reset_color",
    "resource",
    "resource_uuid",
    "system_scope",
    "tenant",
    "thread",
    "threadName",
    "user",
    "user_domain",
    "user_id",
    "user_identity",
    "user_name",
    "uuid",
    "version",
];

impl Template {
    /// Takes a text apart.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            push_text(&mut pieces, &rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                push_text(&mut pieces, "%");
                rest = after;
                continue;
            }
            let (piece, after) = place(rest)?;
            pieces.push(piece);
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces))
    }

    /// Writes the text, with each place filled by `fill`.
    pub fn render(&self, line: &mut String, mut fill: impl FnMut(&mut String, &str) -> fmt::Result) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Place { name, width: 0, .. } => fill(line, name)?,
                Piece::Place { name, width, left, zeros } => {
                    let mut value = String::new();
                    fill(&mut value, name)?;
                    match (left, zeros) {
                        (true, _) => write!(line, "{value:<width$}")?,
                        (false, true) => write!(line, "{value:0>width$}")?,
                        (false, false) => write!(line, "{value:>width$}")?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// `(name)03d` and what follows it.
fn place(text: &str) -> Result<(Piece, &str), String> {
    let inner = text.strip_prefix('(').ok_or("a % stands for itself only as %%")?;
    let (name, rest) = inner.split_once(')').ok_or("a %( is never closed")?;
    let known = NAMES.iter().find(|known| **known == name);
    let name = known.ok_or_else(|| format!("lines have no {name}"))?;
    let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(|| format!("%({name}) lacks its s"))?;
    let (flags, rest) = rest.split_at(end);
    let left = flags.contains('-');
    let digits = flags.trim_start_matches(['-', '+', ' ', '#']);
    let digits = digits.split('.').next().unwrap_or_default();
    let width = match digits {
        "" => 0,
        digits => digits.parse().map_err(|_| format!("%({name}){flags} is no format"))?,
    };
    let zeros = digits.starts_with('0');
    let kind_length = rest.chars().next().map_or(0, char::len_utf8);
    Ok((Piece::Place { name, width, left, zeros }, &rest[kind_length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let mut line = String::new();
        let fill = |line: &mut String, name: &str| write!(line, "{}", if name == "msecs" { "7" } else { name });
        Template::parse(text).unwrap().render(&mut line, fill).unwrap();
        line
    }

    #[test]
    fn places_are_filled() {
        assert_eq!(rendered("a %(message)s b"), "a message b");
        assert_eq!(
            rendered("%(asctime)s.%(msecs)03d [%(levelname)-10s|%(name)6s] 100%%"),
            "asctime.007 [levelname |  name] 100%"
        );
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        assert_eq!(Template::parse("%(mesage)s").unwrap_err(), "lines have no mesage");
        assert_eq!(Template::parse("50%").unwrap_err(), "a % stands for itself only as %%");
        assert_eq!(Template::parse("%(message").unwrap_err(), "a %( is never closed");
        assert_eq!(Template::parse("%(message)").unwrap_err(), "%(message) lacks its s");
    }

    #[test]
    fn the_names_are_sorted_and_told_once() {
        assert!(NAMES.is_sorted_by(|one, other| one < other));
    }
}
