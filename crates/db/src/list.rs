//! One list query for every resource: filters, sorting and keyset paging over a descriptor.
//!
//! A [`Listing`] says which column of which table stands behind each attribute. From it and a [`ListQuery`] comes one
//! `SELECT`, whatever the length of the table; child rows are loaded by the resource with one `IN` query per child table.
//! Pages are found by the values of the sort keys of the last row (never by offset), so rows that come and go between
//! two pages neither repeat nor hide others. NULL sorts before every value on all three databases.

use sea_query::{Cond, Condition, Expr, ExprTrait, LikeExpr, Order, Query, SelectStatement, SimpleExpr};

use crate::{
    Conn, DbError, Row, Value,
    schema::{Kind, Table},
};

/// Most rows one statement fetches; longer lists are read in several pages of this size.
pub const CHUNK: u64 = 250;

/// What stands behind an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A column of the resource's own table.
    Own(&'static str),
    /// A column of its row in `standardattributes`.
    Standard(&'static str),
    /// A column of child rows; the resource matches when one of them does.
    Child {
        /// The child table.
        table: &'static Table,
        /// Its column that holds the resource's id.
        link: &'static str,
        /// The column compared.
        column: &'static str,
    },
    /// True when there is a child row, which may have to hold a given text in a given column.
    Exists {
        /// The child table.
        table: &'static Table,
        /// Its column that holds the resource's id.
        link: &'static str,
        /// Column and text that the child row must have.
        only: &'static [(&'static str, &'static str)],
    },
    /// True when an RBAC row grants it to everyone, or to the project that asks.
    Granted {
        /// The column of the resource's own table that holds the id of what is granted.
        key: &'static str,
        /// The RBAC table.
        table: &'static Table,
        /// What is granted.
        action: &'static str,
    },
    /// True when another resource that this one belongs to has such a child row.
    ParentExists {
        /// The column of the resource's own table that holds the other's id.
        key: &'static str,
        /// The child table.
        table: &'static Table,
        /// Its column that holds the other resource's id.
        link: &'static str,
        /// Column and text that the child row must have.
        only: &'static [(&'static str, &'static str)],
    },
}

/// Which rows a project sees that may not see everything.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// All of them.
    Everything,
    /// Its own.
    Owned,
    /// Its own, and those granted to it or to everyone.
    Granted {
        /// The column of the resource's own table that holds the id of what is granted.
        key: &'static str,
        /// The RBAC table.
        table: &'static Table,
        /// What is granted: any of these.
        actions: &'static [&'static str],
    },
    /// Its own, and those that belong to something of its own.
    OfOwned {
        /// The column of the resource's own table that holds the other's id.
        key: &'static str,
        /// The other's table.
        table: &'static Table,
    },
}

/// On whose behalf a list is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewer {
    /// The project that asks; what is granted to it counts as shared.
    pub project_id: Option<String>,
    /// Whether it sees only what [`Listing::scope`] lets it see.
    pub scoped: bool,
}

/// How a resource is listed.
#[derive(Debug)]
pub struct Listing {
    /// Its table; the primary key is `id`.
    pub table: &'static Table,
    /// The columns to select from it, in the order the reader expects them.
    pub columns: &'static [&'static str],
    /// Whether it has a row in `standardattributes`, whose columns ([`crate::standard::COLUMNS`]) are then selected too.
    pub standard: bool,
    /// Which rows a project sees.
    pub scope: Scope,
    /// What can be filtered and sorted by, besides what all resources with standard attributes have in common.
    pub attributes: &'static [(&'static str, Source)],
}

/// How a filter's values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal to one of them.
    Equal,
    /// Contains one of them as text.
    Contains,
    /// Not less than all of them.
    AtLeast,
    /// Less than all of them.
    Below,
}

/// An attribute must match one of the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// Name of the attribute, as in [`Listing::attributes`].
    pub attribute: String,
    /// The values.
    pub values: Vec<Value>,
    /// How they are compared.
    pub comparison: Comparison,
}

/// Conditions on tags, each a list of lists: every inner list is one occurrence of the parameter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TagFilter {
    /// Has all of these.
    pub all: Vec<String>,
    /// Has one of these.
    pub any: Vec<String>,
    /// Has not all of these.
    pub not_all: Vec<String>,
    /// Has none of these.
    pub not_any: Vec<String>,
}

/// Which resources, in which order, and which part of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    /// All must match.
    pub filters: Vec<Filter>,
    /// Conditions on tags.
    pub tags: TagFilter,
    /// On whose behalf.
    pub viewer: Viewer,
    /// Attributes to sort by, each ascending when true; the id is always added last.
    pub sort: Vec<(String, bool)>,
    /// At most so many.
    pub limit: Option<u64>,
    /// Values of the sort keys after which the page begins; see [`Page::last`].
    pub after: Option<Vec<Value>>,
    /// The page before [`Self::after`] instead of the one behind it.
    pub reverse: bool,
}

/// A part of a list.
#[derive(Debug)]
pub struct Page {
    /// The rows: [`Listing::columns`], then the standard columns.
    pub rows: Vec<Row>,
    /// The sort key values of the last row in reading order, to go on from.
    pub last: Option<Vec<Value>>,
}

/// A part of a list, as whole resources. They are yet to be made of their rows, so that the next part can be read meanwhile.
pub struct Items<T> {
    /// How many there are. If they are less than the limit, they are the last.
    pub count: u64,
    /// The sort key values of the last one in reading order, to go on from.
    pub last: Option<Vec<Value>>,
    make: Box<dyn FnOnce() -> Result<Vec<T>, DbError> + Send>,
}

impl<T: Send + 'static> Items<T> {
    /// So many, which `make` makes.
    pub(crate) fn new(
        count: u64,
        last: Option<Vec<Value>>,
        make: impl FnOnce() -> Result<Vec<T>, DbError> + Send + 'static,
    ) -> Self {
        Self { count, last, make: Box::new(make) }
    }

    /// Those that are made already.
    pub fn made(items: Vec<T>, last: Option<Vec<Value>>) -> Self {
        Self::new(items.len() as u64, last, || Ok(items))
    }

    /// The resources, in order.
    pub fn make(self) -> Result<Vec<T>, DbError> {
        (self.make)()
    }
}

impl<T> std::fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").field("count", &self.count).field("last", &self.last).finish_non_exhaustive()
    }
}

impl ListQuery {
    /// The one with this id.
    pub fn by_id(id: &str) -> Self {
        Self::default().matching("id", id)
    }

    /// The id, where one resource is asked for by that alone, and by somebody who sees everything.
    pub(crate) fn only_id(&self) -> Option<&str> {
        let [Filter { attribute, values, comparison: Comparison::Equal }] = self.filters.as_slice() else {
            return None;
        };
        let ([Value::Text(id)], "id", false) = (values.as_slice(), attribute.as_str(), self.viewer.scoped) else {
            return None;
        };
        let nothing_else = self.tags == TagFilter::default() && self.sort.is_empty() && self.after.is_none();
        (nothing_else && self.limit == Some(1) && !self.reverse).then_some(id)
    }

    /// Adds a filter for equality with one value.
    #[must_use]
    pub fn matching(self, attribute: &str, value: impl Into<Value>) -> Self {
        self.matching_any(attribute, vec![value.into()])
    }

    /// Adds a filter for equality with any of the values.
    #[must_use]
    pub fn matching_any(mut self, attribute: &str, values: Vec<Value>) -> Self {
        self.filters.push(Filter { attribute: attribute.to_owned(), values, comparison: Comparison::Equal });
        self
    }
}

impl Listing {
    fn source(&self, attribute: &str) -> Option<Source> {
        let of_all = crate::standard::ATTRIBUTES.iter().find(|name| self.standard && **name == attribute);
        match (of_all, attribute) {
            (Some(name), _) => Some(Source::Standard(name)),
            (None, "tenant_id") => self.source("project_id"),
            _ => self.attributes.iter().find(|(name, _)| *name == attribute).map(|(_, source)| *source),
        }
    }

    /// Can a list be filtered by this attribute?
    pub fn can_filter(&self, attribute: &str) -> bool {
        self.source(attribute).is_some()
    }

    /// Can a list be sorted by this attribute?
    pub fn can_sort(&self, attribute: &str) -> bool {
        matches!(self.source(attribute), Some(Source::Own(_) | Source::Standard(_)))
    }

    /// One page. The number of statements is one, whatever the size of the table.
    pub async fn page(&self, conn: &mut Conn, query: &ListQuery) -> Result<Page, DbError> {
        let mut rows = conn.select(&self.page_query(query)).await?;
        let last = rows.last().map(|row| sort_values(row, self.sort_keys(query).len()));
        if query.reverse {
            rows.reverse();
        }
        Ok(Page { rows, last })
    }

    /// The query behind [`Listing::page`].
    pub fn page_query(&self, query: &ListQuery) -> SelectStatement {
        self.paged(self.select(), query, query.limit)
    }

    /// What to select, of what a query asks for, in its order, and no more than so many rows. The values of the sort keys
    /// are selected last.
    pub(crate) fn paged(&self, mut select: SelectStatement, query: &ListQuery, most: Option<u64>) -> SelectStatement {
        let keys = self.sort_keys(query);
        select.exprs(keys.iter().map(|key| key.column.clone()));
        select.cond_where(self.condition(query));
        if let Some(after) = &query.after {
            select.cond_where(after_condition(&keys, after));
        }
        for key in &keys {
            let order = if key.ascending { Order::Asc } else { Order::Desc };
            if key.nullable {
                select.order_by_expr(key.column.clone().is_not_null(), order.clone());
            }
            select.order_by_expr(key.column.clone(), order);
        }
        if let Some(most) = most {
            select.limit(most);
        }
        select
    }

    /// The sort key values of one resource, from which a page can begin; `None` when there is no such resource.
    pub async fn position(&self, conn: &mut Conn, query: &ListQuery, id: &str) -> Result<Option<Vec<Value>>, DbError> {
        let keys = self.sort_keys(query);
        let mut select = self.from();
        select.exprs(keys.iter().map(|key| key.column.clone()));
        select.and_where(own(self.table, "id").eq(id));
        select.cond_where(self.seen_by(&query.viewer));
        let rows = conn.select(&select).await?;
        Ok(rows.first().map(|row| sort_values(row, keys.len())))
    }

    /// How many match, without regard to limit and position.
    pub async fn count(&self, conn: &mut Conn, query: &ListQuery) -> Result<i64, DbError> {
        let mut select = self.from();
        select.expr(own(self.table, "id").count());
        select.cond_where(self.condition(query));
        conn.select(&select).await?.first().map_or(Ok(0), |row| row.get(0))
    }

    fn from(&self) -> SelectStatement {
        let mut select = Query::select();
        select.from(self.table.name);
        if self.standard {
            select.inner_join(
                crate::standard::TABLE,
                own(self.table, "standard_attr_id").equals((crate::standard::TABLE, "id")),
            );
        }
        select
    }

    /// How many values [`Listing::bare_select`] selects.
    pub(crate) fn width(&self) -> usize {
        self.columns.len() + if self.standard { crate::standard::COLUMNS.len() } else { 0 }
    }

    /// The columns of the table, then those of standard attributes.
    pub(crate) fn bare_select(&self) -> SelectStatement {
        let mut select = self.from();
        select.exprs(self.columns.iter().map(|column| own(self.table, column)));
        if self.standard {
            select.exprs(crate::standard::COLUMNS.iter().map(|column| Expr::col((crate::standard::TABLE, *column))));
        }
        select
    }

    fn select(&self) -> SelectStatement {
        let mut select = self.bare_select();
        if self.standard {
            select.expr(crate::standard::is_tagged());
        }
        select
    }

    fn sort_keys(&self, query: &ListQuery) -> Vec<SortKey> {
        let given = query.sort.iter().filter_map(|(attribute, ascending)| {
            let (column, nullable) = match self.source(attribute)? {
                Source::Own(name) => (own(self.table, name), self.table.column(name).is_none_or(|c| c.nullable)),
                Source::Standard(name) => (Expr::col((crate::standard::TABLE, name)), true),
                Source::Child { .. } | Source::Exists { .. } | Source::ParentExists { .. } | Source::Granted { .. } => {
                    return None;
                }
            };
            Some(SortKey { column, nullable, ascending: *ascending != query.reverse })
        });
        let mut keys: Vec<SortKey> = given.collect();
        keys.push(SortKey { column: own(self.table, "id"), nullable: false, ascending: !query.reverse });
        keys
    }

    pub(crate) fn condition(&self, query: &ListQuery) -> Condition {
        let mut all = self.seen_by(&query.viewer);
        for filter in &query.filters {
            if let Some(source) = self.source(&filter.attribute) {
                all = all.add(self.matches(source, filter, &query.viewer));
            }
        }
        if self.standard {
            all = self.tag_conditions(all, &query.tags);
        }
        all
    }

    /// What the viewer may see.
    fn seen_by(&self, viewer: &Viewer) -> Condition {
        if !viewer.scoped {
            return Cond::all();
        }
        let owned = |table: &'static Table| match &viewer.project_id {
            Some(project) => own(table, "project_id").eq(project.as_str()),
            None => own(table, "project_id").is_null(),
        };
        match self.scope {
            Scope::Everything => Cond::all(),
            Scope::Owned => Cond::all().add(owned(self.table)),
            Scope::Granted { key, table, actions } => {
                let granted = own(self.table, key).in_subquery(granted(table, actions, viewer));
                Cond::all().add(Cond::any().add(owned(self.table)).add(granted))
            }
            Scope::OfOwned { key, table } => {
                let mut others = child_rows(table, "id");
                others.and_where(owned(table));
                Cond::all().add(Cond::any().add(owned(self.table)).add(own(self.table, key).in_subquery(others)))
            }
        }
    }

    fn matches(&self, source: Source, filter: &Filter, viewer: &Viewer) -> SimpleExpr {
        match source {
            Source::Own(name) => compare(own(self.table, name), kind(self.table, name), filter),
            Source::Standard(name) => compare(
                Expr::col((crate::standard::TABLE, name)),
                kind(&crate::schema::tables::STANDARDATTRIBUTES, name),
                filter,
            ),
            Source::Child { table, link, column } => {
                let mut child = child_rows(table, link);
                child.and_where(compare(own(table, column), kind(table, column), filter));
                own(self.table, "id").in_subquery(child)
            }
            Source::Exists { table, link, only } => self.exists("id", having(table, link, only), filter),
            Source::ParentExists { key, table, link, only } => self.exists(key, having(table, link, only), filter),
            Source::Granted { key, table, action } => self.exists(key, granted(table, &[action], viewer), filter),
        }
    }

    fn exists(&self, key: &'static str, child: SelectStatement, filter: &Filter) -> SimpleExpr {
        let exists = own(self.table, key).in_subquery(child.clone());
        let absent = own(self.table, key).not_in_subquery(child);
        let wanted = |truth| filter.values.contains(&Value::Bool(truth));
        match (wanted(true), wanted(false)) {
            (true, true) => Expr::val(1).eq(1),
            (true, false) => exists,
            (false, true) => absent,
            (false, false) => nothing(),
        }
    }

    fn tag_conditions(&self, mut all: Condition, tags: &TagFilter) -> Condition {
        let key = own(self.table, "standard_attr_id");
        for tag in &tags.all {
            all = all.add(key.clone().in_subquery(tagged(std::slice::from_ref(tag))));
        }
        if !tags.any.is_empty() {
            all = all.add(key.clone().in_subquery(tagged(&tags.any)));
        }
        if !tags.not_all.is_empty() {
            let mut lacks_one = Cond::any();
            for tag in &tags.not_all {
                lacks_one = lacks_one.add(key.clone().not_in_subquery(tagged(std::slice::from_ref(tag))));
            }
            all = all.add(lacks_one);
        }
        if !tags.not_any.is_empty() {
            all = all.add(key.not_in_subquery(tagged(&tags.not_any)));
        }
        all
    }
}

struct SortKey {
    column: SimpleExpr,
    nullable: bool,
    ascending: bool,
}

fn own(table: &'static Table, column: &'static str) -> SimpleExpr {
    Expr::col((table.name, column))
}

fn kind(table: &'static Table, column: &str) -> Kind {
    table.column(column).map_or(Kind::Text(0), |c| c.kind)
}

fn anything() -> SimpleExpr {
    Expr::val(1).eq(1)
}

fn nothing() -> SimpleExpr {
    Expr::val(1).eq(0)
}

fn child_rows(table: &'static Table, link: &'static str) -> SelectStatement {
    let mut child = Query::select();
    child.expr(own(table, link)).from(table.name);
    child
}

/// Child rows with these texts in these columns.
fn having(table: &'static Table, link: &'static str, only: &[(&'static str, &'static str)]) -> SelectStatement {
    let mut child = child_rows(table, link);
    for (column, text) in only {
        child.and_where(own(table, column).eq(*text));
    }
    child
}

/// What RBAC rows grant to everyone, or to the project that asks.
fn granted(table: &'static Table, actions: &[&str], viewer: &Viewer) -> SelectStatement {
    let mut rows = child_rows(table, "object_id");
    rows.and_where(own(table, "action").is_in(actions.iter().copied()));
    rows.and_where(own(table, "target_project").is_in(targets(viewer.project_id.as_deref())));
    rows
}

/// Who an RBAC row may name for the project to be meant.
pub(crate) fn targets(project_id: Option<&str>) -> impl Iterator<Item = &str> {
    std::iter::once("*").chain(project_id)
}

fn tagged(tags: &[String]) -> SelectStatement {
    let table = &crate::schema::tables::TAGS;
    let mut rows = child_rows(table, "standard_attr_id");
    rows.and_where(own(table, "tag").is_in(tags.iter().map(String::as_str)));
    rows
}

/// The values as the column holds them; those it cannot hold match nothing and are left out.
fn adapted(kind: Kind, values: &[Value]) -> Vec<Value> {
    let adapt = |value: &Value| match (kind, value) {
        (Kind::Bool, Value::Text(t)) => t.parse::<bool>().ok().map(Value::Bool),
        (Kind::Bool, Value::Int(i)) => Some(Value::Bool(*i != 0)),
        (Kind::Int | Kind::BigInt, Value::Text(t)) => t.parse().ok().map(Value::Int),
        (Kind::DateTime | Kind::Timestamp, Value::Text(t)) => crate::standard::parse_time(t).map(Value::Timestamp),
        (Kind::Text(_) | Kind::Enum(_), Value::Int(i)) => Some(Value::Text(i.to_string())),
        (_, other) => Some(other.clone()),
    };
    values.iter().filter_map(adapt).collect()
}

fn compare(column: SimpleExpr, kind: Kind, filter: &Filter) -> SimpleExpr {
    let values = adapted(kind, &filter.values);
    let nulls = values.contains(&Value::Null);
    let plain: Vec<Value> = values.into_iter().filter(|v| *v != Value::Null).collect();
    let matches = match (filter.comparison, plain.as_slice()) {
        (_, []) => nothing(),
        (Comparison::Contains, _) => plain.iter().fold(nothing(), |any, value| match value {
            Value::Text(text) => {
                any.or(column.clone().like(LikeExpr::new(format!("%{}%", escaped(text))).escape('\\')))
            }
            _ => any,
        }),
        (Comparison::AtLeast, bounds) => {
            bounds.iter().fold(anything(), |all, v| all.and(column.clone().gte(v.clone())))
        }
        (Comparison::Below, bounds) => bounds.iter().fold(anything(), |all, v| all.and(column.clone().lt(v.clone()))),
        (Comparison::Equal, [one]) => column.clone().eq(one.clone()),
        (Comparison::Equal, many) => column.clone().is_in(many.iter().cloned()),
    };
    if nulls { matches.or(column.is_null()) } else { matches }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn sort_values(row: &Row, keys: usize) -> Vec<Value> {
    let values = row.values();
    values[values.len().saturating_sub(keys)..].to_vec()
}

/// "Behind this position" as `k1 > v1 OR (k1 = v1 AND (k2 > v2 OR …))`, with NULL before every value.
fn after_condition(keys: &[SortKey], after: &[Value]) -> Condition {
    let mut condition = Cond::any().add(nothing());
    for (key, value) in keys.iter().zip(after).rev() {
        let column = || key.column.clone();
        let (beyond, same) = match (value, key.ascending) {
            (Value::Null, true) => (column().is_not_null(), column().is_null()),
            (Value::Null, false) => (nothing(), column().is_null()),
            (value, true) => (column().gt(value.clone()), column().eq(value.clone())),
            (value, false) if key.nullable => {
                (column().lt(value.clone()).or(column().is_null()), column().eq(value.clone()))
            }
            (value, false) => (column().lt(value.clone()), column().eq(value.clone())),
        };
        condition = Cond::any().add(beyond).add(Cond::all().add(same).add(condition));
    }
    condition
}
