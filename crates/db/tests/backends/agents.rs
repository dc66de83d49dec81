//! The queries of the agents' interfaces.

use isospin_db::{
    Conn, Database, DbError, agent, agent::Agent, device, dhcp_binding, member, provisioning, schema::tables, standard,
    tunnel,
};
use types::{AgentId, NetworkId, NetworkType, PortId, SegmentId, SubnetId, agent::kind};

use crate::cases;

fn dhcp_agent(host: &str, load: i32) -> Agent {
    let now = standard::now();
    Agent {
        id: AgentId::random(),
        agent_type: kind::DHCP.into(),
        binary: "b".into(),
        topic: "dhcp_agent".into(),
        host: host.into(),
        admin_state_up: true,
        created_at: now,
        started_at: now,
        heartbeat_timestamp: now,
        description: None,
        configurations: "{}".into(),
        load,
        availability_zone: Some("nova".into()),
        resource_versions: None,
        resources_synced: None,
    }
}

async fn subnet(conn: &mut Conn, network: NetworkId) -> SubnetId {
    let (id, standard) = (SubnetId::random(), cases::standard(conn, "subnets").await);
    let row = vec![id.into(), network.into(), 4.into(), "10.0.0.0/24".into(), true.into(), standard.into()];
    let columns = ["id", "network_id", "ip_version", "cidr", "enable_dhcp", "standard_attr_id"];
    conn.insert(&tables::SUBNETS, &columns, vec![row]).await.unwrap();
    id
}

pub(super) async fn networks_are_given_to_agents(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let (served, bare) = (cases::network(&mut tx).await, cases::network(&mut tx).await);
    subnet(&mut tx, served).await;
    let (mut one, two) = (dhcp_agent("a", 3), dhcp_agent("b", 0));
    agent::agent_insert(&mut tx, &one).await.unwrap();
    agent::agent_insert(&mut tx, &two).await.unwrap();
    assert_eq!(agent::agent_on_host(&mut tx, kind::DHCP, "a").await.unwrap().as_ref(), Some(&one));
    tx.commit().await.unwrap();

    let mut tx = database.begin().await.unwrap();
    let unserved = dhcp_binding::unserved_networks(&mut tx, one.id, 1).await.unwrap();
    assert!(unserved.iter().any(|u| u.network_id == served && u.agents == 0));
    assert!(unserved.iter().all(|u| u.network_id != bare));
    dhcp_binding::binding_insert(&mut tx, served, one.id, 1).await.unwrap();
    assert_eq!(dhcp_binding::binding_indexes(&mut tx, served).await.unwrap(), [1]);
    assert_eq!(dhcp_binding::network_counts(&mut tx).await.unwrap().get(&one.id), Some(&1));
    assert_eq!(dhcp_binding::networks_of_agent(&mut tx, one.id, true).await.unwrap(), [served]);
    assert!(dhcp_binding::unserved_networks(&mut tx, two.id, 1).await.unwrap().iter().all(|u| u.network_id != served));
    assert!(dhcp_binding::zone_hints(&mut tx, &[served]).await.unwrap()[&served].is_empty());
    one.heartbeat_timestamp -= chrono::Duration::seconds(500);
    one.description = Some("rack 3".into());
    one.resources_synced = Some(true);
    agent::agent_update(&mut tx, &one).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = database.begin().await.unwrap();
    let taken = dhcp_binding::binding_insert(&mut tx, served, two.id, 1).await.unwrap_err();
    assert!(matches!(taken, DbError::Duplicate { .. }), "{taken}");
    drop(tx);
    let mut tx = database.begin().await.unwrap();
    let cutoff = standard::now() - chrono::Duration::seconds(150);
    let silent = dhcp_binding::bindings_of_silent_agents(&mut tx, cutoff).await.unwrap();
    assert_eq!(silent, [(served, one.clone())]);
    assert!(dhcp_binding::binding_delete(&mut tx, served, one.id).await.unwrap());
    assert!(!dhcp_binding::binding_delete(&mut tx, served, one.id).await.unwrap());
    assert!(agent::agent_delete(&mut tx, one.id).await.unwrap() && agent::agent_delete(&mut tx, two.id).await.unwrap());
    tx.commit().await.unwrap();
}

pub(super) async fn devices_are_found_and_blocked(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    let network = cases::network(&mut tx).await;
    let subnet = subnet(&mut tx, network).await;
    let port: PortId = "5a1f6c3e-0b7d-4f8a-a2c4-9e8d7c6b5a40".parse().unwrap();
    cases::port(&mut tx, port, network, "fa:16:3e:00:00:77").await.unwrap();
    let twin = "5a1f6c3e-0c00-4f8a-a2c4-9e8d7c6b5a40".parse().unwrap();
    cases::port(&mut tx, twin, network, "fa:16:3e:00:00:78").await.unwrap();
    // Ten digits that no port has: fewer could begin the random identifier of one that another case left here.
    let found = device::ports_by_prefix(&mut tx, &["5a1f6c3e-0b", "5a1f6c3e", "5a1f6c3e-0d", "", &port.to_string()])
        .await
        .unwrap();
    assert_eq!(found, [("5a1f6c3e-0b".to_owned(), port), (port.to_string(), port)].into());

    let row = vec![port.into(), "a".into(), "bridge".into(), "normal".into(), r#"{"pci_slot":"0:1"}"#.into()];
    let columns = ["port_id", "host", "vif_type", "vnic_type", "profile"];
    tx.insert(&tables::ML2_PORT_BINDINGS, &columns, vec![row]).await.unwrap();
    assert_eq!(device::ports_on_host(&mut tx, "normal", "a").await.unwrap(), [port]);
    assert!(device::unbound_ports_on_host(&mut tx, "a").await.unwrap().is_empty());
    let by_slot = |slot| (slot, "fa:16:3e:00:00:77");
    for ((slot, mac), expected) in [(by_slot("0:1"), Some(port)), (by_slot("0:2"), None)] {
        assert_eq!(device::port_by_pci_slot(&mut tx, mac, slot).await.unwrap(), expected);
    }
    let segment = types::Segment {
        id: SegmentId::random(),
        network_id: network,
        network_type: NetworkType::Local,
        physical_network: None,
        segmentation_id: None,
        segment_index: 0,
    };
    isospin_db::segment::segment_insert(&mut tx, &segment).await.unwrap();
    let level = vec![port.into(), "a".into(), 0.into(), "linuxbridge".into(), segment.id.into()];
    let columns = ["port_id", "host", "level", "driver", "segment_id"];
    tx.insert(&tables::ML2_PORT_BINDING_LEVELS, &columns, vec![level]).await.unwrap();
    let bound = device::bound_segments(&mut tx, &[port]).await.unwrap();
    assert_eq!(bound, [((port, "a".to_owned()), segment.id)].into());

    let address = vec![port.into(), "10.0.0.5".into(), subnet.into(), network.into()];
    let columns = ["port_id", "ip_address", "subnet_id", "network_id"];
    tx.insert(&tables::IPALLOCATIONS, &columns, vec![address]).await.unwrap();
    assert!(!provisioning::is_dhcp_served(&mut tx, port, network).await.unwrap());
    let agent = dhcp_agent("c", 0);
    agent::agent_insert(&mut tx, &agent).await.unwrap();
    dhcp_binding::binding_insert(&mut tx, network, agent.id, 1).await.unwrap();
    assert!(provisioning::is_dhcp_served(&mut tx, port, network).await.unwrap());
    let block = cases::standard(&mut tx, "ports").await;
    provisioning::block_add(&mut tx, block, "L2").await.unwrap();
    provisioning::block_add(&mut tx, block, "L2").await.unwrap();
    assert_eq!(provisioning::blocks(&mut tx, block).await.unwrap(), ["L2"]);
    assert!(provisioning::block_remove(&mut tx, block, "L2").await.unwrap());
    assert!(!provisioning::block_remove(&mut tx, block, "L2").await.unwrap());
    assert!(member::members(&mut tx, &[types::SecurityGroupId::random()]).await.unwrap().is_empty());
    dhcp_binding::dhcp_port_rename(&mut tx, "no such device", "other").await.unwrap();
}

pub(super) async fn tunnel_ends_are_kept(database: &Database) {
    let mut tx = database.begin().await.unwrap();
    for (overlay, udp_port) in [(NetworkType::Vxlan, Some(4789)), (NetworkType::Gre, None), (NetworkType::Geneve, None)]
    {
        tunnel::endpoint_insert(&mut tx, overlay, "10.10.0.1", "a", 4789).await.unwrap();
        let end = tunnel::Endpoint { ip_address: "10.10.0.1".into(), udp_port, host: Some("a".into()) };
        assert_eq!(tunnel::endpoints(&mut tx, overlay).await.unwrap(), [end]);
        tunnel::endpoint_delete(&mut tx, overlay, "10.10.0.1").await.unwrap();
        assert!(tunnel::endpoints(&mut tx, overlay).await.unwrap().is_empty());
    }
}
