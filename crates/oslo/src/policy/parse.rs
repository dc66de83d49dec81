//! From a rule's text to its tree.

use serde_json::Value;

use super::{
    Check, ParseError,
    check::{Field, Subject},
    text::Template,
};

/// How deep parentheses and negations may stand in each other.
const DEPTH: usize = 100;

/// Converts the value of a `field:` check as the attribute itself would be: resource, attribute, text.
pub type FieldValue = fn(&str, &str, &str) -> Value;

/// A rule in either of its forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Language {
    /// The language proper.
    Text(String),
    /// The older form: one of the lists must hold, each with all of its checks.
    Lists(Vec<Vec<String>>),
}

/// Parses a rule.
pub fn parse(rule: &Language, convert: FieldValue) -> Result<Check, ParseError> {
    match rule {
        Language::Text(text) => parse_text(text, convert),
        Language::Lists(lists) => parse_lists(lists, convert),
    }
}

fn parse_text(text: &str, convert: FieldValue) -> Result<Check, ParseError> {
    if text.is_empty() {
        return Ok(Check::Always);
    }
    let tokens = tokens(text);
    let end = text.chars().count() + 1;
    let mut reader = Reader { tokens: &tokens, at: 0, end, convert };
    let check = reader.any(DEPTH)?;
    match reader.peek() {
        None => Ok(check),
        Some((position, Token::Close)) => Err(error(*position, "a `)` without `(`")),
        Some((position, _)) => Err(error(*position, "`and` or `or` is missing before this")),
    }
}

fn parse_lists(lists: &[Vec<String>], convert: FieldValue) -> Result<Check, ParseError> {
    if lists.is_empty() {
        return Ok(Check::Always);
    }
    let mut any = Vec::new();
    for list in lists.iter().filter(|list| !list.is_empty()) {
        let mut all = list.iter().map(|text| check(1, text, convert)).collect::<Result<Vec<_>, _>>()?;
        any.push(if all.len() == 1 { all.remove(0) } else { Check::All(all) });
    }
    Ok(match any.len() {
        0 => Check::Never,
        1 => any.remove(0),
        _ => Check::Any(any),
    })
}

fn error(position: usize, reason: impl Into<String>) -> ParseError {
    ParseError { position, reason: reason.into() }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(&'a str),
}

/// Words part at blanks; parentheses count only at their beginning and end, since `%(name)s` has some inside.
fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let mut position = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let blank = rest.len() - rest.trim_start().len();
        position += rest[..blank].chars().count();
        rest = &rest[blank..];
        let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
        rest = &rest[word.len()..];
        let start = position;
        position += word.chars().count();
        let inner = word.trim_start_matches('(');
        let opened = word.len() - inner.len();
        tokens.extend((0..opened).map(|i| (start + i, Token::Open)));
        let bare = inner.trim_end_matches(')');
        let at = start + opened;
        match bare.to_ascii_lowercase().as_str() {
            "" => {}
            "and" => tokens.push((at, Token::And)),
            "or" => tokens.push((at, Token::Or)),
            "not" => tokens.push((at, Token::Not)),
            _ => tokens.push((at, Token::Check(bare))),
        }
        let closed = inner.len() - bare.len();
        tokens.extend((0..closed).map(|i| (position - closed + i, Token::Close)));
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [(usize, Token<'a>)],
    at: usize,
    end: usize,
    convert: FieldValue,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a (usize, Token<'a>)> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, token: &Token<'_>) -> bool {
        let there = self.peek().is_some_and(|(_, next)| next == token);
        self.at += usize::from(there);
        there
    }

    /// `… or …`
    fn any(&mut self, depth: usize) -> Result<Check, ParseError> {
        let mut checks = vec![self.all(depth)?];
        while self.take(&Token::Or) {
            checks.push(self.all(depth)?);
        }
        Ok(if checks.len() == 1 { checks.remove(0) } else { Check::Any(checks) })
    }

    /// `… and …`
    fn all(&mut self, depth: usize) -> Result<Check, ParseError> {
        let mut checks = vec![self.one(depth)?];
        while self.take(&Token::And) {
            checks.push(self.one(depth)?);
        }
        Ok(if checks.len() == 1 { checks.remove(0) } else { Check::All(checks) })
    }

    fn one(&mut self, depth: usize) -> Result<Check, ParseError> {
        let Some((position, token)) = self.peek() else { return Err(error(self.end, "a check is missing")) };
        if depth == 0 {
            return Err(error(*position, format!("more than {DEPTH} parentheses in each other")));
        }
        self.at += 1;
        match token {
            Token::Not => Ok(Check::Not(Box::new(self.one(depth - 1)?))),
            Token::Open => {
                let inner = self.any(depth - 1)?;
                if self.take(&Token::Close) {
                    return Ok(inner);
                }
                match self.peek() {
                    Some((next, _)) => Err(error(*next, "`and`, `or` or `)` is missing before this")),
                    None => Err(error(*position, "a `(` without `)`")),
                }
            }
            Token::Check(text) => check(*position, text, self.convert),
            Token::Close | Token::And | Token::Or => Err(error(*position, "a check is missing before this")),
        }
    }
}

/// A single check.
fn check(position: usize, text: &str, convert: FieldValue) -> Result<Check, ParseError> {
    match text {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let wrong = |reason: String| error(position, reason);
    let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| !kind.is_empty()) else {
        return Err(wrong(format!("`{text}` is no check")));
    };
    match kind {
        "http" | "https" => Err(wrong(format!(
            "`{text}` would ask another server, which this server does not do; write a rule instead"
        ))),
        "rule" => Ok(Check::Rule { name: rest.to_owned(), id: None }),
        "role" => Template::new(rest).map(Check::Role).map_err(wrong),
        "field" => field(rest, convert).map(Check::Field).map_err(wrong),
        "project_id" | "tenant_id" => {
            let template = Template::new(rest).map_err(wrong)?;
            let Some(attribute) = template.attribute() else {
                return Err(wrong(format!("`{kind}:` must be followed by `%(<attribute>)s`, not by `{rest}`")));
            };
            Ok(Check::Owner { attribute: attribute.to_owned() })
        }
        _ => {
            let text = Template::new(rest).map_err(wrong)?;
            Ok(Check::Generic { subject: subject(kind), text })
        }
    }
}

fn field(text: &str, convert: FieldValue) -> Result<Field, String> {
    let parts = text.split_once(':').and_then(|(resource, rest)| Some((resource, rest.split_once('=')?)));
    let Some((resource, (attribute, value))) = parts else {
        return Err(format!("`field:{text}` must be `field:<resource>:<attribute>=<value>`"));
    };
    let pattern = match value.strip_prefix('~') {
        None => None,
        // As Python's `match` does, only from the beginning.
        Some(pattern) => Some(
            regex::Regex::new(&format!("^(?:{pattern})"))
                .map_err(|_| format!("`{pattern}` is no regular expression"))?,
        ),
    };
    Ok(Field {
        resource: resource.to_owned(),
        attribute: attribute.to_owned(),
        value: convert(resource, attribute, value),
        pattern,
    })
}

/// A literal of Python, or else the path of a credential.
fn subject(text: &str) -> Subject {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Subject::Literal(inner.to_owned());
        }
    }
    let number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    match text {
        "True" | "False" | "None" => Subject::Literal(text.to_owned()),
        _ if number && text.parse::<i64>().is_ok() => {
            Subject::Literal(text.parse::<i64>().map_or_else(|_| text.to_owned(), |number| number.to_string()))
        }
        _ if number && text.parse::<f64>().is_ok() => {
            Subject::Literal(text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| format!("{number:?}")))
        }
        _ => Subject::Path(text.split('.').map(str::to_owned).collect()),
    }
}
