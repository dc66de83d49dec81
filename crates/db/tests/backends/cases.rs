//! What one connection, or two, can rely on.

use std::time::Duration;

use isospin_db::{Backend, Conn, Database, DbError, Value, schema::tables};
use sea_query::{Expr, ExprTrait, Query};
use types::{NetworkId, PortId};

/// Inserts a row of `standardattributes` and gives its id.
pub(super) async fn standard(conn: &mut Conn, resource: &str) -> i64 {
    let columns = ["resource_type", "description"];
    conn.insert_id(&tables::STANDARDATTRIBUTES, &columns, vec![resource.into(), "é ☃".into()]).await.unwrap()
}

/// Inserts a network.
pub(super) async fn network(conn: &mut Conn) -> NetworkId {
    let (id, standard) = (NetworkId::random(), standard(conn, "networks").await);
    let row = vec![id.into(), "net".into(), true.into(), standard.into()];
    conn.insert(&tables::NETWORKS, &["id", "name", "admin_state_up", "standard_attr_id"], vec![row]).await.unwrap();
    id
}

/// Inserts a port.
pub(super) async fn port(conn: &mut Conn, id: PortId, network: NetworkId, mac: &str) -> Result<(), DbError> {
    let standard = standard(conn, "ports").await;
    let text = || Value::from("");
    let mut row = vec![id.into(), network.into(), mac.into(), true.into(), "DOWN".into(), text(), text()];
    row.push(standard.into());
    let columns = [
        "id",
        "network_id",
        "mac_address",
        "admin_state_up",
        "status",
        "device_id",
        "device_owner",
        "standard_attr_id",
    ];
    conn.insert(&tables::PORTS, &columns, vec![row]).await
}

pub(crate) async fn count(conn: &mut Conn, table: &'static str) -> i64 {
    conn.sql(&format!("SELECT COUNT(*) FROM {table}"), vec![]).await.unwrap()[0].get(0).unwrap()
}

pub(super) async fn values_survive(database: &Database) {
    let now = chrono::DateTime::from_timestamp(1_795_341_296, 0).unwrap().naive_utc();
    let mut tx = database.begin().await.unwrap();
    let network = network(&mut tx).await;
    let standard = standard(&mut tx, "subnets").await;
    let row: Vec<Value> = vec![
        "00000000-0000-0000-0000-000000000001".into(),
        network.into(),
        4.into(),
        "10.0.0.0/24".into(),
        Value::Null,
        true.into(),
        "slaac".into(),
        standard.into(),
    ];
    let columns =
        ["id", "network_id", "ip_version", "cidr", "gateway_ip", "enable_dhcp", "ipv6_ra_mode", "standard_attr_id"];
    tx.insert(&tables::SUBNETS, &columns, vec![row.clone()]).await.unwrap();
    let update = Query::update()
        .table("standardattributes")
        .value("created_at", Value::from(now))
        .and_where(Expr::col("id").eq(standard))
        .to_owned();
    assert_eq!(tx.update(&update).await.unwrap(), 1);
    assert_eq!(tx.update(&update).await.unwrap(), 1, "rows that match count, not rows that change");
    tx.commit().await.unwrap();

    let mut conn = database.reader().await.unwrap();
    let rows = conn
        .select(
            tables::SUBNETS
                .select(&columns)
                .and_where(Expr::col("enable_dhcp").eq(true))
                .and_where(Expr::col("ipv6_ra_mode").eq("slaac"))
                .and_where(Expr::col("ip_version").eq(4)),
        )
        .await
        .unwrap();
    let got = &rows[0];
    assert_eq!(got.get::<NetworkId>(1).unwrap(), network);
    assert_eq!(got.get::<u32>(2).unwrap(), 4);
    assert_eq!(got.get::<ipnet::IpNet>(3).unwrap().to_string(), "10.0.0.0/24");
    assert_eq!(got.get::<Option<String>>(4).unwrap(), None);
    assert!(got.get::<bool>(5).unwrap());
    assert_eq!(got.get::<String>(6).unwrap(), "slaac");
    assert!(matches!(got.get::<String>(4), Err(DbError::Decode { .. })));
    assert!(matches!(got.get::<String>(99), Err(DbError::NoSuchColumn { .. })));

    let text = "SELECT created_at, description, updated_at FROM standardattributes WHERE created_at = ? AND id = ?";
    let rows = conn.sql(text, vec![now.into(), standard.into()]).await.unwrap();
    assert_eq!(rows[0].get::<chrono::NaiveDateTime>(0).unwrap(), now);
    assert_eq!(rows[0].get::<String>(1).unwrap(), "é ☃");
    let sum = conn.sql("SELECT SUM(revision_number), MAX(id) FROM standardattributes", vec![]).await.unwrap();
    assert_eq!(sum[0].get::<i64>(0).unwrap(), 0);
}

pub(super) async fn ids_are_given_in_order(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let first = standard(&mut tx, "x").await;
    let second = standard(&mut tx, "x").await;
    assert!(second > first && first > 0);
}

pub(super) async fn duplicates_name_their_constraint(database: &Database) {
    let id = PortId::random();
    let mut tx = database.begin().await.unwrap();
    let network_id = network(&mut tx).await;
    port(&mut tx, id, network_id, "fa:16:3e:00:00:01").await.unwrap();
    let trunk = vec![vec![Value::from("t1"), id.into(), "ACTIVE".into(), standard(&mut tx, "trunks").await.into()]];
    tx.insert(&tables::TRUNKS, &["id", "port_id", "status", "standard_attr_id"], trunk).await.unwrap();
    tx.commit().await.unwrap();

    let taken = |error: DbError, wanted: &str| match error {
        DbError::Duplicate { constraint, .. } => assert_eq!(constraint, wanted),
        other => panic!("{other:?}"),
    };
    let mut tx = database.begin().await.unwrap();
    taken(port(&mut tx, id, network_id, "fa:16:3e:00:00:02").await.unwrap_err(), "PRIMARY");
    drop(tx);
    let mut tx = database.begin().await.unwrap();
    let error = port(&mut tx, PortId::random(), network_id, "fa:16:3e:00:00:01").await.unwrap_err();
    assert!(error.is_duplicate(&["uniq_ports0network_id0mac_address"]));
    taken(error, "uniq_ports0network_id0mac_address");
    drop(tx);
    let mut tx = database.begin().await.unwrap();
    let trunk = vec![vec![Value::from("t2"), id.into(), "ACTIVE".into(), standard(&mut tx, "trunks").await.into()]];
    let error = tx.insert(&tables::TRUNKS, &["id", "port_id", "status", "standard_attr_id"], trunk).await.unwrap_err();
    taken(error, "port_id");
}

pub(super) async fn references_hold(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let error = port(&mut tx, PortId::random(), NetworkId::random(), "fa:16:3e:00:00:03").await.unwrap_err();
    assert!(matches!(error, DbError::ForeignKey { .. }), "{error:?}");
    drop(tx);

    let mut tx = database.begin().await.unwrap();
    let network_id = network(&mut tx).await;
    let id = PortId::random();
    port(&mut tx, id, network_id, "fa:16:3e:00:00:04").await.unwrap();
    let pair = vec![vec![Value::from(id), "fa:16:3e:00:00:05".into(), "10.0.0.9".into()]];
    tx.insert(&tables::ALLOWEDADDRESSPAIRS, &["port_id", "mac_address", "ip_address"], pair).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = database.begin().await.unwrap();
    let error = tx.execute("DELETE FROM networks WHERE id = ?", vec![network_id.into()]).await.unwrap_err();
    assert!(matches!(error, DbError::ForeignKey { .. }), "{error:?}");
    drop(tx);

    let mut tx = database.begin().await.unwrap();
    let pairs = count(&mut tx, "allowedaddresspairs").await;
    let delete = Query::delete().from_table("ports").and_where(Expr::col("id").eq(Value::from(id))).to_owned();
    assert_eq!(tx.delete(&delete).await.unwrap(), 1);
    assert_eq!(count(&mut tx, "allowedaddresspairs").await, pairs - 1, "deleting the port cascades");
}

pub(super) async fn bulk_inserts_are_split(database: &Database) {
    let rows = (0..20_000).map(|i| vec!["pool".into(), i.into(), false.into()]).collect();
    let mut tx = database.begin().await.unwrap();
    let columns = ["physical_network", "vlan_id", "allocated"];
    tx.insert(&tables::ML2_VLAN_ALLOCATIONS, &columns, rows).await.unwrap();
    assert_eq!(count(&mut tx, "ml2_vlan_allocations").await, 20_000);
    tx.insert(&tables::ML2_VLAN_ALLOCATIONS, &columns, vec![]).await.unwrap();
}

pub(super) async fn a_dropped_transaction_leaves_nothing(database: &Database) {
    let before = count(&mut database.reader().await.unwrap(), "networks").await;
    for _ in 0..3 {
        let mut tx = database.begin().await.unwrap();
        network(&mut tx).await;
    }
    let mut tx = database.begin().await.unwrap();
    assert_eq!(count(&mut tx, "networks").await, before);
    network(&mut tx).await;
    tx.commit().await.unwrap();
    assert_eq!(count(&mut database.reader().await.unwrap(), "networks").await, before + 1);
}

pub(super) async fn a_reader_sees_one_snapshot(database: &Database) {
    let mut reader = database.reader().await.unwrap();
    let before = count(&mut reader, "networks").await;
    let mut tx = database.begin().await.unwrap();
    network(&mut tx).await;
    tx.commit().await.unwrap();
    assert_eq!(count(&mut reader, "networks").await, before);
    drop(reader);
    assert_eq!(count(&mut database.reader().await.unwrap(), "networks").await, before + 1);
}

pub(super) async fn a_dropped_statement_costs_only_its_connection(database: &Database) {
    let slow = match database.backend() {
        Backend::Sqlite => return,
        Backend::Mysql => "SELECT SLEEP(120)",
        Backend::Postgres => "SELECT pg_sleep(120)::text",
    };
    let mut reader = database.reader().await.unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(100), reader.sql(slow, vec![])).await;
    assert!(cut.is_err());
    drop(reader);
    let others = async {
        for _ in 0..20 {
            count(&mut database.reader().await.unwrap(), "networks").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), others).await.unwrap();
}
