//! The only SQL: the schema, the rows and the queries on SQLite, MariaDB and PostgreSQL
