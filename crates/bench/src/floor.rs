//! The floor: the rows of one port create, committed by hand with the statements prepared, and read again.
//!
//! What a server adds to this is its own cost. The rows are those that creating a port with one address and one
//! security group leaves behind; the tables are Neutron's, with all their keys and indexes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use db::{Backend, Database, Tx, Value};
use db::{list::ListQuery, schema::tables};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::plan::Plan;
use crate::say;
use crate::stats::Sample;

/// Operations of each client before the measured ones, for its connection and what is prepared on it.
const WARMING: usize = 10;

/// What one database does.
pub(crate) struct Floor {
    /// Which database.
    pub(crate) name: &'static str,
    /// The number of clients, and how it went.
    pub(crate) samples: Vec<(usize, Sample)>,
    /// The same for reading what was written, one port at a time.
    pub(crate) reads: Vec<(usize, Sample)>,
}

/// A fresh SQLite file and the databases given. They take turns with the endpoints, and run as a server would: on all
/// cores.
pub(crate) struct Floors {
    runtime: Handle,
    directory: TempDir,
    grounds: Vec<(Database, Arc<Ground>)>,
    floors: Vec<Floor>,
}

impl Floors {
    /// Connects and writes what ports refer to.
    pub(crate) async fn lay(urls: &[String], runtime: &Handle) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("isospin-bench-floor-").tempdir()?;
        let (mut grounds, mut floors) = (Vec::new(), Vec::new());
        for url in std::iter::once(&sqlite_url(directory.path())).chain(urls) {
            let settings = db::Settings::new(url);
            let laid = runtime.spawn(async move {
                let database = Database::connect(&settings).await?;
                db::migrate::upgrade(&database).await?;
                let ground = Arc::new(Ground::lay(&database).await?);
                anyhow::Ok((database, ground))
            });
            let laid = laid.await?.with_context(|| format!("the floor on {}", without_password(url)))?;
            let name = match laid.0.backend() {
                Backend::Sqlite => "SQLite",
                Backend::Mysql => "MariaDB",
                Backend::Postgres => "PostgreSQL",
            };
            floors.push(Floor { name, samples: Vec::new(), reads: Vec::new() });
            grounds.push(laid);
        }
        Ok(Self { runtime: runtime.clone(), directory, grounds, floors })
    }

    /// Commits ports by so many clients.
    pub(crate) async fn commit(&mut self, plan: &Plan, clients: usize) -> anyhow::Result<()> {
        let work = |database, ground: Arc<Ground>| async move { ground.commit_port(&database).await };
        self.measure("commits", plan.commits, plan.time, clients, work, |floor| &mut floor.samples).await
    }

    /// Reads one of them by so many clients.
    pub(crate) async fn read(&mut self, plan: &Plan, clients: usize) -> anyhow::Result<()> {
        let work = |database, ground: Arc<Ground>| async move { ground.read_port(&database).await };
        self.measure("reads", plan.shows, plan.time, clients, work, |floor| &mut floor.reads).await
    }

    /// Does something on each, and puts how it went where it belongs.
    async fn measure<F: Future<Output = Result<(), db::DbError>> + Send + 'static>(
        &mut self,
        what: &str,
        count: usize,
        time: Duration,
        clients: usize,
        work: impl Fn(Database, Arc<Ground>) -> F + Copy + Send + Sync + 'static,
        samples: impl Fn(&mut Floor) -> &mut Vec<(usize, Sample)>,
    ) -> anyhow::Result<()> {
        for (floor, (database, ground)) in self.floors.iter_mut().zip(&self.grounds) {
            let all = at_once(database.clone(), Arc::clone(ground), count, time, clients, work);
            let sample = self.runtime.spawn(all).await??;
            tell(floor.name, what, clients, &sample);
            samples(floor).push((clients, sample));
        }
        Ok(())
    }

    /// Takes everything away again.
    pub(crate) async fn clear(self) -> anyhow::Result<Vec<Floor>> {
        for (database, ground) in self.grounds {
            self.runtime.spawn(async move { ground.clear(&database).await }).await??;
        }
        self.directory.close()?;
        Ok(self.floors)
    }
}

fn sqlite_url(directory: &Path) -> String {
    format!("sqlite:///{}", directory.join("floor.db").display())
}

/// A URL that may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

fn tell(name: &str, what: &str, clients: usize, sample: &Sample) {
    let median = sample.median().unwrap_or_default().as_secs_f64() * 1e3;
    say(&format!("  floor on {name}, {what}, {clients} at once: {:.1} /s, p50 {median:.2} ms", sample.rate()));
}

/// Does something `count` times, or as often as the time allows, by so many clients.
async fn at_once<F: Future<Output = Result<(), db::DbError>> + Send + 'static>(
    database: Database,
    ground: Arc<Ground>,
    count: usize,
    time: Duration,
    clients: usize,
    work: impl Fn(Database, Arc<Ground>) -> F + Copy + Send + 'static,
) -> anyhow::Result<Sample> {
    let counted = |count| counted(&database, &ground, count, time, clients, work);
    counted(clients * WARMING).await?;
    counted(count).await
}

async fn counted<F: Future<Output = Result<(), db::DbError>> + Send + 'static>(
    database: &Database,
    ground: &Arc<Ground>,
    count: usize,
    time: Duration,
    clients: usize,
    work: impl Fn(Database, Arc<Ground>) -> F + Copy + Send + 'static,
) -> anyhow::Result<Sample> {
    let begun = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (database, ground, begun) = (database.clone(), Arc::clone(ground), Arc::clone(&begun));
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < count && begin.elapsed() < time {
                let start = Instant::now();
                work(database.clone(), Arc::clone(&ground)).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    for result in tasks.join_all().await {
        latencies.extend(result?);
    }
    Ok(Sample::new(latencies, begin.elapsed()))
}

/// The rows a port refers to.
struct Ground {
    project: String,
    network: String,
    subnet: String,
    ipam_subnet: String,
    group: String,
    next_address: AtomicU32,
    /// One of the ports written.
    written: OnceLock<String>,
}

impl Ground {
    /// Writes them.
    async fn lay(database: &Database) -> anyhow::Result<Self> {
        let id = || Uuid::new_v4().to_string();
        let ground = Self {
            project: Uuid::new_v4().simple().to_string(),
            network: id(),
            subnet: id(),
            ipam_subnet: id(),
            group: id(),
            next_address: AtomicU32::new(u32::from(Ipv4Addr::new(10, 0, 0, 2))),
            written: OnceLock::new(),
        };
        let mut tx = database.begin().await?;
        let standard = standard_insert(&mut tx, "networks").await?;
        let row = values([&ground.project, &ground.network, "bench", "ACTIVE"]);
        let row = [row, vec![true.into(), 1500.into(), standard.into()]].concat();
        let columns = ["project_id", "id", "name", "status", "admin_state_up", "mtu", "standard_attr_id"];
        tx.insert(&tables::NETWORKS, &columns, vec![row]).await?;
        let standard = standard_insert(&mut tx, "subnets").await?;
        let row = values([&ground.project, &ground.subnet, "bench", &ground.network, "10.0.0.0/12"]);
        let row = [row, vec![4.into(), false.into(), standard.into()]].concat();
        let columns =
            ["project_id", "id", "name", "network_id", "cidr", "ip_version", "enable_dhcp", "standard_attr_id"];
        tx.insert(&tables::SUBNETS, &columns, vec![row]).await?;
        let row = values([&ground.ipam_subnet, &ground.subnet]);
        tx.insert(&tables::IPAMSUBNETS, &["id", "neutron_subnet_id"], vec![row]).await?;
        let standard = standard_insert(&mut tx, "securitygroups").await?;
        let row = [values([&ground.project, &ground.group, "bench"]), vec![true.into(), standard.into()]].concat();
        let columns = ["project_id", "id", "name", "stateful", "standard_attr_id"];
        tx.insert(&tables::SECURITYGROUPS, &columns, vec![row]).await?;
        tx.commit().await?;
        Ok(ground)
    }

    /// Commits what one port is made of.
    async fn commit_port(&self, database: &Database) -> Result<(), db::DbError> {
        let number = self.next_address.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::from(number).to_string();
        let [_, a, b, c] = number.to_be_bytes();
        let mac = format!("fa:16:3e:{a:02x}:{b:02x}:{c:02x}");
        let port = Uuid::new_v4().to_string();
        let mut tx = database.begin().await?;
        let standard = standard_insert(&mut tx, "ports").await?;
        let row = values([&self.project, &port, "bench", &self.network, &mac, "DOWN", "", "", "immediate"]);
        let columns = [
            "project_id",
            "id",
            "name",
            "network_id",
            "mac_address",
            "status",
            "device_id",
            "device_owner",
            "ip_allocation",
            "admin_state_up",
            "standard_attr_id",
        ];
        tx.insert(&tables::PORTS, &columns, vec![[row, vec![true.into(), standard.into()]].concat()]).await?;
        let row = values([&address, "ALLOCATED", &self.ipam_subnet]);
        tx.insert(&tables::IPAMALLOCATIONS, &["ip_address", "status", "ipam_subnet_id"], vec![row]).await?;
        let row = values([&port, &address, &self.subnet, &self.network]);
        tx.insert(&tables::IPALLOCATIONS, &["port_id", "ip_address", "subnet_id", "network_id"], vec![row]).await?;
        let row = vec![Value::from(&port), true.into()];
        tx.insert(&tables::PORTSECURITYBINDINGS, &["port_id", "port_security_enabled"], vec![row]).await?;
        let row = values([&port, &self.group]);
        tx.insert(&tables::SECURITYGROUPPORTBINDINGS, &["port_id", "security_group_id"], vec![row]).await?;
        let row = values([&port, "", "unbound", "normal", "", "", "ACTIVE"]);
        let columns = ["port_id", "host", "vif_type", "vnic_type", "profile", "vif_details", "status"];
        tx.insert(&tables::ML2_PORT_BINDINGS, &columns, vec![row]).await?;
        tx.commit().await?;
        self.written.get_or_init(|| port);
        Ok(())
    }

    /// Reads all rows of a port, with the statement that shows it.
    async fn read_port(&self, database: &Database) -> Result<(), db::DbError> {
        let port = self.written.get().map(String::as_str).unwrap_or_default();
        let mut conn = database.glance().await?;
        let query = ListQuery { limit: Some(1), ..ListQuery::by_id(port) };
        db::port::ports_page(&mut conn, &query).await.map(drop)
    }

    /// Takes everything away again, for databases that stay.
    async fn clear(&self, database: &Database) -> anyhow::Result<()> {
        let mut tx = database.begin().await?;
        for (text, id) in [
            ("DELETE FROM ports WHERE network_id = ?", &self.network),
            ("DELETE FROM ipamsubnets WHERE id = ?", &self.ipam_subnet),
            ("DELETE FROM subnets WHERE id = ?", &self.subnet),
            ("DELETE FROM networks WHERE id = ?", &self.network),
            ("DELETE FROM securitygroups WHERE id = ?", &self.group),
        ] {
            tx.execute(text, vec![id.into()]).await?;
        }
        Ok(tx.commit().await?)
    }
}

async fn standard_insert(tx: &mut Tx, resource_type: &str) -> Result<i64, db::DbError> {
    let now = chrono::Utc::now().naive_utc();
    let row = vec![resource_type.into(), now.into(), now.into(), "".into(), 0.into()];
    let columns = ["resource_type", "created_at", "updated_at", "description", "revision_number"];
    tx.insert_id(&tables::STANDARDATTRIBUTES, &columns, row).await
}

fn values<const N: usize>(texts: [&str; N]) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_floor_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::connect(&db::Settings::new(sqlite_url(directory.path()))).await.unwrap();
        db::migrate::upgrade(&database).await.unwrap();
        let ground = Ground::lay(&database).await.unwrap();
        ground.commit_port(&database).await.unwrap();
        ground.commit_port(&database).await.unwrap();
        ground.read_port(&database).await.unwrap();
        let count = async |table: &str| {
            let mut reader = database.reader().await.unwrap();
            let rows = reader.sql(&format!("SELECT count(*) FROM {table}"), Vec::new()).await.unwrap();
            rows[0].get::<i64>(0).unwrap()
        };
        for table in ["ports", "ipallocations", "ipamallocations", "ml2_port_bindings", "securitygroupportbindings"] {
            assert_eq!(count(table).await, 2, "{table}");
        }
        ground.clear(&database).await.unwrap();
        for table in ["ports", "ipallocations", "ipamallocations", "networks", "subnets", "securitygroups"] {
            assert_eq!(count(table).await, 0, "{table}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("mysql+pymysql://u:p@h/db"), "mysql+pymysql://…@h/db");
        assert_eq!(without_password("sqlite:///tmp/x"), "sqlite:///tmp/x");
    }
}
