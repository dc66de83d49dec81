//! Several statements as one text, with their values in it, and what comes back.
//!
//! The protocol has no way to send a second prepared statement before the first is answered. It takes several statements
//! in one text, does them in order, and stops at the first that fails.

use mysql_async::{Column, consts::ColumnType, prelude::Queryable};

use crate::{
    DbError, Row, Value,
    flight::{Outcome, Statement},
    timestamp,
};

/// The statements with their values, parted by `;` and a line end, which no value contains.
pub(super) fn together(statements: &[&Statement]) -> Result<String, DbError> {
    let mut out = String::with_capacity(statements.iter().map(|statement| statement.size() + 8).sum());
    for (i, statement) in statements.iter().enumerate() {
        if i > 0 {
            out.push_str(";\n");
        }
        fill(&mut out, statement)?;
    }
    Ok(out)
}

/// One statement, each `?` outside quotes replaced by the value bound to it.
fn fill(out: &mut String, statement: &Statement) -> Result<(), DbError> {
    let mut binds = statement.binds.iter();
    let mut quote = None;
    for c in statement.text.chars() {
        match (quote, c) {
            (None, '?') => match binds.next() {
                Some(value) => {
                    literal(out, value);
                    continue;
                }
                None => return Err(miscounted(statement)),
            },
            (None, '\'' | '"' | '`') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        out.push(c);
    }
    if binds.next().is_some() { Err(miscounted(statement)) } else { Ok(()) }
}

fn miscounted(statement: &Statement) -> DbError {
    DbError::statement(&statement.text, "it has not as many placeholders as values")
}

/// A value as it stands in a statement.
///
/// Quotes, backslashes and all that is not printable ASCII go as hexadecimal digits, so that neither the SQL mode nor
/// the connection's character set can make anything else of a text than the text.
fn literal(out: &mut String, value: &Value) {
    use std::fmt::Write as _;
    let _ = match value {
        Value::Null => out.write_str("NULL"),
        Value::Bool(truth) => out.write_str(if *truth { "1" } else { "0" }),
        Value::Int(number) => write!(out, "{number}"),
        Value::Timestamp(time) => write!(out, "'{}'", timestamp::to_sql(*time)),
        Value::Text(text) if text.bytes().all(is_plain) => write!(out, "'{text}'"),
        Value::Text(text) => {
            out.push_str("_utf8mb4 X'");
            for byte in text.bytes() {
                let _ = write!(out, "{byte:02X}");
            }
            out.write_str("'")
        }
    };
}

fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'\'' && byte != b'\\'
}

/// Runs a text of `count` statements. What they did is in `outcomes`, also when one of them fails: the one behind those.
pub(super) async fn run(
    connection: &mut mysql_async::Conn,
    text: &str,
    count: usize,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), mysql_async::Error> {
    let mut result = connection.query_iter(text).await?;
    for _ in 0..count {
        let columns = result.columns().unwrap_or_default();
        let (affected, last_id) = (result.affected_rows(), result.last_insert_id());
        let last_id = last_id.and_then(|id| i64::try_from(id).ok()).unwrap_or_default();
        let mut rows = Vec::new();
        // An error of this statement comes here; only that of the first one came before.
        while let Some(row) = result.next().await? {
            let values = row.unwrap().into_iter().zip(&*columns).map(|(value, column)| read(value, column));
            rows.push(Row::new(values.collect()));
        }
        outcomes.push(Outcome { rows, affected, last_id });
    }
    Ok(())
}

/// A value of a text answer, in which all are texts.
fn read(value: mysql_async::Value, column: &Column) -> Value {
    use ColumnType as C;
    let text = match super::read(value) {
        Value::Text(text) => text,
        other => return other,
    };
    match column.column_type() {
        C::MYSQL_TYPE_TINY
        | C::MYSQL_TYPE_SHORT
        | C::MYSQL_TYPE_INT24
        | C::MYSQL_TYPE_LONG
        | C::MYSQL_TYPE_LONGLONG
        | C::MYSQL_TYPE_YEAR => text.parse().map_or(Value::Text(text), Value::Int),
        C::MYSQL_TYPE_DATETIME | C::MYSQL_TYPE_TIMESTAMP | C::MYSQL_TYPE_DATE => {
            timestamp::parse(&text).map_or(Value::Null, Value::Timestamp)
        }
        _ => Value::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, binds: Vec<Value>) -> Result<String, DbError> {
        together(&[&Statement::new(text, binds)])
    }

    #[test]
    fn values_cannot_be_anything_else() {
        let text = "SELECT '?', `a?`, \"?\" FROM t WHERE a = ? AND b IN (?,?)";
        let given = filled(text, vec!["it's".into(), 7.into(), Value::Null]).unwrap();
        assert_eq!(given, "SELECT '?', `a?`, \"?\" FROM t WHERE a = _utf8mb4 X'69742773' AND b IN (7,NULL)");
        for (value, literal) in [
            ("plain text; -- /* ?", "'plain text; -- /* ?'"),
            ("\\", "_utf8mb4 X'5C'"),
            ("\n", "_utf8mb4 X'0A'"),
            ("é", "_utf8mb4 X'C3A9'"),
            ("\0", "_utf8mb4 X'00'"),
            ("", "''"),
        ] {
            assert_eq!(filled("?", vec![value.into()]).unwrap(), literal);
        }
        let time = timestamp::parse("2026-11-22 10:11:12.5").unwrap();
        assert_eq!(filled("?,?", vec![time.into(), true.into()]).unwrap(), "'2026-11-22 10:11:12.500000',1");
    }

    #[test]
    fn placeholders_are_counted() {
        assert!(filled("?", vec![]).is_err());
        assert!(filled("'?'", vec![1.into()]).is_err());
    }

    #[test]
    fn statements_are_parted_by_what_no_value_holds() {
        let statement = Statement::new("SELECT ?", vec![";\n".into()]);
        assert_eq!(together(&[&statement, &statement]).unwrap().matches(";\n").count(), 1);
    }
}
