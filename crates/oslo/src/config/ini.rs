//! The file format: sections, assignments, continuation lines and comments, read as oslo.config's parser reads them.
//!
//! Parsing keeps every assignment with its line and decides nothing about meaning: a repeated key stays repeated.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The section in lower case, or `DEFAULT`.
    pub group: String,
    /// The key as written.
    pub key: String,
    /// The value without its quotes; continuation lines follow after a newline.
    pub value: String,
    /// Where the assignment starts.
    pub place: Place,
}

/// A line that is none of the things a file may hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}: {line:?}")]
pub struct SyntaxError {
    place: Place,
    problem: &'static str,
    line: String,
}

/// Section names are compared in lower case, all but `DEFAULT`.
pub(super) fn normalize_group(name: &str) -> String {
    if name == "DEFAULT" { name.to_owned() } else { name.to_lowercase() }
}

/// Reads the text of one file.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Assignment>, SyntaxError> {
    let mut parser = Parser { file: file.into(), group: None, pending: None, found: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        parser.line(index + 1, line.trim_end())?;
    }
    parser.flush();
    Ok(parser.found)
}

struct Parser {
    file: Arc<Path>,
    group: Option<String>,
    pending: Option<Assignment>,
    found: Vec<Assignment>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) -> Result<(), SyntaxError> {
        if line.is_empty() {
            self.flush();
            return Ok(());
        }
        if line.starts_with([' ', '\t']) {
            let Some(pending) = &mut self.pending else {
                return Err(self.error(
                    number,
                    "an indented line continues the value above it, but there is none",
                    line,
                ));
            };
            pending.value.push('\n');
            pending.value.push_str(line.trim_start());
            return Ok(());
        }
        self.flush();
        if let Some(rest) = line.strip_prefix('[') {
            self.group = Some(self.section(number, line, rest)?);
        } else if !line.starts_with(['#', ';']) {
            self.pending = Some(self.assignment(number, line)?);
        }
        Ok(())
    }

    fn section(&self, number: usize, line: &str, rest: &str) -> Result<String, SyntaxError> {
        match rest.strip_suffix(']') {
            Some("") => Err(self.error(number, "a section needs a name", line)),
            Some(name) => Ok(normalize_group(name)),
            None => Err(self.error(number, "a section must end with `]`", line)),
        }
    }

    fn assignment(&self, number: usize, line: &str) -> Result<Assignment, SyntaxError> {
        let Some((key, value)) = line.split_once(['=', ':']) else {
            return Err(self.error(number, "expected `option = value`", line));
        };
        let key = key.trim();
        if key.is_empty() {
            return Err(self.error(number, "there is no option name before the `=`", line));
        }
        let Some(group) = self.group.clone() else {
            return Err(self.error(number, "no section yet: a line such as [DEFAULT] must come first", line));
        };
        let place = Place { file: self.file.clone(), line: number };
        Ok(Assignment { group, key: key.to_owned(), value: unquote(value.trim()).to_owned(), place })
    }

    fn flush(&mut self) {
        self.found.extend(self.pending.take());
    }

    fn error(&self, number: usize, problem: &'static str, line: &str) -> SyntaxError {
        let line = line.chars().take(80).collect();
        SyntaxError { place: Place { file: self.file.clone(), line: number }, problem, line }
    }
}

/// Takes off one pair of quotes that enclose the whole text.
pub(super) fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote) {
            // A lone quote is its own end; the original makes it empty text.
            return if inner.is_empty() { "" } else { inner.strip_suffix(quote).unwrap_or(text) };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String, String, usize)>, String> {
        let found = parse(Path::new("a.conf"), text).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|a| (a.group, a.key, a.value, a.place.line)).collect())
    }

    fn values(text: &str) -> Vec<String> {
        read(text).unwrap().into_iter().map(|(_, _, value, _)| value).collect()
    }

    #[test]
    fn sections_keys_and_lines() {
        let text = "# first\n[DEFAULT]\na = 1\n\n[ML2]\n; note\nb: x=y\nc =\n[DEFAULT]\na=2\n";
        let expected =
            [("DEFAULT", "a", "1", 3), ("ml2", "b", "x=y", 7), ("ml2", "c", "", 8), ("DEFAULT", "a", "2", 10)]
                .map(|(group, key, value, line)| (group.into(), key.into(), value.into(), line));
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn an_indented_line_continues_a_value() {
        assert_eq!(values("[g]\na = x,\n   y\n\tz\nb = 1\n"), ["x,\ny\nz", "1"]);
    }

    #[test]
    fn enclosing_quotes_are_taken_off() {
        assert_eq!(values("[g]\na = \" x \"\nb = 'y'\nc = \"z'\nd = \"\ne = it's\n"), [" x ", "y", "\"z'", "", "it's"]);
    }

    #[test]
    fn carriage_returns_and_a_missing_last_newline_do_not_matter() {
        assert_eq!(values("[g]\r\na = 1\r\nb = 2"), ["1", "2"]);
    }

    #[test]
    fn lines_that_are_nothing_are_named() {
        let cases = [
            ("a = 1", "a.conf:1: no section yet: a line such as [DEFAULT] must come first: \"a = 1\""),
            ("[g", "a.conf:1: a section must end with `]`: \"[g\""),
            ("[]", "a.conf:1: a section needs a name: \"[]\""),
            ("[g]\nfoo", "a.conf:2: expected `option = value`: \"foo\""),
            ("[g]\n= x", "a.conf:2: there is no option name before the `=`: \"= x\""),
            ("[g]\n\n  x", "a.conf:3: an indented line continues the value above it, but there is none: \"  x\""),
            (
                "[g]\na=1\n# no\n  x",
                "a.conf:4: an indented line continues the value above it, but there is none: \"  x\"",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(read(text).unwrap_err(), message);
        }
    }
}
