//! Other people's clients against the standalone service, through the clouds.yaml that it writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use std::{path::PathBuf, time::Instant};

use serde_json::{Value, json};
use testkit::{
    clients::Clients,
    standalone::{Plan, Service},
};

/// A command, its exit code, and what its output (or, where it fails, its error output) must contain.
type Step = (&'static str, i64, &'static [&'static str]);

const STEPS: &[Step] = &[
    (
        "network create blue --description first --mtu 1400 -f value -c name -c mtu -c status",
        0,
        &["blue", "1400", "ACTIVE"],
    ),
    ("network create green --disable -f value -c admin_state_up", 0, &["False"]),
    ("network list -f value -c Name --sort-column Name", 0, &["blue\ngreen\n"]),
    ("network list --name blue -f value -c Name", 0, &["blue"]),
    ("network set blue --name azure --tag a --tag b", 0, &[]),
    ("network show azure -f value -c name -c tags -c description", 0, &["azure", "first", "['a', 'b']"]),
    ("network list --tags a,b -f value -c Name", 0, &["azure"]),
    ("network unset azure --tag a", 0, &[]),
    ("network show azure -f value -c tags", 0, &["['b']"]),
    ("network show nope", 1, &["No Network found for nope"]),
    ("network delete nope", 1, &["Failed to delete network with name or ID 'nope'"]),
    ("network create bad --mtu -5", 1, &["BadRequestException: 400", "Invalid input for mtu"]),
    (
        "subnet create four --network azure --subnet-range 192.0.2.0/24 --dns-nameserver 9.9.9.9 --gateway 192.0.2.254 \
         --allocation-pool start=192.0.2.10,end=192.0.2.20 --host-route destination=198.51.100.0/24,gateway=192.0.2.2 \
         -f json",
        0,
        &["192.0.2.254", "9.9.9.9", "198.51.100.0/24", "192.0.2.20"],
    ),
    (
        "subnet create six --network azure --subnet-range 2001:db8::/64 --ip-version 6 --ipv6-ra-mode slaac \
         --ipv6-address-mode slaac -f value -c gateway_ip -c ipv6_ra_mode",
        0,
        &["2001:db8::", "slaac"],
    ),
    ("subnet create twice --network azure --subnet-range 192.0.2.0/25", 1, &["BadRequestException: 400", "overlap"]),
    ("subnet set four --dns-nameserver 1.1.1.1 --no-dhcp --tag s", 0, &[]),
    (
        "subnet show four -f value -c dns_nameservers -c enable_dhcp -c tags",
        0,
        &["'1.1.1.1'", "'9.9.9.9'", "False", "['s']"],
    ),
    ("subnet unset four --dns-nameserver 9.9.9.9 --tag s", 0, &[]),
    ("subnet show four -f value -c dns_nameservers -c tags", 0, &["['1.1.1.1']", "[]"]),
    ("subnet list --network azure --ip-version 4 -f value -c Name", 0, &["four"]),
    (
        "port create one --network azure --fixed-ip subnet=four,ip-address=192.0.2.15 -f value -c fixed_ips",
        0,
        &["192.0.2.15"],
    ),
    (
        "port create two --network azure --mac-address fa:16:3e:00:00:02 --tag p -f json",
        0,
        &["fa:16:3e:00:00:02", "2001:db8::f816:3eff:fe00:2"],
    ),
    ("port create clash --network azure --mac-address fa:16:3e:00:00:02", 1, &["ConflictException: 409"]),
    ("port list --network azure -f value -c Name --sort-column Name", 0, &["one\ntwo\n"]),
    ("port list --fixed-ip ip-address=192.0.2.15 -f value -c Name", 0, &["one"]),
    (
        "port set one --name uno --allowed-address ip-address=192.0.2.100 --extra-dhcp-option name=mtu,value=1300",
        0,
        &[],
    ),
    ("port show uno -f json", 0, &["192.0.2.100", "\"1300\"", "unbound"]),
    ("port unset uno --allowed-address ip-address=192.0.2.100,mac-address=WRONG", 1, &[]),
    ("port set uno --no-allowed-address --no-security-group --disable-port-security --disable", 0, &[]),
    ("port show uno -f value -c port_security_enabled -c admin_state_up -c security_group_ids", 0, &["False"]),
    ("port unset two --tag p", 0, &[]),
    ("security group create web --description w -f value -c name", 0, &["web"]),
    ("security group rule create web --protocol tcp --dst-port 80:90 -f value -c port_range_max", 0, &["90"]),
    ("security group rule create web --protocol tcp --dst-port 80:90", 1, &["ConflictException: 409"]),
    ("security group rule list web -f value -c Direction", 0, &["egress", "ingress"]),
    ("security group set web --name www --tag t", 0, &[]),
    ("security group show www -f value -c tags", 0, &["['t']"]),
    ("security group list -f value -c Name", 0, &["default", "www"]),
    ("security group delete www", 0, &[]),
    ("address group create office --address 192.0.2.0/24 --address 198.51.100.7 -f value -c name", 0, &["office"]),
    ("address group set office --address 203.0.113.0/24", 0, &[]),
    ("address group unset office --address 192.0.2.0/24", 0, &[]),
    ("address group show office -f value -c addresses", 0, &["198.51.100.7/32", "203.0.113.0/24"]),
    ("address group list -f value -c Name", 0, &["office"]),
    ("security group create back --stateless -f value -c stateful", 0, &["False"]),
    ("security group rule create back --protocol icmp --remote-address-group office", 0, &["remote_address_group_id"]),
    ("security group rule create back --ethertype IPv6 --protocol icmp -f value -c protocol", 0, &["ipv6-icmp"]),
    ("address group delete office", 1, &["in use"]),
    ("security group delete back", 0, &[]),
    ("address group delete office", 0, &[]),
    (
        "default security group rule create --protocol tcp --dst-port 22 --for-custom-sg -f value -c port_range_max",
        0,
        &["22"],
    ),
    ("default security group rule list -f value", 0, &["22:22", "PARENT"]),
    ("network create routed -f value -c name", 0, &["routed"]),
    ("network segment create east --network routed --network-type local -f value -c name", 0, &["east"]),
    ("network segment set east --description d", 0, &[]),
    ("network segment list --network routed -f value -c Name", 0, &["None", "east"]),
    ("network segment delete east", 0, &[]),
    ("network delete routed", 0, &[]),
    ("address scope create here --ip-version 4 -f value -c ip_version", 0, &["4"]),
    (
        "subnet pool create pool --pool-prefix 203.0.113.0/24 --default-prefix-length 26 --address-scope here -f value -c prefixes",
        0,
        &["203.0.113.0/24"],
    ),
    ("subnet pool set pool --pool-prefix 198.51.100.0/24 --min-prefix-length 25", 0, &[]),
    ("subnet pool show pool -f json", 0, &["198.51.100.0/24", "203.0.113.0/24", "\"min_prefixlen\": 25"]),
    ("subnet pool list -f value -c Name", 0, &["pool"]),
    ("network create pooled -f value -c name", 0, &["pooled"]),
    (
        "subnet create pooled --network pooled --subnet-pool pool --prefix-length 27 -f value -c cidr",
        0,
        &["198.51.100.0/27"],
    ),
    ("subnet create wrong --network pooled --subnet-range 10.0.0.0/24", 1, &["same subnet pool"]),
    ("ip availability show pooled -f value -c total_ips", 0, &["29"]),
    ("ip availability list -f json", 0, &["\"Total IPs\""]),
    ("address scope delete here", 1, &["in use"]),
    ("network delete pooled", 0, &[]),
    ("subnet pool delete pool", 0, &[]),
    ("address scope delete here", 0, &[]),
    ("network create outside --external -f value -c router:external", 0, &["True"]),
    ("subnet create outer --network outside --subnet-range 203.0.113.0/24 --no-dhcp -f value -c name", 0, &["outer"]),
    ("router create gate --description leads --disable -f value -c name -c admin_state_up", 0, &["gate", "False"]),
    ("router set gate --external-gateway outside --fixed-ip ip-address=203.0.113.9 --enable --disable-snat", 0, &[]),
    ("router show gate -f json", 0, &["203.0.113.9", "\"enable_snat\": false", "\"admin_state_up\": true"]),
    ("router add subnet gate four", 0, &[]),
    ("router add subnet gate four", 1, &["BadRequestException: 400", "Router already has a port on subnet"]),
    ("router add route gate --route destination=10.0.0.0/8,gateway=192.0.2.7", 0, &[]),
    ("router show gate -f value -c routes", 0, &["10.0.0.0/8", "192.0.2.7"]),
    ("router remove subnet gate four", 1, &["ConflictException: 409", "required by one or more routes"]),
    ("router remove route gate --route destination=10.0.0.0/8,gateway=192.0.2.7", 0, &[]),
    (
        "port create behind --network azure --fixed-ip subnet=four,ip-address=192.0.2.16 -f value -c name",
        0,
        &["behind"],
    ),
    (
        "floating ip create outside --port behind --floating-ip-address 203.0.113.50 --description d -f value \
         -c fixed_ip_address -c status",
        0,
        &["192.0.2.16", "DOWN"],
    ),
    ("floating ip list --router gate -f value", 0, &["203.0.113.50", "192.0.2.16"]),
    ("floating ip unset --port 203.0.113.50", 0, &[]),
    ("floating ip show 203.0.113.50 -f value -c port_id", 0, &["None"]),
    ("floating ip set --port behind 203.0.113.50", 0, &[]),
    ("router unset gate --external-gateway", 1, &["ConflictException: 409", "required by one or more floating IPs"]),
    ("floating ip delete 203.0.113.50", 0, &[]),
    ("router delete gate", 1, &["ConflictException: 409", "has ports still attached"]),
    ("router remove subnet gate four", 0, &[]),
    ("router unset gate --external-gateway", 0, &[]),
    ("router create spare --ha -f value -c ha", 0, &["True"]),
    ("router list -f value -c Name --sort-column Name", 0, &["gate\nspare\n"]),
    ("router set spare --tag t", 0, &[]),
    ("router list --tags t -f value -c Name", 0, &["spare"]),
    ("port delete behind", 0, &[]),
    ("router delete gate spare", 0, &[]),
    ("network delete outside", 0, &[]),
    ("network agent list", 0, &[]),
    ("extension list --network -f value -c Alias", 0, &["binding", "security-group", "standard-attr-tag"]),
    ("extension show security-group -f value -c alias", 0, &["security-group"]),
    ("network delete azure", 1, &["ConflictException: 409", "There are one or more ports still in use on the network"]),
    ("port delete uno two", 0, &[]),
    ("subnet delete four six", 0, &[]),
    ("network delete azure green", 0, &[]),
    ("network list -f value", 0, &[]),
];

fn start() -> Service {
    Plan::api_only(env!("CARGO_BIN_EXE_isospin")).start().unwrap()
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

#[test]
fn openstackclient_does_its_everyday_work() {
    let (service, clients) = (start(), Clients::find().unwrap());
    let began = Instant::now();
    let words = STEPS.iter().map(|(line, ..)| json!(line.split_whitespace().collect::<Vec<_>>()));
    let commands = Value::Array(words.collect()).to_string();
    let results: Value =
        serde_json::from_str(&clients.python(&service, &script("commands.py"), &commands).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for ((line, code, expected), result) in STEPS.iter().zip(results.as_array().unwrap()) {
        let said = result[if *code == 0 { "out" } else { "err" }].as_str().unwrap();
        if result["code"] != *code || !expected.iter().all(|text| said.contains(text)) {
            wrong.push(format!("openstack {line}\n  expected {code} {expected:?}\n  got {result}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} commands:\n{}", wrong.len(), STEPS.len(), wrong.join("\n"));
    println!("{} commands of openstack in {:?}", STEPS.len(), began.elapsed());
    service.finish().unwrap();
}

/// The command line that the service itself tells people to try.
#[test]
fn the_line_that_it_prints_works() {
    let (service, clients) = (start(), Clients::find().unwrap());
    service.client().create("networks", json!({"name": "blue"})).unwrap();
    let output = clients.openstack(&service, &["network", "list"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("| blue "), "{said}{}", String::from_utf8_lossy(&output.stderr));
    service.finish().unwrap();
}

#[test]
fn openstacksdk_does_its_everyday_work() {
    let (service, clients) = (start(), Clients::find().unwrap());
    let began = Instant::now();
    assert!(clients.python(&service, &script("sdk_script.py"), "").unwrap().ends_with("ok\n"));
    println!("openstacksdk in {:?}", began.elapsed());
    service.finish().unwrap();
}
