//! What the agent asks of the server and tells it, each on a task of its own, and what comes of the answers.

use std::collections::BTreeSet;

use kernel::Kernel;
use oslo::{context::Context, messaging::CallError};
use rpc::{
    l2::{Details, Device, DeviceList, Tunnels},
    security_group::{self, SecurityGroupInfo},
};
use tokio::time::Instant;
use types::{NetworkId, NetworkType};

use super::{Agent, RETRY};
use crate::linuxbridge::{notification::Hint, state::News};

/// How many devices are asked for, or told of, in one message.
const CHUNK: usize = 250;

/// What a server's answer, on its task, brings back to the loop.
pub(super) enum Answer {
    Details(Vec<String>, Result<(Vec<Details>, SecurityGroupInfo), CallError>),
    Groups(BTreeSet<String>, Result<SecurityGroupInfo, CallError>),
    Told(News, Result<DeviceList, CallError>),
    Network(NetworkId, bool),
    Tunnels(Result<Tunnels, CallError>),
}

/// Questions about groups that changed.
pub(super) struct Groups {
    server: security_group::Client,
    /// Groups to ask about.
    due: BTreeSet<String>,
    /// Groups of which it was said, while details were asked for, that they changed: the answer may be older than that.
    doubtful: BTreeSet<String>,
    asking: bool,
}

impl Groups {
    pub(super) fn new(server: security_group::Client) -> Self {
        Self { server, due: BTreeSet::new(), doubtful: BTreeSet::new(), asking: false }
    }

    /// Of these it was said that they changed, maybe while details were asked for.
    pub(super) fn changed(&mut self, ids: Vec<String>, while_asking: bool) {
        if while_asking {
            self.doubtful.extend(ids.iter().cloned());
        }
        self.due.extend(ids);
    }

    /// There is something to ask, and nothing is being asked.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty() && !self.asking
    }
}

impl<K: Kernel> Agent<K> {
    /// Asks for the details of new devices, and after networks of bridges that nobody uses. One question at a time.
    pub(super) fn ask(&mut self) {
        if self.asking {
            return;
        }
        for network in self.state.take_doubtful_networks() {
            let (server, answers) = (self.server.clone(), self.answers.clone());
            let (id, host) = (Some(self.id.clone()), Some(self.host.clone()));
            tokio::spawn(async move {
                let answer = server.get_network_details(&Context::admin(), network, id, host).await;
                let gone =
                    matches!(answer, Err(CallError::Remote(failure)) if failure.class.starts_with("NetworkNotFound"));
                tracing::debug!(%network, gone, "asked after the network of an unused bridge");
                let _ = answers.send(Answer::Network(network, gone)).await;
            });
        }
        self.ask_for_tunnels();
        let devices = self.state.take_questions(CHUNK, Instant::now());
        if devices.is_empty() {
            return;
        }
        self.asking = true;
        let (server, answers) = (self.server.clone(), self.answers.clone());
        let (id, host) = (Some(self.id.clone()), Some(self.host.clone()));
        let groups = self.firewall.is_on().then(|| self.groups.server.clone());
        tokio::spawn(async move {
            let names = devices.iter().map(|name| Device::from(name.as_str())).collect();
            let answer = match server.get_devices_details_list(&Context::admin(), names, id, host).await {
                Ok(details) => info_for(groups, &details).await.map(|info| (details, info)),
                Err(error) => Err(error),
            };
            let _ = answers.send(Answer::Details(devices, answer)).await;
        });
    }

    /// Tells where this host's tunnels start and asks where those of all others do.
    fn ask_for_tunnels(&mut self) {
        let Some(end) = self.state.take_tunnel_question(Instant::now()) else { return };
        let (server, answers, host) = (self.server.clone(), self.answers.clone(), Some(self.host.clone()));
        tokio::spawn(async move {
            let overlay = Some(NetworkType::Vxlan.as_str().to_owned());
            let answer = server.tunnel_sync(&Context::admin(), Some(end.to_string()), overlay, host).await;
            let _ = answers.send(Answer::Tunnels(answer)).await;
        });
    }

    /// Asks what changed of groups, by as few devices as have to do with them. One question at a time.
    pub(super) fn ask_groups(&mut self) {
        if !self.groups.is_due() || !self.firewall.is_on() {
            return;
        }
        let due = std::mem::take(&mut self.groups.due);
        let devices = self.firewall.devices_for(&due.iter().cloned().collect::<Vec<_>>());
        if devices.is_empty() {
            return;
        }
        self.groups.asking = true;
        let (server, answers) = (self.groups.server.clone(), self.answers.clone());
        tokio::spawn(async move {
            let devices = devices.into_iter().collect();
            let answer = server.security_group_info_for_devices(&Context::admin(), devices, call_version()).await;
            let _ = answers.send(Answer::Groups(due, answer)).await;
        });
    }

    /// Tells of devices that are wired, and of those that went.
    pub(super) fn tell(&mut self) {
        if self.telling {
            return;
        }
        let news = self.state.take_news(CHUNK);
        if news.is_empty() {
            return;
        }
        self.telling = true;
        let (server, answers) = (self.server.clone(), self.answers.clone());
        let (id, host) = (Some(self.id.clone()), Some(self.host.clone()));
        let refresh = Some(news.refresh || !self.told_once);
        tokio::spawn(async move {
            let devices = |names: &[String]| Some(names.iter().map(|name| Device::from(name.as_str())).collect());
            let (up, down) = (devices(&news.up), devices(&news.down));
            let answer = server.update_device_list(&Context::admin(), up, down, id, host, refresh).await;
            let _ = answers.send(Answer::Told(news, answer)).await;
        });
    }

    pub(super) fn take_answer(&mut self, answer: Answer) {
        let failed = match answer {
            Answer::Details(asked, answer) => {
                self.asking = false;
                self.groups.due.append(&mut self.groups.doubtful);
                let names: BTreeSet<String> = asked.iter().cloned().collect();
                let (answer, info) = match answer {
                    Ok((details, info)) => (Ok(details), Some(info)),
                    Err(error) => (Err(error), None),
                };
                let failed = self.state.take_details(asked, answer, Instant::now());
                if let Some(info) = info.filter(|_| self.firewall.is_on()) {
                    self.firewall.take_ports(&self.state.ports(&names), &info);
                }
                failed
            }
            Answer::Groups(asked, answer) => {
                self.groups.asking = false;
                match answer {
                    Ok(info) => {
                        self.firewall.take_groups(&info);
                        None
                    }
                    Err(error) => {
                        self.groups.due.extend(asked);
                        Some(error)
                    }
                }
            }
            Answer::Told(news, answer) => {
                self.telling = false;
                self.told_once |= answer.is_ok();
                self.state.take_told(news, answer)
            }
            Answer::Tunnels(answer) => {
                self.state.take_tunnels(answer);
                None
            }
            Answer::Network(network, gone) => {
                if gone {
                    self.state.hint(Hint::NetworkDeleted(network));
                }
                None
            }
        };
        if let Some(error) = failed {
            tracing::warn!("the server does not answer: {}", crate::chain(&error));
            self.quiet_until = Instant::now() + RETRY;
        }
    }
}

/// What a firewall needs to know of the ports among these devices.
async fn info_for(server: Option<security_group::Client>, details: &[Details]) -> Result<SecurityGroupInfo, CallError> {
    let device = |details: &Details| match details {
        Details::Port(port) => Some(port.device.clone()),
        Details::Absent { .. } => None,
    };
    let devices: Vec<String> = details.iter().filter_map(device).collect();
    match server {
        Some(server) if !devices.is_empty() => {
            server.security_group_info_for_devices(&Context::admin(), devices, call_version()).await
        }
        _ => Ok(SecurityGroupInfo::default()),
    }
}

/// From this version on members come with their MACs.
fn call_version() -> Option<String> {
    Some("1.3".to_owned())
}
