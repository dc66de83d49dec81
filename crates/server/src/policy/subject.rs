//! What a rule is about: a resource's attributes, and what its rules may ask of the resources it belongs to.

use std::collections::{HashMap, HashSet};

use db::{Conn, network::ACCESS_AS_SHARED};
use oslo::policy::Target;
use serde_json::{Map, Value};

use crate::{Refusal, Result};

/// A resource, or the wish for one, as rules see it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its attributes.
    pub attributes: &'a Map<String, Value>,
    /// What it belongs to.
    pub parents: &'a Parents,
}

/// The networks and security groups that resources belong to.
#[derive(Debug, Default)]
pub struct Parents {
    networks: HashMap<String, Network>,
    groups: HashMap<String, Value>,
}

#[derive(Debug)]
struct Network {
    owner: Value,
    /// Actions that are granted, and whom to.
    grants: HashSet<(String, String)>,
}

const TRUE: &Value = &Value::Bool(true);
const FALSE: &Value = &Value::Bool(false);

impl Parents {
    /// Loads what the rules name, for all of the resources by a number of queries that does not depend on how many they
    /// are.
    pub async fn load(conn: &mut Conn, named: &[(&str, &str)], resources: &[&Map<String, Value>]) -> Result<Self> {
        let mut parents = Self::default();
        let of = |attribute: &str| -> Vec<String> {
            let ids = resources.iter().filter_map(|resource| resource.get(attribute)?.as_str());
            ids.collect::<HashSet<_>>().into_iter().map(str::to_owned).collect()
        };
        if named.iter().any(|(resource, _)| *resource == "network") {
            let ids = of("network_id");
            if !ids.is_empty() {
                parents.load_networks(conn, &ids).await?;
                if named.contains(&("network", "shared")) {
                    parents.load_grants(conn, &ids, &of("project_id")).await?;
                }
            }
        }
        if named.iter().any(|(resource, _)| *resource == "security_group") {
            let ids = of("security_group_id");
            if !ids.is_empty() {
                let owners = db::security_group::security_group_owners(conn, &ids).await?;
                parents.groups = owners.into_iter().map(|(id, owner)| (id, owner.into())).collect();
            }
        }
        Ok(parents)
    }

    async fn load_networks(&mut self, conn: &mut Conn, ids: &[String]) -> Result<()> {
        for (id, owner) in db::network::network_owners(conn, ids).await? {
            self.networks.insert(id, Network { owner: owner.into(), grants: HashSet::new() });
        }
        Ok(())
    }

    async fn load_grants(&mut self, conn: &mut Conn, ids: &[String], projects: &[String]) -> Result<()> {
        for (id, action, target) in db::network::network_grants(conn, ids, projects).await? {
            if let Some(network) = self.networks.get_mut(&id) {
                network.grants.insert((action, target));
            }
        }
        Ok(())
    }
}

impl Network {
    /// Whether the project may use it; `None` where it does not even see it.
    fn shared_with(&self, project: &str) -> Option<bool> {
        let mut granted = self.grants.iter().filter(|(_, target)| target == "*" || target == project).peekable();
        let visible = project.is_empty() || self.owner == project || granted.peek().is_some();
        visible.then(|| granted.any(|(action, _)| action == ACCESS_AS_SHARED))
    }
}

impl Subject<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }
}

impl Target for Subject<'_> {
    type Error = Refusal;

    fn attribute(&self, name: &str) -> Option<&Value> {
        let twin = match name {
            "tenant_id" => "project_id",
            "project_id" => "tenant_id",
            "target_project" => "target_tenant",
            _ => name,
        };
        self.attributes.get(name).or_else(|| self.attributes.get(twin))
    }

    fn parent(&self, resource: &str, attribute: &str) -> Result<Option<&Value>, Refusal> {
        match (resource, attribute) {
            ("network", _) => {
                let Some(id) = self.text("network_id") else { return Ok(None) };
                let missing = || Refusal::not_found("Network", id);
                let network = self.parents.networks.get(id).ok_or_else(missing)?;
                match attribute {
                    "project_id" | "tenant_id" => Ok(Some(&network.owner)),
                    "shared" => {
                        let project = self.text("project_id").unwrap_or_default();
                        let shared = network.shared_with(project).ok_or_else(missing)?;
                        Ok(Some(if shared { TRUE } else { FALSE }))
                    }
                    _ => Ok(None),
                }
            }
            ("security_group", "project_id" | "tenant_id") => {
                let Some(id) = self.text("security_group_id") else { return Ok(None) };
                let owner = self.parents.groups.get(id).ok_or_else(|| Refusal::not_found("SecurityGroup", id))?;
                Ok(Some(owner))
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
impl Parents {
    /// Parents that no database holds: id, owner, and whether everyone may use it.
    pub(super) fn made_up(parents: &[(&str, &str, Option<&str>)]) -> Self {
        let mut made = Self::default();
        for (id, owner, granted) in parents {
            let grants = granted.iter().map(|action| ((*action).to_owned(), "*".to_owned())).collect();
            made.networks.insert((*id).to_owned(), Network { owner: (*owner).into(), grants });
            made.groups.insert((*id).to_owned(), (*owner).into());
        }
        made
    }
}
