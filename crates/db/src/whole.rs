//! Resources with all that hangs on them, in one statement.
//!
//! What hangs on a resource are rows of other tables that name it, its [`Child`] rows. They can be asked for by the ids of
//! resources, one query for each table. To join the tables costs a database half of that for a page of resources, and a
//! third for a single one.
//!
//! A join multiplies: two addresses and three groups are six rows. So it is the joined rows that are limited, and a page is
//! made of as many statements as that takes, most often one. The last resource of a statement that came to its limit may
//! lack some of its rows and is left to the next. One that fills a statement alone is asked for table by table. Nothing
//! depends on how often a row comes.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use sea_query::{Cond, Condition, Expr, ExprTrait, Query, SelectStatement, SimpleExpr};

use crate::{
    Conn, DbError, Row, Statement, Value,
    list::{ListQuery, Listing},
    schema::{Table, tables},
    standard::tags_of,
};

/// Joined rows that are asked for at least, which bounds those that one resource may have.
const LEAST: u64 = 64;

/// Rows that hang on resources. The first column that is read of each is the one that names the resource.
pub(crate) struct Child {
    table: &'static Table,
    link: &'static str,
    /// Table and column.
    columns: Vec<(&'static str, &'static str)>,
    only: Condition,
    /// A table whose row, if there is one, stands beside the child's.
    beside: Option<(&'static str, SimpleExpr)>,
}

/// The statement for a single resource by its id, made once for each kind of database: to make it takes longer than all
/// else that is done here with its answer.
pub(crate) struct Single([OnceLock<Statement>; 3]);

/// What stands for the id in the query of a [`Single`]. It is no other value of one.
pub(crate) const ID: &str = "\u{0}id";
/// The same for the project that asks.
pub(crate) const PROJECT: &str = "\u{0}project";

/// Resources as their rows.
pub(crate) struct Wholes<const N: usize> {
    /// Their own rows, in order.
    pub(crate) rows: Vec<Row>,
    /// The rows of each [`Child`].
    pub(crate) children: [Vec<Row>; N],
    /// Their tags, each list ascending, by the keys of their standard attributes.
    pub(crate) tags: HashMap<i64, Vec<String>>,
    /// The sort key values of each.
    positions: Vec<Vec<Value>>,
    /// Where the child rows of the last one begin.
    begins: [usize; N],
}

impl Child {
    /// The rows of `table` whose column `link` holds the id of a resource, and these columns of them.
    pub(crate) fn of(table: &'static Table, link: &'static str, columns: &[&'static str]) -> Self {
        let columns = std::iter::once(&link).chain(columns).map(|column| (table.name, *column)).collect();
        Self { table, link, columns, only: Cond::all(), beside: None }
    }

    /// Those of them for which this holds.
    pub(crate) fn only(mut self, condition: SimpleExpr) -> Self {
        self.only = self.only.add(condition);
        self
    }

    /// With these columns of the row of another table for which this holds, or NULL.
    pub(crate) fn beside(mut self, table: &'static str, on: SimpleExpr, columns: &[&'static str]) -> Self {
        self.columns.extend(columns.iter().map(|column| (table, *column)));
        self.beside = Some((table, on));
        self
    }

    /// The query for the rows of several resources.
    pub(crate) fn query(&self, ids: &[String]) -> SelectStatement {
        let mut select = Query::select();
        select.from(self.table.name);
        self.select_beside(&mut select);
        select.and_where(Expr::col((self.table.name, self.link)).is_in(ids.iter().map(String::as_str)));
        select.cond_where(self.only.clone());
        select
    }

    /// Joins the rows to those of the resource whose `key` they name.
    pub(crate) fn join(&self, select: &mut SelectStatement, key: (&'static str, &'static str)) {
        let same = Expr::col((self.table.name, self.link)).equals(key);
        select.left_join(self.table.name, self.only.clone().add(same));
        self.select_beside(select);
    }

    fn select_beside(&self, select: &mut SelectStatement) {
        select.exprs(self.columns.iter().map(|column| Expr::col(*column)));
        if let Some((table, on)) = &self.beside {
            select.left_join(*table, on.clone());
        }
    }
}

impl Single {
    pub(crate) const fn new() -> Self {
        Self([const { OnceLock::new() }; 3])
    }

    /// The statement with these values in place of what stands for them in the query.
    pub(crate) fn statement(
        &self,
        conn: &Conn,
        values: &[(&str, &str)],
        query: impl FnOnce() -> SelectStatement,
    ) -> Statement {
        let made = self.0[conn.backend() as usize].get_or_init(|| conn.statement(&query()));
        let value = |bind: &Value| {
            let given = values.iter().find(|(mark, _)| matches!(bind, Value::Text(text) if text == mark));
            given.map_or_else(|| bind.clone(), |(_, value)| (*value).into())
        };
        Statement { text: Arc::clone(&made.text), binds: made.binds.iter().map(value).collect() }
    }
}

impl Listing {
    /// What [`Listing::page`] finds, with what hangs on it and its tags. Less than the limit is all there is. `first` is
    /// the first statement, where that is at hand.
    pub(crate) async fn wholes<const N: usize>(
        &self,
        conn: &mut Conn,
        query: &ListQuery,
        children: &[Child; N],
        mut first: Option<Statement>,
    ) -> Result<Wholes<N>, DbError> {
        let (mut query, limit) = (query.clone(), query.limit.unwrap_or(u64::MAX));
        let (mut found, mut rows_of_each) = (Wholes::new(), 1);
        while found.count() < limit {
            let before = found.count();
            let most = query.limit.map(|_| joined(limit - before, rows_of_each));
            let statement = first.take().unwrap_or_else(|| conn.statement(&self.wholes_query(&query, children, most)));
            let rows = conn.ask(statement).await?;
            let joined = rows.len() as u64;
            let is_past = found.take(rows, limit, self.width(), children);
            if is_past || most != Some(joined) {
                break;
            }
            found.drop_last();
            match found.count().saturating_sub(before) {
                0 => self.whole_apart(conn, &query, children, &mut found).await?,
                gained => rows_of_each = joined.div_ceil(gained),
            }
            query.after = found.positions.last().cloned().or(query.after.take());
        }
        Ok(found)
    }

    /// The first query of [`Listing::wholes`] for one resource.
    pub(crate) fn whole_query<const N: usize>(&self, query: &ListQuery, children: &[Child; N]) -> SelectStatement {
        self.wholes_query(query, children, Some(joined(1, 1)))
    }

    fn wholes_query<const N: usize>(
        &self,
        query: &ListQuery,
        children: &[Child; N],
        most: Option<u64>,
    ) -> SelectStatement {
        let mut select = self.bare_select();
        for child in children {
            child.join(&mut select, (self.table.name, "id"));
        }
        tags().join(&mut select, (self.table.name, "standard_attr_id"));
        self.paged(select, query, most)
    }

    /// The next one, table by table.
    async fn whole_apart<const N: usize>(
        &self,
        conn: &mut Conn,
        query: &ListQuery,
        children: &[Child; N],
        found: &mut Wholes<N>,
    ) -> Result<(), DbError> {
        let page = self.page(conn, &ListQuery { limit: Some(1), ..query.clone() }).await?;
        let Some(row) = page.rows.into_iter().next() else { return Ok(()) };
        let ids = [row.get(0)?];
        let queries = children.each_ref().map(|child| child.query(&ids));
        for (all, more) in found.children.iter_mut().zip(conn.select_all(queries.each_ref()).await?) {
            all.extend(more);
        }
        found.tags.extend(tags_of(conn, &[row.get(self.columns.len())?]).await?);
        found.rows.push(row);
        found.positions.extend(page.last);
        Ok(())
    }
}

/// How many joined rows to ask for, for so many resources of so many rows: one more tells that the last is complete.
fn joined(resources: u64, rows_of_each: u64) -> u64 {
    Ord::max(resources * rows_of_each + 1, LEAST)
}

fn tags() -> Child {
    Child::of(&tables::TAGS, "standard_attr_id", &["tag"])
}

impl<const N: usize> Wholes<N> {
    /// The sort key values of the last one, to go on from.
    pub(crate) fn last(&mut self) -> Option<Vec<Value>> {
        self.positions.pop()
    }

    fn new() -> Self {
        let children = [const { Vec::new() }; N];
        Self { rows: Vec::new(), children, tags: HashMap::new(), positions: Vec::new(), begins: [0; N] }
    }

    /// How many resources there are.
    pub(crate) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Parts joined rows, whose first values, `own` of them, are the resource's own, into those of each resource and each
    /// child. Tells whether there was a row behind the last resource of the limit.
    fn take(&mut self, joined: Vec<Row>, limit: u64, own: usize, children: &[Child; N]) -> bool {
        for row in joined {
            let mut values = row.into_values();
            let mut others = values.split_off(own.min(values.len())).into_iter();
            if self.rows.last().and_then(|last| last.values().first()) != values.first() {
                if self.count() == limit {
                    return true;
                }
                self.begins = self.children.each_ref().map(Vec::len);
                self.rows.push(Row::new(values));
                self.positions.push(Vec::new());
            }
            for ((child, rows), begin) in children.iter().zip(&mut self.children).zip(self.begins) {
                let found: Vec<Value> = others.by_ref().take(child.columns.len()).collect();
                if found.first() != Some(&Value::Null) && !rows[begin..].iter().any(|row| row.values() == found) {
                    rows.push(Row::new(found));
                }
            }
            if let (Some(Value::Int(key)), Some(Value::Text(tag))) = (others.next(), others.next()) {
                let tags = self.tags.entry(key).or_default();
                if let Err(place) = tags.binary_search(&tag) {
                    tags.insert(place, tag);
                }
            }
            if let Some(position) = self.positions.last_mut().filter(|position| position.is_empty()) {
                position.extend(others);
            }
        }
        false
    }

    /// Forgets the last one, of which there may be more rows. Its tags are there again with them.
    fn drop_last(&mut self) {
        self.rows.pop();
        self.positions.pop();
        for (rows, begin) in self.children.iter_mut().zip(self.begins) {
            rows.truncate(begin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_statement_for_one_is_the_same_for_all() {
        let database = crate::Database::connect(&crate::Settings::new("sqlite://")).await.unwrap();
        let conn = database.reader().await.unwrap();
        let (listing, children) = (&crate::port::LISTING, [tags()]);
        let query = |id: &str| listing.whole_query(&ListQuery { limit: Some(1), ..ListQuery::by_id(id) }, &children);
        let single = Single::new();
        for id in ["a", "b"] {
            let made = single.statement(&conn, &[(ID, id)], || query(ID));
            assert_eq!(made, conn.statement(&query(id)));
        }
        assert_eq!(ListQuery::by_id("a").only_id(), None, "all of them are wanted");
        let one = ListQuery { limit: Some(1), ..ListQuery::by_id("a") };
        assert_eq!(one.only_id(), Some("a"));
        let mut scoped = one.clone();
        scoped.viewer.scoped = true;
        let (after, further) = (ListQuery { after: Some(vec!["b".into()]), ..one.clone() }, one.matching("name", "x"));
        assert_eq!([scoped.only_id(), after.only_id(), further.only_id()], [None; 3]);
    }

    #[test]
    fn what_a_join_multiplied_is_there_once() {
        let children = ["10.0.0.1", "10.0.0.2"].map(|_| Child::of(&tables::IPALLOCATIONS, "port_id", &["ip_address"]));
        let row = |port: &str, address: &str, tag: &str| {
            let values = [port, port, address].map(Value::from).to_vec();
            let rest = [Value::Null, Value::Null, 1.into(), tag.into(), port.into()].to_vec();
            Row::new([values, rest].concat())
        };
        let rows = ["p", "q", "r"].map(|port| {
            [("10.0.0.1", "b"), ("10.0.0.1", "a"), ("10.0.0.2", "b")].map(|(address, tag)| row(port, address, tag))
        });
        let mut found = Wholes::new();
        assert!(found.take(rows.concat(), 2, 1, &children), "there is a third");
        let ports = |found: &Wholes<2>| found.rows.iter().map(|row| row.get(0).unwrap()).collect::<Vec<String>>();
        assert_eq!(ports(&found), ["p", "q"]);
        let addresses: Vec<String> = found.children[0].iter().map(|row| row.get(1).unwrap()).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
        assert!(found.children[1].is_empty());
        assert_eq!(found.tags[&1], ["a", "b"]);
        assert_eq!(found.positions, [["p".into()], ["q".into()]]);
        found.drop_last();
        assert_eq!((ports(&found), found.children[0].len()), (vec!["p".to_owned()], 2));
    }
}
