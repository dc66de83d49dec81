//! A database with networks, subnets and ports, made by plain rows: only address management is under test here.

use db::{Backend, Conn, Database, DbError, Value, ipam as rows, migrate, schema::tables, standard::standard_insert};
use isospin_server::{
    Error, Refusal, Result,
    ipam::{self, FixedIpRequest, Hints, Party, pools},
    retry::retrying,
};
use types::{Mac, NetworkId, PortId, SubnetId, port::FixedIp};

/// A database and the hints of one server on it.
pub struct World {
    pub url: String,
    pub db: Database,
    pub hints: Hints,
}

impl World {
    pub async fn new(url: &str) -> Self {
        let world = Self::on(url).await;
        migrate::upgrade(&world.db).await.unwrap();
        world
    }

    /// Another server on the same database.
    pub async fn on(url: &str) -> Self {
        Self { url: url.to_owned(), db: crate::connect(url).await, hints: Hints::default() }
    }

    pub fn backend(&self) -> Backend {
        self.db.backend()
    }

    pub async fn network(&self) -> NetworkId {
        let id = NetworkId::random();
        let mut tx = self.db.begin().await.unwrap();
        let standard = standard_insert(&mut tx, "networks", "", 0).await.unwrap();
        let row = vec![id.into(), "net".into(), "p".into(), 1500.into(), standard.standard_attr_id.into()];
        let columns = ["id", "name", "project_id", "mtu", "standard_attr_id"];
        tx.insert(&tables::NETWORKS, &columns, vec![row]).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// A subnet with its default pools. `mode` is an IPv6 mode or null.
    pub async fn subnet(&self, network: NetworkId, cidr: &str, mode: Option<&str>) -> SubnetId {
        let id = SubnetId::random();
        let mut tx = self.db.begin().await.unwrap();
        insert_subnet(&mut tx, network, id, cidr, mode).await;
        let cidr = cidr.parse().unwrap();
        let pools = pools::generate(cidr, Some(pools::default_gateway(cidr)));
        rows::ipam_subnet_insert(&mut tx, id, &pools).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// What creating a port does about addresses, in one transaction of its own.
    pub async fn port(&self, network: NetworkId, fixed: Option<&[FixedIpRequest]>) -> Result<(PortId, Vec<FixedIp>)> {
        retrying(|| async {
            let mut tx = self.db.begin().await?;
            let made = self.ports_in(&mut tx, network, 1, fixed).await?;
            tx.commit().await?;
            Ok(made.into_iter().next().unwrap())
        })
        .await
    }

    pub async fn ports(&self, network: NetworkId, count: usize) -> Result<Vec<(PortId, Vec<FixedIp>)>> {
        retrying(|| async {
            let mut tx = self.db.begin().await?;
            let made = self.ports_in(&mut tx, network, count, None).await?;
            tx.commit().await?;
            Ok(made)
        })
        .await
    }

    async fn ports_in(
        &self,
        tx: &mut Conn,
        network: NetworkId,
        count: usize,
        fixed: Option<&[FixedIpRequest]>,
    ) -> Result<Vec<(PortId, Vec<FixedIp>)>> {
        let macs = isospin_server::mac::generate(tx, network, [0xfa, 0x16, 0x3e, 0, 0, 0], count, 16).await?;
        let party = |mac: &Mac| Party { network_id: network, device_owner: "compute:test", mac: *mac, host: "" };
        let wanted: Vec<_> = macs.iter().map(|mac| (party(mac), fixed)).collect();
        let given = ipam::allocate(&self.hints, tx, &wanted).await?;
        let mut made = Vec::with_capacity(count);
        let mut ports = Vec::with_capacity(count);
        for (mac, allocation) in macs.iter().zip(given) {
            let id = PortId::random();
            let standard = standard_insert(tx, "ports", "", 0).await?;
            ports.push(vec![
                Value::from(id),
                network.into(),
                mac.into(),
                true.into(),
                "DOWN".into(),
                "".into(),
                "compute:test".into(),
                standard.standard_attr_id.into(),
                "p".into(),
            ]);
            made.push((id, allocation.fixed_ips));
        }
        let columns = [
            "id",
            "network_id",
            "mac_address",
            "admin_state_up",
            "status",
            "device_id",
            "device_owner",
            "standard_attr_id",
            "project_id",
        ];
        match tx.insert(&tables::PORTS, &columns, ports).await {
            // Two drew the same MAC: as rare as it is, a port is created again.
            Err(e) if e.is_duplicate(&[]) => return Err(DbError::Conflict { source: Box::new(e) }.into()),
            result => result?,
        }
        let stored: Vec<_> = made.iter().map(|(id, ips)| (*id, ips.as_slice())).collect();
        ipam::store(tx, network, &stored).await?;
        Ok(made)
    }

    pub async fn delete_port(&self, port: PortId) {
        retrying(|| async {
            let mut tx = self.db.begin().await?;
            let ips = rows::fixed_ips_of(&mut tx, &[port]).await?.remove(&port).unwrap_or_default();
            ipam::release(&self.hints, &mut tx, &ips).await?;
            tx.execute("DELETE FROM ports WHERE id = ?", vec![port.into()]).await?;
            Ok(tx.commit().await?)
        })
        .await
        .unwrap();
    }

    /// All addresses of the network as both tables have them, each ascending.
    pub async fn addresses(&self, network: NetworkId) -> (Vec<String>, Vec<String>) {
        let mut conn = self.db.reader().await.unwrap();
        let held = "SELECT ip_address FROM ipallocations WHERE network_id = ?";
        let taken = "SELECT i.ip_address FROM ipamallocations i JOIN ipamsubnets m ON m.id = i.ipam_subnet_id \
             JOIN subnets s ON s.id = m.neutron_subnet_id WHERE s.network_id = ?";
        let mut out = [Vec::new(), Vec::new()];
        for (text, list) in [held, taken].into_iter().zip(&mut out) {
            let rows = conn.sql(text, vec![network.into()]).await.unwrap();
            list.extend(rows.iter().map(|row| row.get::<String>(0).unwrap()));
            list.sort_unstable();
        }
        let [held, taken] = out;
        (held, taken)
    }
}

/// A subnet's own row.
pub async fn insert_subnet(tx: &mut Conn, network: NetworkId, id: SubnetId, cidr: &str, mode: Option<&str>) {
    let standard = standard_insert(tx, "subnets", "", 0).await.unwrap();
    let version = if cidr.contains(':') { 6 } else { 4 };
    let row = vec![
        id.into(),
        network.into(),
        version.into(),
        cidr.into(),
        true.into(),
        mode.into(),
        mode.into(),
        standard.standard_attr_id.into(),
    ];
    let columns = [
        "id",
        "network_id",
        "ip_version",
        "cidr",
        "enable_dhcp",
        "ipv6_ra_mode",
        "ipv6_address_mode",
        "standard_attr_id",
    ];
    tx.insert(&tables::SUBNETS, &columns, vec![row]).await.unwrap();
}

/// The refusal an operation ended in.
pub fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
