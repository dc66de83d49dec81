//! A private Galera cluster: several nodes of MariaDB that each take writes, gone when dropped.

use std::{ops::Index, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    instance::{Place, free_port, program},
    mariadb::MariaDb,
    wait,
};

const LIBRARY: &str = "/usr/lib/galera/libgalera_smm.so";
/// What a node that joins is given its state by.
const TRANSFER: &str = "wsrep_sst_rsync";

/// The nodes, the first of which began the cluster.
#[derive(Debug)]
pub struct Galera {
    nodes: Vec<MariaDb>,
}

/// The ports of a node besides that for clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    group: u16,
    transfer: u16,
    increment: u16,
}

impl Galera {
    /// Starts as many nodes, one after the other, each of which has the state of the first. Takes seconds for each.
    pub fn start(nodes: usize) -> Result<Self> {
        ensure!(PathBuf::from(LIBRARY).is_file(), "{LIBRARY} is missing; install galera-4");
        program(TRANSFER, &["/usr/bin", "/usr/local/bin"].map(PathBuf::from))?;
        let mut cluster = Self { nodes: Vec::new() };
        let mut first = None;
        for _ in 0..nodes {
            let ports = Ports::free()?;
            cluster.nodes.push(MariaDb::start_node(ports, first)?);
            first = first.or(Some(ports));
            cluster.until_joined(cluster.nodes.len() - 1)?;
        }
        Ok(cluster)
    }

    /// The same with the schema, which `program` makes by the first node and which then each of them has.
    pub fn with_schema(nodes: usize, program: &str) -> Result<Self> {
        let cluster = Self::start(nodes)?;
        let upgrade = Command::new(program).args(["db", "upgrade", "head", "--url", &cluster[0].url()]).output()?;
        ensure!(upgrade.status.success(), "no schema: {}", String::from_utf8_lossy(&upgrade.stderr));
        cluster.settle()?;
        Ok(cluster)
    }

    /// The URL of each node's database.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(MariaDb::url).collect()
    }

    /// Ends a node as a crash would. That the rest go on needs more than half of the nodes.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].kill()
    }

    /// Starts a node again that was killed, other than the first, which would begin another cluster; waits until it has
    /// what the others have.
    pub fn resume(&mut self, node: usize) -> Result<()> {
        ensure!(node > 0, "the first node would begin a cluster of its own");
        self.nodes[node].resume()?;
        self.until_joined(node)
    }

    /// A number of what a node says of itself: `wsrep_cluster_size`, `wsrep_local_cert_failures` and the like.
    pub fn status(&self, node: usize, name: &str) -> Result<u64> {
        let rows = self.nodes[node].query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
        let value = rows.first().and_then(|row| row.split('\t').nth(1)).unwrap_or_default();
        Ok(value.parse()?)
    }

    /// Waits until each node has all that any of them has taken so far.
    pub fn settle(&self) -> Result<()> {
        self.nodes.iter().try_for_each(|node| node.query("SET wsrep_sync_wait = 1; SELECT 1").map(|_| ()))
    }

    fn until_joined(&self, node: usize) -> Result<()> {
        let synced = "SHOW GLOBAL STATUS WHERE variable_name = 'wsrep_local_state' AND value = '4'";
        let joined =
            wait::until(Duration::from_secs(60), || self.nodes[node].query(synced).is_ok_and(|rows| rows.len() == 1));
        ensure!(joined, "node {node} does not join: {:?}", self.nodes[node].query("SHOW GLOBAL STATUS LIKE 'wsrep_%'"));
        Ok(())
    }
}

impl Index<usize> for Galera {
    type Output = MariaDb;

    fn index(&self, node: usize) -> &MariaDb {
        &self.nodes[node]
    }
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self { group: free_port()?, transfer: free_port()?, increment: free_port()? })
    }

    /// The arguments of a node that joins one with other ports, or begins a cluster.
    pub(crate) fn arguments(self, first: Option<Self>, place: &Place) -> Vec<String> {
        let Self { group, transfer, increment } = self;
        let others = first.map(|ports| format!("127.0.0.1:{}", ports.group)).unwrap_or_default();
        let options = format!(
            "gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{increment};gcache.size=16M;\
             gcache.dir={data}",
            data = place.path("data").display()
        );
        vec![
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={LIBRARY}"),
            format!("--wsrep-provider-options={options}"),
            format!("--wsrep-cluster-address=gcomm://{others}"),
            format!("--wsrep-node-address=127.0.0.1:{group}"),
            format!("--wsrep-sst-receive-address=127.0.0.1:{transfer}"),
            "--wsrep-sst-method=rsync".to_owned(),
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
        ]
    }
}
