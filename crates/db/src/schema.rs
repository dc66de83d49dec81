//! What a table is: one static descriptor each, the single source of DDL, select lists and constraint names.

use sea_query::{Expr, SelectStatement};

pub(crate) mod ddl;
pub mod enums;
pub mod tables;

/// The kind of value a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most so many characters.
    Text(u16),
    /// True or false.
    Bool,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    BigInt,
    /// A point in time in UTC; MariaDB keeps it to the second.
    DateTime,
    /// The same, of the narrower type that MariaDB calls a timestamp.
    Timestamp,
    /// One of a few words.
    Enum(&'static Enum),
}

/// An enumeration. PostgreSQL wants it as a type with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Enum {
    /// Name of the type.
    pub name: &'static str,
    /// The words, in order.
    pub values: &'static [&'static str],
}

/// What a row gets when an insert leaves the column out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// NULL, or an error if the column does not take it.
    None,
    /// A number.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// A text.
    Text(&'static str),
    /// The next number of a sequence.
    AutoIncrement,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// May it be NULL?
    pub nullable: bool,
    /// Value of rows inserted without it.
    pub default: Default,
}

/// A unique constraint.
#[derive(Debug)]
pub struct Unique {
    /// Name, which errors and upstream's code refer to.
    pub name: &'static str,
    /// Columns.
    pub columns: &'static [&'static str],
}

/// An index that does not hold uniqueness.
#[derive(Debug)]
pub struct Index {
    /// Name.
    pub name: &'static str,
    /// Columns.
    pub columns: &'static [&'static str],
}

/// What happens to a row when the one it refers to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// The deletion fails.
    Restrict,
    /// It is deleted as well.
    Cascade,
    /// The reference becomes NULL.
    SetNull,
}

/// A reference to another table's key.
#[derive(Debug)]
pub struct ForeignKey {
    /// The columns that refer.
    pub columns: &'static [&'static str],
    /// The table referred to.
    pub table: &'static str,
    /// Its columns.
    pub references: &'static [&'static str],
    /// What a deletion there does here.
    pub on_delete: OnDelete,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Columns in order.
    pub columns: &'static [Column],
    /// The primary key's columns; empty for the few tables that have none.
    pub primary_key: &'static [&'static str],
    /// Unique constraints.
    pub uniques: &'static [Unique],
    /// References to other tables.
    pub foreign_keys: &'static [ForeignKey],
    /// Plain indexes.
    pub indexes: &'static [Index],
}

impl Table {
    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names of all columns in order, as a select list and as an insert's columns.
    pub fn column_names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|column| column.name).collect()
    }

    /// `SELECT` of the named columns, each qualified by the table so that joins stay unambiguous.
    pub fn select(&self, columns: &[&'static str]) -> SelectStatement {
        let mut select = SelectStatement::new();
        select.from(self.name).exprs(columns.iter().map(|column| Expr::col((self.name, *column))));
        select
    }
}

impl Unique {
    /// Upstream gave it no name, so MariaDB took that of the first column, which is not unique among tables.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.columns.first() == Some(&self.name)
    }
}

/// The name of the unique constraint on exactly these columns of a table. It is `PRIMARY` if they hold the primary key:
/// two rows that agree in more than the key agree in the key, which SQLite need not report first.
pub(crate) fn constraint_on(table: &str, columns: &[&str]) -> Option<&'static str> {
    let table = tables::ALL.iter().find(|t| t.name == table)?;
    if !table.primary_key.is_empty() && table.primary_key.iter().all(|column| columns.contains(column)) {
        return Some("PRIMARY");
    }
    table.uniques.iter().find(|unique| unique.columns == columns).map(|unique| unique.name)
}
