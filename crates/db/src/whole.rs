//! One resource with all that hangs on it, in one statement.
//!
//! What hangs on a resource are rows of other tables that name it, its [`Child`] rows. For a page of resources each child
//! table is asked once, by the ids of all of them. For a single resource the tables are joined instead: one statement in
//! place of eight, which is most of what showing it costs.
//!
//! A join multiplies: two addresses and three groups are six rows. So no more than [`MOST`] are taken, and a resource
//! with more of them is read as a page of one is. Nothing depends on the order of the rows or on how often one comes.

use sea_query::{Cond, Condition, Expr, ExprTrait, Query, SelectStatement, SimpleExpr};

use crate::{
    Conn, DbError, Row, Value,
    list::{ListQuery, Listing},
    schema::{Table, tables},
};

/// Joined rows that are worth it.
const MOST: usize = 64;

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

/// A resource as one statement found it.
pub(crate) enum Whole<const N: usize> {
    /// There is none.
    Nothing,
    /// Its row without the sort keys, the rows of each [`Child`], and the tags.
    One(Row, [Vec<Row>; N], Vec<String>),
    /// More hangs on it than is worth joining.
    TooMuch,
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
    fn join(&self, select: &mut SelectStatement, key: (&'static str, &'static str)) {
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

impl Listing {
    /// The resource that a query finds by its id, with what hangs on it and its tags.
    pub(crate) async fn whole<const N: usize>(
        &self,
        conn: &mut Conn,
        query: &ListQuery,
        children: &[Child; N],
    ) -> Result<Whole<N>, DbError> {
        let rows = conn.select(&self.whole_query(query, children)).await?;
        Ok(match rows.len() {
            0 => Whole::Nothing,
            MOST.. => Whole::TooMuch,
            _ => parted(rows, self.width(), children),
        })
    }

    /// The query behind [`Listing::whole`].
    pub(crate) fn whole_query<const N: usize>(&self, query: &ListQuery, children: &[Child; N]) -> SelectStatement {
        let mut select = self.bare_select();
        for child in children {
            child.join(&mut select, (self.table.name, "id"));
        }
        tags().join(&mut select, (self.table.name, "standard_attr_id"));
        select.cond_where(self.condition(query)).limit(MOST as u64);
        select
    }
}

fn tags() -> Child {
    Child::of(&tables::TAGS, "standard_attr_id", &["tag"])
}

/// Joined rows parted into the resource's own, of so many values, and those of each child.
fn parted<const N: usize>(rows: Vec<Row>, own: usize, children: &[Child; N]) -> Whole<N> {
    let (mut row, mut parts, mut tagged) = (Vec::new(), [const { Vec::new() }; N], Vec::new());
    for joined in rows {
        let mut values = joined.into_values().into_iter();
        row = values.by_ref().take(own).collect();
        for (child, part) in children.iter().zip(&mut parts) {
            let values: Vec<Value> = values.by_ref().take(child.columns.len()).collect();
            let found = Row::new(values);
            if found.values().first() != Some(&Value::Null) && !part.contains(&found) {
                part.push(found);
            }
        }
        if let Some(Value::Text(tag)) = values.nth(1)
            && !tagged.contains(&tag)
        {
            tagged.push(tag);
        }
    }
    tagged.sort_unstable();
    Whole::One(Row::new(row), parts, tagged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_join_multiplied_is_there_once() {
        let child = || Child::of(&tables::IPALLOCATIONS, "port_id", &["ip_address"]);
        let joined = |values: [Value; 7]| Row::new(values.to_vec());
        let row = |address: &str, tag: &str| {
            joined(["p".into(), "p".into(), address.into(), Value::Null, Value::Null, 1.into(), tag.into()])
        };
        let rows = vec![row("10.0.0.1", "b"), row("10.0.0.1", "a"), row("10.0.0.2", "b"), row("10.0.0.2", "a")];
        let Whole::One(own, [addresses, none], tags) = parted(rows, 1, &[child(), child()]) else { panic!() };
        assert_eq!(own.values(), ["p".into()]);
        let addresses: Vec<String> = addresses.iter().map(|row| row.get(1).unwrap()).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.2"]);
        assert!(none.is_empty());
        assert_eq!(tags, ["a", "b"]);
    }
}
