//! A resource read by one statement is what it is when it is read as a page of one.

use isospin_db::{
    Conn, Database, Value,
    list::ListQuery,
    network::{self, networks_from_rows},
    port::{self, ports_from_rows},
    schema::tables,
    standard,
};
use types::{NetworkId, PortId, SubnetId};

use crate::cases;

/// So many of each kind of what hangs on a port and its network.
async fn hang(conn: &mut Conn, port: PortId, network: NetworkId, from: i32, to: i32) {
    let columns = ["id", "network_id", "ip_version", "cidr", "enable_dhcp", "standard_attr_id"];
    let attributes = ["ports", "networks"].map(|table| format!("SELECT standard_attr_id FROM {table} WHERE id = ?"));
    for number in from..to {
        let (subnet, standard) = (SubnetId::random(), cases::standard(conn, "subnets").await);
        let cidr = format!("10.9.{number}.0/24");
        let row = vec![subnet.into(), network.into(), 4.into(), cidr.into(), true.into(), standard.into()];
        conn.insert(&tables::SUBNETS, &columns, vec![row]).await.unwrap();
        let address = format!("10.9.{number}.2");
        let row: Vec<Value> = vec![port.into(), address.into(), subnet.into(), network.into()];
        let columns = ["port_id", "ip_address", "subnet_id", "network_id"];
        conn.insert(&tables::IPALLOCATIONS, &columns, vec![row]).await.unwrap();
        let row: Vec<Value> = vec![port.into(), "fa:16:3e:00:00:01".into(), format!("10.8.0.{number}").into()];
        let columns = ["port_id", "mac_address", "ip_address"];
        conn.insert(&tables::ALLOWEDADDRESSPAIRS, &columns, vec![row]).await.unwrap();
        for (text, id) in attributes.iter().zip([Value::from(port), network.into()]) {
            let key = conn.sql(text, vec![id]).await.unwrap()[0].get(0).unwrap();
            standard::tags_add(conn, key, &[format!("tag {number}")]).await.unwrap();
        }
    }
}

/// How many addresses, pairs and tags a port has, when all ways to read it agree; the same of its network.
async fn agreed(database: &Database, port: PortId, network: NetworkId) -> ([usize; 3], [usize; 2]) {
    let single = |id: &str| ListQuery { limit: Some(1), ..ListQuery::by_id(id) };
    let (of_port, of_network) = (single(&port.to_string()), single(&network.to_string()));
    let mut reader = database.reader().await.unwrap();
    let rows = port::LISTING.page(&mut reader, &of_port).await.unwrap().rows;
    let one = ports_from_rows(&mut reader, rows).await.unwrap().pop().unwrap();
    let rows = network::LISTING.page(&mut reader, &of_network).await.unwrap().rows;
    let its = networks_from_rows(&mut reader, rows, None).await.unwrap().pop().unwrap();
    for mut conn in [database.glance().await.unwrap(), reader] {
        assert_eq!(port::ports_page(&mut conn, &of_port).await.unwrap().make().unwrap(), std::slice::from_ref(&one));
        assert_eq!(
            network::networks_page(&mut conn, &of_network, None).await.unwrap().make().unwrap(),
            std::slice::from_ref(&its)
        );
    }
    let of_port = [one.fixed_ips.len(), one.allowed_address_pairs.len(), one.standard.tags.len()];
    (of_port, [its.subnets.len(), its.standard.tags.len()])
}

pub(super) async fn one_statement_tells_what_several_do(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let (network, port) = (cases::network(&mut tx).await, PortId::random());
    cases::port(&mut tx, port, network, "fa:16:3e:00:00:99").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(agreed(database, port, network).await, ([0, 0, 0], [0, 0]));
    // One of each, two of each, and more than are joined: 729 rows.
    for (from, to) in [(0, 1), (1, 2), (2, 9)] {
        let mut tx = database.begin().await.unwrap();
        hang(&mut tx, port, network, from, to).await;
        tx.commit().await.unwrap();
        let each = usize::try_from(to).unwrap();
        assert_eq!(agreed(database, port, network).await, ([each; 3], [each; 2]));
    }
    let none = ListQuery { limit: Some(1), ..ListQuery::by_id(&PortId::random().to_string()) };
    assert!(port::ports_page(&mut database.glance().await.unwrap(), &none).await.unwrap().make().unwrap().is_empty());
}

/// Ports with more and with fewer joined rows than a statement gives, in pages of any length, forth and back.
pub(super) async fn pages_tell_what_all_do(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let network = cases::network(&mut tx).await;
    let mut hung = 0;
    for number in 0..40 {
        let port = PortId::random();
        cases::port(&mut tx, port, network, &format!("fa:16:3e:00:01:{number:02x}")).await.unwrap();
        // One row, eight, and more than any statement gives.
        let hanging = [0, 0, 2, 0, 9].get(number % 7).copied().unwrap_or_default();
        hang(&mut tx, port, network, hung, hung + hanging).await;
        hung += hanging;
    }
    tx.commit().await.unwrap();
    let mut reader = database.reader().await.unwrap();
    let of_network = ListQuery::default().matching("network_id", network);
    let rows = port::LISTING.page(&mut reader, &of_network).await.unwrap().rows;
    let all = ports_from_rows(&mut reader, rows).await.unwrap();
    assert_eq!(all.len(), 40);
    for limit in [1, 3, 39, 40, 250] {
        for reverse in [false, true] {
            let mut query = ListQuery { limit: Some(limit), reverse, ..of_network.clone() };
            let mut pages = Vec::new();
            loop {
                let mut page = port::ports_page(&mut reader, &query).await.unwrap();
                query.after = page.last.take();
                let ended = page.count < limit;
                let at = if reverse { 0 } else { pages.len() };
                pages.splice(at..at, page.make().unwrap());
                if ended {
                    break;
                }
            }
            assert!(pages == all, "{limit} {reverse}");
        }
    }
}

pub(super) async fn a_glance_becomes_a_snapshot(database: &Database) {
    let mut glance = database.glance().await.unwrap();
    let count = async |conn: &mut Conn| cases::count(conn, "networks").await;
    let more = async || {
        let mut tx = database.begin().await.unwrap();
        cases::network(&mut tx).await;
        tx.commit().await.unwrap();
    };
    let before = count(&mut glance).await;
    more().await;
    assert_eq!(count(&mut glance).await, before + 1);
    more().await;
    assert_eq!(count(&mut glance).await, before + 1, "it has begun");
    drop(glance);
    assert_eq!(count(&mut database.glance().await.unwrap()).await, before + 2);
}
