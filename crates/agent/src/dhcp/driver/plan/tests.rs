use std::collections::BTreeSet;

use super::*;
use crate::dhcp::{Config, desired::Holder};

fn service() -> Service {
    let text = include_str!("../../../../tests/data/dhcp/plain/network.json");
    let network: rpc::dhcp::NetworkInfo = serde_json::from_str(text).unwrap();
    Service::new(&network, &network.ports[0], &Config::new("host-a", "/var/lib/neutron"))
}

fn link(index: u32, name: &str, service: &Service) -> Link {
    let kind = if name == "lo" { Kind::Hardware } else { Kind::Veth };
    let (mac, mtu) = (Some(service.mac), service.mtu.unwrap());
    Link { index, name: name.to_owned(), kind, mac, mtu, up: true, master: None, parent: None, alias: None, group: 0 }
}

/// What is read once everything is as wanted.
fn settled(service: &Service) -> State {
    let files = [
        ("interface", service.interface.clone()),
        ("host", service.files.host.clone()),
        ("addn_hosts", service.files.addn_hosts.clone()),
        ("opts", service.files.opts.clone()),
        ("leases", "0 fa:16:3e:00:00:02 10.0.0.216 * *\n".to_owned()),
    ];
    State {
        namespace: true,
        links: vec![link(1, "lo", service), link(2, &service.interface, service)],
        tap: Some(link(7, &service.tap, service)),
        checksums: true,
        addresses: service.addresses.iter().map(|net| Address::new(2, *net)).collect(),
        routes: service.gateways.iter().map(|gateway| Route::default_via(gateway.address, 2)).collect(),
        parameters: PARAMETERS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        files: files.into(),
        process: Some(Running { pid: 42, arguments: service.command.clone(), here: true, read: true }),
    }
}

fn names(steps: &[Step]) -> Vec<String> {
    let name = |step: &Step| format!("{step:?}").split(['(', ' ']).next().unwrap().to_owned();
    steps.iter().map(name).collect()
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    let service = service();
    assert_eq!(plan(&service, &settled(&service)), []);
}

#[test]
fn from_nothing_everything_is_made_in_order() {
    let steps = plan(&service(), &State::default());
    let expected = [
        "MakeDirectory",
        "CreateNamespace",
        "RaiseLoopback",
        "SetParameter",
        "SetParameter",
        "SetParameter",
        "CreatePair",
        "ComputeChecksums",
        "AddAddress",
        "SetGateway",
        "WriteFile",
        "WriteFile",
        "WriteFile",
        "WriteFile",
        "Start",
        "AddChecksumRules",
    ];
    assert_eq!(names(&steps), expected);
}

#[test]
fn an_adopted_dnsmasq_reads_its_files_once_more() {
    let service = service();
    let mut state = settled(&service);
    state.process.as_mut().unwrap().read = false;
    assert_eq!(plan(&service, &state), [Step::Reload]);
}

#[test]
fn ports_reload_and_their_leases_are_released() {
    let mut service = service();
    let state = settled(&service);
    service.files.host.clear();
    service.holders.retain(|holder: &Holder| holder.address.to_string() != "10.0.0.216");
    assert_eq!(names(&plan(&service, &state)), ["WriteFile", "Reload", "Release"]);
}

#[test]
fn only_another_command_line_or_address_restarts() {
    let mut service = service();
    let state = settled(&service);
    service.command.push("--dhcp-range=set:subnet-2".to_owned());
    assert_eq!(names(&plan(&service, &state)), ["Stop", "Start"]);
    let mut service = self::service();
    service.addresses = BTreeSet::from(["10.0.0.3/24".parse().unwrap()]);
    assert_eq!(names(&plan(&service, &state)), ["DeleteAddress", "AddAddress", "Stop", "Start"]);
}

#[test]
fn a_dnsmasq_that_died_is_started() {
    let service = service();
    let state = State { process: None, ..settled(&service) };
    assert_eq!(plan(&service, &state), [Step::Start]);
}

#[test]
fn a_namespace_deleted_under_a_running_dnsmasq_is_made_anew() {
    let service = service();
    let mut state = State { namespace: false, links: Vec::new(), ..settled(&service) };
    state.process.as_mut().unwrap().here = false;
    let steps = names(&plan(&service, &state));
    assert_eq!(steps[..2], ["Stop", "CreateNamespace"]);
    assert!(steps.ends_with(&["Start".to_owned(), "AddChecksumRules".to_owned()]));
    let [delete, create] = ["DeleteTap", "CreatePair"].map(|name| steps.iter().position(|step| step == name).unwrap());
    assert!(delete < create);
}

#[test]
fn drift_of_devices_is_put_right_without_a_restart() {
    let service = service();
    let mut state = settled(&service);
    state.links[1].mtu = 1500;
    state.tap.as_mut().unwrap().up = false;
    state.links.push(link(9, "ns-33333333-33", &service));
    state.checksums = false;
    let steps = plan(&service, &state);
    assert_eq!(names(&steps), ["DeleteDevice", "SetInterface", "SetTap", "ComputeChecksums"]);
    assert_eq!(steps[1], Step::SetInterface(LinkChange { mtu: Some(1450), ..LinkChange::default() }));
}

#[test]
fn a_gateway_that_changes_is_replaced_and_the_way_to_the_old_one_goes() {
    let mut service = service();
    let mut state = settled(&service);
    let old: IpAddr = "192.0.2.1".parse().unwrap();
    let way = Route::new(IpNet::from(old), None, 2);
    state.routes = vec![way.clone(), Route::default_via(old, 2)];
    let gateway = service.gateways[0];
    assert_eq!(plan(&service, &state), [Step::SetGateway(gateway), Step::DeleteRoute(way.clone())]);
    service.gateways.clear();
    let gone = [Step::DeleteRoute(way), Step::DeleteRoute(Route::default_via(old, 2))];
    assert_eq!(plan(&service, &state), gone);
}

#[test]
fn addresses_of_the_kernel_are_not_ours_to_take() {
    let service = service();
    let mut state = settled(&service);
    let mut link_local = Address::new(2, "fe80::f816:3eff:fe00:1/64".parse().unwrap());
    link_local.scope = kernel::addr::AddressScope::Link;
    state.addresses.push(link_local);
    assert_eq!(plan(&service, &state), []);
    state.addresses.push(Address::new(2, "2001:db8::99/64".parse().unwrap()));
    assert_eq!(names(&plan(&service, &state)), ["DeleteAddress", "Stop", "Start"]);
}
