use super::*;

fn network() -> NetworkInfo {
    let text = include_str!("../../../tests/data/dhcp/plain/network.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn logs_go_to_a_directory_of_the_network() {
    let mut config = Config::new("host-a", "/var/lib/neutron");
    config.dnsmasq_base_log_dir = Some("/var/log/dnsmasq".into());
    let network = network();
    let command = command(&network, &config.directory(network.id), &config);
    let log = format!("--log-facility=/var/log/dnsmasq/{}/dhcp_dns_log", network.id);
    assert_eq!(command[command.len() - 3..], ["--log-queries", "--log-dhcp", log.as_str()]);
}

#[test]
fn only_private_files_keep_dnsmasq_root() {
    let mut config = Config::new("host-a", "/var/lib/neutron");
    let network = network();
    let root =
        |config: &Config| command(&network, &config.directory(network.id), config).contains(&"--user=root".to_owned());
    assert!(!root(&config));
    config.dialect.keep_root = true;
    assert!(root(&config));
}

#[test]
fn the_whole_address_space_does_not_overflow() {
    assert_eq!(size("::/0".parse().unwrap()), u128::MAX);
    assert_eq!(size("10.0.0.0/24".parse().unwrap()), 256);
    assert_eq!(size("10.0.0.1/32".parse().unwrap()), 1);
}
