//! Writes rows and fields in the formats of the old command.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};
use serde_json::{Map, Value};

use super::args::Parsed;
use super::error::ClientError;
use super::python;

/// A list with the columns chosen.
pub(super) struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// A value for each column in each row.
    pub rows: Vec<Vec<Value>>,
}

/// One thing's fields in the order to print.
pub(super) type Fields = Vec<(String, Value)>;

const STYLE: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('+', '-', '+', '+'))
    .header_lines(ContentLineStyle::new('|', '|', '|'))
    .header_separator(LineStyle::new('+', '-', '+', '+'))
    .content_lines(ContentLineStyle::new('|', '|', '|'))
    .bottom_border(LineStyle::new('+', '-', '+', '+'));

/// How output is to look, by the options given.
pub(super) struct Look<'a> {
    parsed: &'a Parsed,
    width: Option<u16>,
}

impl<'a> Look<'a> {
    /// The look the options ask for, on a terminal of a width if there is one.
    pub(super) fn new(parsed: &'a Parsed, terminal: Option<u16>) -> Result<Self, ClientError> {
        let asked = match parsed.value("--max-width") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| ClientError::Usage(format!("argument --max-width: invalid int value: '{text}'")))?,
        };
        let fit = if parsed.has("--fit-width") { terminal.or(Some(80)) } else { terminal };
        Ok(Self { parsed, width: if asked > 0 { Some(asked) } else { fit } })
    }

    /// The name of the format.
    pub(super) fn format(&self) -> &str {
        self.parsed.value("--format").unwrap_or("table")
    }

    fn indent(&self) -> Option<usize> {
        if self.parsed.has("--noindent") { None } else { Some(2) }
    }

    fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(STYLE);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table.set_header(header.iter().map(Cell::new));
        table
    }

    /// Writes a list.
    pub(super) fn write_rows(&self, out: &mut dyn Write, rows: Rows) -> io::Result<()> {
        match self.format() {
            "json" => {
                let all = Value::Array(rows.objects().map(Value::Object).collect());
                writeln!(out, "{}", python::json(&all, self.indent()))
            }
            "yaml" => {
                let all = Value::Array(rows.objects().map(|row| sorted(Value::Object(row))).collect());
                out.write_all(yaml(&all)?.as_bytes())
            }
            "csv" => self.write_csv(out, &rows),
            "value" => rows.rows.iter().try_for_each(|row| {
                let cells: Vec<String> = row.iter().map(python::text).collect();
                writeln!(out, "{}", cells.join(" "))
            }),
            _ => self.write_table(out, &rows),
        }
    }

    fn write_table(&self, out: &mut dyn Write, rows: &Rows) -> io::Result<()> {
        if rows.rows.is_empty() && !self.parsed.has("--print-empty") {
            return writeln!(out);
        }
        let header: Vec<&str> = rows.columns.iter().map(String::as_str).collect();
        let mut table = self.table(&header);
        for row in &rows.rows {
            table.add_row(row.iter().map(|value| Cell::new(cell(value))));
        }
        // Numbers stand to the right, judged by the first row.
        for (at, value) in rows.rows.first().into_iter().flatten().enumerate() {
            if let Some(column) = table.column_mut(at).filter(|_| value.is_number()) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(out, "{table}")
    }

    fn write_csv(&self, out: &mut dyn Write, rows: &Rows) -> io::Result<()> {
        let mode = self.parsed.value("--quote").unwrap_or("nonnumeric");
        let header: Vec<Value> = rows.columns.iter().map(|name| Value::from(name.as_str())).collect();
        for row in std::iter::once(&header).chain(&rows.rows) {
            let cells: Vec<String> = row.iter().map(|value| csv_cell(value, mode)).collect();
            writeln!(out, "{}", cells.join(","))?;
        }
        Ok(())
    }

    /// Writes the fields of one thing.
    pub(super) fn write_fields(&self, out: &mut dyn Write, fields: Fields) -> io::Result<()> {
        match self.format() {
            "json" => {
                let one = Value::Object(fields.into_iter().collect());
                writeln!(out, "{}", python::json(&one, self.indent()))
            }
            "yaml" => {
                let one = Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect());
                out.write_all(yaml(&one)?.as_bytes())
            }
            "value" => fields.iter().try_for_each(|(_, value)| writeln!(out, "{}", python::text(value))),
            "shell" => self.write_shell(out, &fields),
            _ => {
                let mut table = self.table(&["Field", "Value"]);
                for (name, value) in &fields {
                    table.add_row([Cell::new(name), Cell::new(cell(value))]);
                }
                writeln!(out, "{table}")
            }
        }
    }

    fn write_shell(&self, out: &mut dyn Write, fields: &Fields) -> io::Result<()> {
        let prefix = self.parsed.value("--prefix").unwrap_or_default();
        let wanted = self.parsed.values("--variable");
        for (name, value) in fields.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(&name.as_str())) {
            let name = name.to_lowercase().replace([' ', ':', '-'], "_");
            let value = match value {
                Value::String(text) => text.replace('"', "\\\""),
                other => python::repr(other),
            };
            writeln!(out, "{prefix}{name}=\"{value}\"")?;
        }
        Ok(())
    }
}

impl Rows {
    fn objects(&self) -> impl Iterator<Item = Map<String, Value>> {
        self.rows.iter().map(|row| self.columns.iter().cloned().zip(row.iter().cloned()).collect())
    }
}

/// A value in a cell of a table.
fn cell(value: &Value) -> String {
    python::text(value).replace("\r\n", "\n").replace('\r', " ")
}

fn csv_cell(value: &Value, mode: &str) -> String {
    let text = python::text(value);
    let special = text.contains([',', '"', '\n', '\r']);
    let quote = match mode {
        "all" => true,
        "none" => return text.replace('\\', "\\\\").replace(',', "\\,").replace('"', "\\\""),
        "minimal" => special,
        _ => special || !value.is_number(),
    };
    if quote { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// The value with the keys of all objects in it sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> =
                entries.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn yaml(value: &Value) -> io::Result<String> {
    let mut text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
