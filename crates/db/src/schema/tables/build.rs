//! Short forms, so that a table reads as a table.

use crate::schema::{Column, Default, Enum, ForeignKey, Index, Kind, OnDelete, Unique};

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false, default: Default::None }
}

pub(super) const fn text(name: &'static str, length: u16) -> Column {
    column(name, Kind::Text(length))
}

pub(super) const fn boolean(name: &'static str) -> Column {
    column(name, Kind::Bool)
}

pub(super) const fn int(name: &'static str) -> Column {
    column(name, Kind::Int)
}

pub(super) const fn bigint(name: &'static str) -> Column {
    column(name, Kind::BigInt)
}

pub(super) const fn datetime(name: &'static str) -> Column {
    column(name, Kind::DateTime)
}

pub(super) const fn timestamp(name: &'static str) -> Column {
    column(name, Kind::Timestamp)
}

pub(super) const fn word(name: &'static str, words: &'static Enum) -> Column {
    column(name, Kind::Enum(words))
}

impl Column {
    /// May be NULL.
    pub(super) const fn null(self) -> Self {
        Self { nullable: true, ..self }
    }

    /// What rows get that are inserted without it.
    pub(super) const fn default(self, default: Default) -> Self {
        Self { default, ..self }
    }
}

pub(super) const fn unique(name: &'static str, columns: &'static [&'static str]) -> Unique {
    Unique { name, columns }
}

pub(super) const fn index(name: &'static str, columns: &'static [&'static str]) -> Index {
    Index { name, columns }
}

pub(super) const fn reference(
    columns: &'static [&'static str],
    table: &'static str,
    references: &'static [&'static str],
    on_delete: OnDelete,
) -> ForeignKey {
    ForeignKey { columns, table, references, on_delete }
}
