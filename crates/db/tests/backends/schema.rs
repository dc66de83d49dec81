//! Our schema on MariaDB against a dump of upstream's: columns, keys and indexes, table by table.

use std::collections::{BTreeMap, BTreeSet};

use isospin_db::Database;

/// Tables of our own, which upstream does not know.
const OWN: [&str; 1] = [isospin_db::outbox::TABLE];

/// The facts of each table: one text each.
type Facts = BTreeMap<String, BTreeSet<String>>;

const COLUMNS: &str = "SELECT table_name, CAST(ordinal_position AS CHAR), column_name, column_type, is_nullable, \
    COALESCE(column_default, 'NULL'), column_key, extra FROM information_schema.columns \
    WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position";
const KEYS: &str = "SELECT k.table_name, k.constraint_name, \
    GROUP_CONCAT(k.column_name ORDER BY k.ordinal_position SEPARATOR ','), \
    COALESCE(k.referenced_table_name, 'NULL'), \
    COALESCE(GROUP_CONCAT(k.referenced_column_name ORDER BY k.ordinal_position SEPARATOR ','), 'NULL'), \
    COALESCE(r.delete_rule, 'NULL') FROM information_schema.key_column_usage k \
    LEFT JOIN information_schema.referential_constraints r ON r.constraint_schema = k.table_schema \
    AND r.table_name = k.table_name AND r.constraint_name = k.constraint_name \
    WHERE k.table_schema = DATABASE() GROUP BY k.table_name, k.constraint_name, k.referenced_table_name, r.delete_rule";
const INDEXES: &str = "SELECT table_name, index_name, CAST(non_unique AS CHAR), \
    GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ',') FROM information_schema.statistics \
    WHERE table_schema = DATABASE() GROUP BY table_name, index_name, non_unique";

pub(super) async fn is_upstreams(database: &Database) {
    let theirs = numbered(include_str!("../data/schema-columns.tsv"));
    assert_eq!(theirs.len(), 123, "tables in the dump");
    compare("columns", &theirs, &ours(database, COLUMNS).await);
    compare("keys", &facts(include_str!("../data/schema-keys.tsv")), &ours(database, KEYS).await);
    compare("indexes", &facts(include_str!("../data/schema-indexes.tsv")), &ours(database, INDEXES).await);
}

fn compare(what: &str, theirs: &Facts, ours: &Facts) {
    let tables: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let none = BTreeSet::new();
    let mut report = String::new();
    for table in tables {
        let (theirs, ours) = (theirs.get(table).unwrap_or(&none), ours.get(table).unwrap_or(&none));
        for missing in theirs.difference(ours) {
            report.push_str(&format!("{table}: theirs {missing}\n"));
        }
        for extra in ours.difference(theirs) {
            report.push_str(&format!("{table}: ours   {extra}\n"));
        }
    }
    assert!(report.is_empty(), "{what} differ:\n{report}");
}

async fn ours(database: &Database, query: &str) -> Facts {
    let rows = database.reader().await.unwrap().sql(query, vec![]).await.unwrap();
    let mut facts = Facts::new();
    for row in rows {
        let texts: Vec<String> = (0..row.values().len()).map(|i| row.get(i).unwrap()).collect();
        if OWN.contains(&texts[0].as_str()) {
            continue;
        }
        facts.entry(texts[0].clone()).or_default().insert(texts[1..].join("\t").trim_end().to_owned());
    }
    facts
}

fn facts(dump: &str) -> Facts {
    let mut facts = Facts::new();
    for line in dump.lines() {
        let (table, rest) = line.split_once('\t').unwrap();
        facts.entry(table.to_owned()).or_default().insert(rest.trim_end().to_owned());
    }
    facts
}

/// The dump of columns is in order without saying so; here the position is part of the fact.
fn numbered(dump: &str) -> Facts {
    let mut facts = Facts::new();
    for line in dump.lines() {
        let (table, rest) = line.split_once('\t').unwrap();
        let columns = facts.entry(table.to_owned()).or_default();
        columns.insert(format!("{}\t{}", columns.len() + 1, rest.trim_end()));
    }
    facts
}
