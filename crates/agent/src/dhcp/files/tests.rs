//! Compared with what upstream's own writers made of the same networks (`scripts/dhcp-goldens.py`).

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::*;
use crate::dhcp::{dnsmasq, dnsmasq::Dialect};

struct Case {
    name: String,
    directory: PathBuf,
    network: NetworkInfo,
    config: Config,
    leases: String,
}

impl Case {
    fn all() -> Vec<Self> {
        let top = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dhcp"));
        let mut cases: Vec<Self> = fs::read_dir(top).unwrap().map(|entry| Self::read(entry.unwrap().path())).collect();
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(cases.len() >= 20, "only {} cases", cases.len());
        cases
    }

    fn read(directory: PathBuf) -> Self {
        let json =
            |file: &str| serde_json::from_str::<Value>(&fs::read_to_string(directory.join(file)).unwrap()).unwrap();
        let options = json("options.json");
        Self {
            name: directory.file_name().unwrap().to_str().unwrap().to_owned(),
            network: serde_json::from_value(json("network.json")).unwrap(),
            config: config(&options),
            leases: options["leases"].as_str().unwrap_or_default().to_owned(),
            directory,
        }
    }

    fn own(&self) -> &Port {
        let id = desired::device_id("host-a", self.network.id);
        self.network.ports.iter().find(|port| port.device_id == id).unwrap()
    }

    fn check(&self, file: &str, ours: &str) {
        let upstreams = fs::read_to_string(self.directory.join(file)).unwrap();
        assert_eq!(ours, upstreams, "{file} of case {}", self.name);
    }
}

fn config(options: &Value) -> Config {
    let mut config = Config::new("host-a", "/var/lib/neutron");
    config.dialect = Dialect { host_tags: true, keep_root: false };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for (name, value) in options.as_object().unwrap() {
        match name.as_str() {
            "leases" => {}
            "host_tags" => config.dialect.host_tags = value.as_bool().unwrap(),
            "enable_isolated_metadata" => config.enable_isolated_metadata = value.as_bool().unwrap(),
            "force_metadata" => config.force_metadata = value.as_bool().unwrap(),
            "dhcp_lease_duration" => config.dhcp_lease_duration = value.as_i64().unwrap(),
            "dhcp_renewal_time" => config.dhcp_renewal_time = value.as_u64().unwrap() as u32,
            "dhcp_rebinding_time" => config.dhcp_rebinding_time = value.as_u64().unwrap() as u32,
            "dhcp_broadcast_reply" => config.dhcp_broadcast_reply = value.as_bool().unwrap(),
            "dns_domain" => config.dns_domain = text(value),
            "dnsmasq_config_file" => config.dnsmasq_config_file = text(value),
            "dnsmasq_txt_record" => config.dnsmasq_txt_record = text(value),
            "dnsmasq_local_resolv" => config.dnsmasq_local_resolv = value.as_bool().unwrap(),
            "dnsmasq_lease_max" => config.dnsmasq_lease_max = value.as_u64().unwrap() as u32,
            "dnsmasq_enable_addr6_list" => config.dnsmasq_enable_addr6_list = value.as_bool().unwrap(),
            "dnsmasq_dns_servers" => {
                config.dnsmasq_dns_servers = value.as_array().unwrap().iter().map(text).collect();
            }
            other => panic!("option {other} is not known here"),
        }
    }
    config
}

#[test]
fn files_are_upstreams_to_the_byte() {
    for case in Case::all() {
        let files = Files::render(&case.network, case.own(), &case.config);
        case.check("host", &files.host);
        case.check("addn_hosts", &files.addn_hosts);
        case.check("opts", &files.opts);
        case.check("leases", &leases_file(&leases(&case.network, &case.config), &case.leases));
    }
}

#[test]
fn the_command_line_is_upstreams_argument_for_argument() {
    for case in Case::all() {
        let directory = case.config.directory(case.network.id);
        let command = dnsmasq::command(&case.network, &directory, &case.config);
        case.check("command", &command.iter().map(|argument| format!("{argument}\n")).collect::<String>());
    }
}

#[test]
fn a_subnet_is_isolated_until_a_router_holds_its_gateway() {
    let case = Case::all().into_iter().find(|case| case.name == "isolated").unwrap();
    let isolated = isolated_subnets(&case.network);
    let [first, second] = &case.network.subnets[..] else { panic!("two subnets") };
    assert!(!isolated.contains(&first.id));
    assert!(isolated.contains(&second.id));
}

#[test]
fn no_option_can_start_a_line_of_its_own() {
    assert_eq!(option(4, "port-1", "tag:x,67\ndhcp-host=evil", Some("a\nb")), "tag:port-1,tag:x,67,a");
    assert_eq!(option(6, "port-1", "24", None), "tag:port-1,option6:24");
    assert_eq!(option(4, "port-1", "", Some("")), "tag:port-1,option:,");
}
