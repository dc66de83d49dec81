//! The statements that create the schema, rendered from the descriptors for each backend.

use std::fmt::Write as _;

use super::{Column, Default, ForeignKey, Index, Kind, OnDelete, Table, Unique, enums, tables};
use crate::Backend;

/// Every statement, in an order in which each can run.
pub(crate) fn statements(backend: Backend) -> Vec<String> {
    let mut out = Vec::with_capacity(2 * tables::ALL.len());
    if backend == Backend::Postgres {
        out.extend(enums::ALL.iter().map(|e| format!("CREATE TYPE {} AS ENUM ({})", e.name, words(e.values))));
    }
    for table in tables::ALL {
        out.push(create_table(backend, table));
        if backend != Backend::Mysql {
            create_indexes(backend, table, &mut out);
        }
    }
    out
}

/// What makes one table.
pub(crate) fn create_table(backend: Backend, table: &Table) -> String {
    let mut parts: Vec<String> = table.columns.iter().map(|column| column_text(backend, table, column)).collect();
    if !table.primary_key.is_empty() && !is_rowid(backend, table) {
        parts.push(format!("PRIMARY KEY ({})", list(backend, table.primary_key)));
    }
    parts.extend(table.uniques.iter().map(|unique| unique_text(backend, unique)));
    if backend == Backend::Mysql {
        parts.extend(
            table.indexes.iter().map(|i| format!("KEY {} ({})", quoted(backend, i.name), list(backend, i.columns))),
        );
    }
    parts.extend(table.foreign_keys.iter().map(|key| foreign_key_text(backend, key)));
    let mut text = format!("CREATE TABLE {} (\n  {}\n)", quoted(backend, table.name), parts.join(",\n  "));
    if backend == Backend::Sqlite && is_clustered(table) {
        text.push_str(" WITHOUT ROWID");
    }
    if backend == Backend::Mysql {
        text.push_str(" ENGINE=InnoDB");
        if table.name == tables::TAGS.name {
            // The one table whose text tells upper from lower case.
            text.push_str(" DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin");
        }
    }
    text
}

fn column_text(backend: Backend, table: &Table, column: &Column) -> String {
    let mut text = format!("{} ", quoted(backend, column.name));
    if column.default == Default::AutoIncrement {
        text.push_str(match backend {
            Backend::Sqlite => "INTEGER NOT NULL PRIMARY KEY",
            Backend::Mysql => "BIGINT NOT NULL AUTO_INCREMENT",
            Backend::Postgres => "BIGSERIAL NOT NULL",
        });
        return text;
    }
    text.push_str(&kind_text(backend, table, column));
    if !column.nullable {
        text.push_str(" NOT NULL");
    } else if backend == Backend::Mysql && column.kind == Kind::Timestamp {
        // Otherwise older servers make it NOT NULL with a default of now.
        text.push_str(" NULL");
    }
    match column.default {
        Default::Int(number) => drop(write!(text, " DEFAULT {number}")),
        Default::Bool(value) if backend == Backend::Postgres => drop(write!(text, " DEFAULT {value}")),
        Default::Bool(value) => drop(write!(text, " DEFAULT {}", u8::from(value))),
        Default::Text(value) => drop(write!(text, " DEFAULT '{value}'")),
        Default::None | Default::AutoIncrement => {}
    }
    text
}

fn kind_text(backend: Backend, table: &Table, column: &Column) -> String {
    match (backend, column.kind) {
        (_, Kind::Text(length)) => format!("VARCHAR({length})"),
        (Backend::Mysql, Kind::Bool) => "TINYINT(1)".to_owned(),
        (_, Kind::Bool) => "BOOLEAN".to_owned(),
        (_, Kind::Int) => "INTEGER".to_owned(),
        (_, Kind::BigInt) => "BIGINT".to_owned(),
        (Backend::Postgres, Kind::DateTime | Kind::Timestamp) => "TIMESTAMP".to_owned(),
        (_, Kind::DateTime) => "DATETIME".to_owned(),
        (_, Kind::Timestamp) => "TIMESTAMP".to_owned(),
        (Backend::Sqlite, Kind::Enum(e)) => {
            format!("VARCHAR({})", e.values.iter().map(|word| word.len()).max().unwrap_or_default())
        }
        (Backend::Mysql, Kind::Enum(e)) => format!("ENUM({})", words(e.values)),
        (Backend::Postgres, Kind::Enum(e)) => {
            debug_assert!(enums::ALL.contains(&e), "{}.{}", table.name, column.name);
            e.name.to_owned()
        }
    }
}

fn unique_text(backend: Backend, unique: &Unique) -> String {
    let columns = list(backend, unique.columns);
    if backend == Backend::Mysql || !unique.is_unnamed() {
        format!("CONSTRAINT {} UNIQUE ({columns})", quoted(backend, unique.name))
    } else {
        format!("UNIQUE ({columns})")
    }
}

fn foreign_key_text(backend: Backend, key: &ForeignKey) -> String {
    let action = match key.on_delete {
        OnDelete::Restrict => "",
        OnDelete::Cascade => " ON DELETE CASCADE",
        OnDelete::SetNull => " ON DELETE SET NULL",
    };
    format!(
        "FOREIGN KEY ({}) REFERENCES {} ({}){action}",
        list(backend, key.columns),
        quoted(backend, key.table),
        list(backend, key.references)
    )
}

/// Indexes that upstream does not have, on SQLite alone, where no other program reads the index list: a page of a large
/// network's ports is read in the order of the ids and not sorted out of all of them.
const OURS: &[(&str, &str, &[&str])] = &[("ports", "isospin_ports_network_id_id", &["network_id", "id"])];

/// MariaDB indexes foreign keys by itself; without one, deleting a row reads every table that may refer to it. On
/// SQLite, where no other program reads the index list, indexes that another key covers are left out.
fn create_indexes(backend: Backend, table: &Table, out: &mut Vec<String>) {
    let mut made: Vec<&[&str]> = Vec::new();
    let mut create = |name: &str, columns: &[&str]| {
        let columns = list(backend, columns);
        out.push(format!("CREATE INDEX {} ON {} ({columns})", quoted(backend, name), quoted(backend, table.name)));
    };
    for index in table.indexes {
        if backend != Backend::Sqlite || !is_covered(table, index, &made) {
            create(index.name, index.columns);
            made.push(index.columns);
        }
    }
    for (_, name, columns) in OURS.iter().filter(|(of, ..)| backend == Backend::Sqlite && *of == table.name) {
        create(name, columns);
        made.push(columns);
    }
    for key in table.foreign_keys {
        let keys = [table.primary_key].into_iter().chain(table.uniques.iter().map(|unique| unique.columns));
        if !keys.chain(made.iter().copied()).any(|other| other.starts_with(key.columns)) {
            create(&format!("fk_{}_{}", table.name, key.columns.join("_")), key.columns);
            made.push(key.columns);
        }
    }
}

/// Another key or longer index begins with the same columns.
fn is_covered(table: &Table, index: &Index, made: &[&[&str]]) -> bool {
    let keys = [table.primary_key].into_iter().chain(table.uniques.iter().map(|unique| unique.columns));
    let longer = table.indexes.iter().map(|i| i.columns).filter(|columns| columns.len() > index.columns.len());
    keys.chain(longer).chain(made.iter().copied()).any(|other| other.starts_with(index.columns))
}

/// The key is SQLite's own row number, declared with the column.
fn is_rowid(backend: Backend, table: &Table) -> bool {
    backend == Backend::Sqlite && table.columns.iter().any(|column| column.default == Default::AutoIncrement)
}

/// SQLite keeps the rows in the primary key's tree itself: one page less to write for each row, at the price of longer
/// entries in every other index. Worth it where there are few of those.
fn is_clustered(table: &Table) -> bool {
    const FEW: usize = 2;
    !table.primary_key.is_empty()
        && !is_rowid(Backend::Sqlite, table)
        && table.uniques.len() + table.indexes.len() + table.foreign_keys.len() <= FEW
}

fn quoted(backend: Backend, name: &str) -> String {
    if backend == Backend::Mysql { format!("`{name}`") } else { format!("\"{name}\"") }
}

fn list(backend: Backend, names: &[&str]) -> String {
    names.iter().map(|name| quoted(backend, name)).collect::<Vec<_>>().join(", ")
}

fn words(values: &[&str]) -> String {
    values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_in_three_dialects() {
        let table = &tables::QOS_BANDWIDTH_LIMIT_RULES;
        let on = |backend| create_table(backend, table);
        assert!(on(Backend::Sqlite).contains("\"direction\" VARCHAR(7) NOT NULL DEFAULT 'egress'"));
        assert!(on(Backend::Mysql).contains("`direction` ENUM('egress', 'ingress') NOT NULL DEFAULT 'egress'"));
        assert!(on(Backend::Postgres).contains("\"direction\" directions NOT NULL DEFAULT 'egress'"));
    }

    #[test]
    fn tables_come_after_those_they_refer_to() {
        for (position, table) in tables::ALL.iter().enumerate() {
            for key in table.foreign_keys.iter().filter(|key| key.table != table.name) {
                let other = tables::ALL.iter().position(|t| t.name == key.table);
                assert!(other.is_some_and(|other| other < position), "{} refers to {}", table.name, key.table);
            }
        }
    }

    #[test]
    fn names_in_keys_are_columns() {
        for table in tables::ALL {
            let keys = table.foreign_keys.iter().map(|k| k.columns).chain([table.primary_key]);
            let uniques = table.uniques.iter().map(|u| u.columns).chain(table.indexes.iter().map(|i| i.columns));
            for column in keys.chain(uniques).flatten() {
                assert!(table.column(column).is_some(), "{}.{column}", table.name);
            }
        }
    }

    #[test]
    fn sqlite_clusters_small_tables() {
        let text = |table| create_table(Backend::Sqlite, table);
        assert!(text(&tables::PORTSECURITYBINDINGS).ends_with("WITHOUT ROWID"));
        assert!(!text(&tables::PORTS).contains("WITHOUT ROWID"));
        assert!(!text(&tables::STANDARDATTRIBUTES).contains("WITHOUT ROWID"));
    }

    #[test]
    fn sqlite_skips_what_another_key_covers() {
        let mut out = Vec::new();
        create_indexes(Backend::Sqlite, &tables::PORTS, &mut out);
        assert!(!out.iter().any(|s| s.contains("\"ix_ports_network_id\"")), "{out:?}");
        assert!(out.iter().any(|s| s.contains("\"ix_ports_device_id\"")), "{out:?}");
    }
}
