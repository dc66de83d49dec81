//! Loading from files: precedence, spellings, warnings and the exact words of errors.

use std::fs;
use std::path::Path;

use super::*;

/// Files in a directory of their own, and what they load to.
struct Files {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Files {
    fn new(texts: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let file = dir.path().join(format!("{index}.conf"));
                fs::write(&file, text).unwrap();
                file
            })
            .collect();
        Self { dir, sources: Sources { files, ..Sources::default() } }
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.sources.clone())
    }

    /// Text with the directory taken out.
    fn plain(&self, text: &impl ToString) -> String {
        text.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn load(text: &str) -> Config {
    Files::new(&[text]).load().unwrap()
}

fn error(text: &str) -> String {
    let files = Files::new(&[text]);
    files.plain(&files.load().unwrap_err())
}

fn warnings(text: &str) -> Vec<String> {
    let files = Files::new(&[text]);
    files.load().unwrap().warnings().iter().map(|warning| files.plain(warning)).collect()
}

#[test]
fn without_files_every_option_has_its_default() {
    let config = Config::load(Sources::default()).unwrap();
    assert_eq!(config.get::<u32>("DEFAULT", "dhcp_lease_duration").unwrap(), 86400);
    assert_eq!(config.get::<Vec<String>>("ml2", "project_network_types").unwrap(), ["local"]);
    assert_eq!(config.get::<Option<String>>("DEFAULT", "core_plugin").unwrap(), None);
    assert_eq!(config.get::<String>("DEFAULT", "dhcp_confs").unwrap(), "/var/lib/neutron/dhcp");
    assert!(!config.is_set("DEFAULT", "debug"));
}

#[test]
fn later_files_win() {
    let files = Files::new(&[
        "[DEFAULT]\ndebug = true\ndns_domain = a\ndns_domain = b\n[oslo_messaging_notifications]\ndriver = messaging\n",
        "[DEFAULT]\ndns_domain = c\n[OSLO_messaging_notifications]\ndriver = log\ndriver = noop\n",
    ]);
    let config = files.load().unwrap();
    assert_eq!(config.get::<String>("DEFAULT", "dns_domain").unwrap(), "c");
    assert!(config.get::<bool>("DEFAULT", "debug").unwrap());
    let drivers = config.get::<Vec<String>>("oslo_messaging_notifications", "driver").unwrap();
    assert_eq!(drivers, ["messaging", "log", "noop"], "a multi-valued option adds up");
}

#[test]
fn the_last_of_repeated_keys_and_sections_counts() {
    let config = load("[DEFAULT]\ndns_domain = a\n[ml2]\npath_mtu = 1\n[DEFAULT]\ndns_domain = b\n");
    assert_eq!(config.get::<String>("DEFAULT", "dns_domain").unwrap(), "b");
}

#[test]
fn directories_come_after_files() {
    let mut files = Files::new(&["[DEFAULT]\ndns_domain = file\n"]);
    let dir = files.dir.path().join("conf.d");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("20.conf"), "[DEFAULT]\ndns_domain = twenty\n").unwrap();
    fs::write(dir.join("10.conf"), "[DEFAULT]\ndns_domain = ten\n").unwrap();
    files.sources.dirs.push(dir);
    assert_eq!(files.load().unwrap().get::<String>("DEFAULT", "dns_domain").unwrap(), "twenty");
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_files() {
    let mut files = Files::new(&["[DEFAULT]\ndns_domain = file\n"]);
    files.sources.defaults.insert(("DEFAULT", "dns_domain"), "subcommand".into());
    files.sources.defaults.insert(("DEFAULT", "host"), "subcommand".into());
    let get = |files: &Files, name: &str| files.load().unwrap().get::<String>("DEFAULT", name).unwrap();
    assert_eq!(get(&files, "host"), "subcommand");
    assert_eq!(get(&files, "dns_domain"), "file");
    files.sources.environment.insert("OS_DEFAULT__DNS_DOMAIN".into(), "environment".into());
    assert_eq!(get(&files, "dns_domain"), "environment");
    files.sources.overrides.insert(("DEFAULT", "dns_domain"), "argument".into());
    assert_eq!(get(&files, "dns_domain"), "argument");
}

#[test]
fn older_spellings_are_read_and_told() {
    let text = "[ml2]\ntenant_network_types = vxlan\n[keystone_authtoken]\nauth_uri = http://k\n";
    let config = load(text);
    assert_eq!(config.get::<Vec<String>>("ml2", "project_network_types").unwrap(), ["vxlan"]);
    assert_eq!(config.get::<String>("keystone_authtoken", "www_authenticate_uri").unwrap(), "http://k");
    assert_eq!(
        warnings(text),
        [
            "0.conf:2: [ml2] tenant_network_types is an older spelling of [ml2] project_network_types",
            "0.conf:4: [keystone_authtoken] auth_uri is an older spelling of [keystone_authtoken] www_authenticate_uri",
        ]
    );
}

#[test]
fn the_present_spelling_wins_within_a_file_and_the_later_file_wins_over_it() {
    let both = "[ml2]\nproject_network_types = vlan\ntenant_network_types = vxlan\n";
    assert_eq!(load(both).get::<Vec<String>>("ml2", "project_network_types").unwrap(), ["vlan"]);
    let files = Files::new(&[both, "[ml2]\ntenant_network_types = gre\n"]);
    assert_eq!(files.load().unwrap().get::<Vec<String>>("ml2", "project_network_types").unwrap(), ["gre"]);
}

#[test]
fn values_may_name_other_options() {
    let config =
        load("[DEFAULT]\nstate_path = /s\nhost = h1\ndhcp_confs = ${state_path}/$host\n[nova]\nusername = $host\n");
    assert_eq!(config.get::<String>("DEFAULT", "dhcp_confs").unwrap(), "/s/h1");
    assert_eq!(config.get::<String>("nova", "username").unwrap(), "h1");
}

#[test]
fn unknown_options_get_a_suggestion() {
    let text = "[DEFAULT]\ndhcp_lease_durration = 5\ntype_drivers = flat\nvni_ranges = 1:2\nxyzzy = 1\n\
                [ml2_type_vxlann]\nvni_ranges = 1:2\n[magic]\nmechanism_drivers = x\n[service_providers]\nmine = 1\n";
    assert_eq!(
        warnings(text),
        [
            "0.conf:2: unknown option dhcp_lease_durration in [DEFAULT], ignored; did you mean `dhcp_lease_duration`?",
            "0.conf:3: unknown option type_drivers in [DEFAULT], ignored; it belongs in [ml2]",
            "0.conf:4: unknown option vni_ranges in [DEFAULT], ignored; options of this name are in [ml2_type_geneve], \
         [ml2_type_vxlan]",
            "0.conf:5: unknown option xyzzy in [DEFAULT], ignored",
            "0.conf:7: nothing reads the section [ml2_type_vxlann], so its option vni_ranges is ignored; did you mean \
         [ml2_type_vxlan]?",
            "0.conf:9: nothing reads the section [magic], so its option mechanism_drivers is ignored; it belongs in [ml2]",
        ]
    );
}

#[test]
fn options_that_upstream_dropped_say_what_to_do() {
    assert_eq!(
        warnings("[DEFAULT]\nverbose = true\nallow_overlapping_ips = True\n"),
        [
            "0.conf:2: [DEFAULT] verbose has no effect: use debug",
            "0.conf:3: [DEFAULT] allow_overlapping_ips has no effect: addresses of different networks may always overlap",
        ]
    );
}

#[test]
fn upstream_options_that_nothing_reads_yet_are_no_surprise() {
    let text =
        "[DEFAULT]\nallow_bulk = false\ndebug = true\n[ovs]\nbridge_mappings = a:b\n[cors]\nallowed_origin = *\n";
    assert_eq!(warnings(text), [""; 0]);
    assert_eq!(load(text).idle(), ["[DEFAULT] allow_bulk", "[cors] allowed_origin", "[ovs] bridge_mappings"]);
    assert!(error("[DEFAULT]\nallow_bulk = perhaps\n").contains("neither true nor false"));
}

#[test]
fn bad_values_name_the_place_and_what_is_allowed() {
    let cases = [
        ("debug = maybe", "debug = maybe: neither true nor false; allowed: true, yes, on, 1, false, no, off, 0"),
        ("bind_port = 70000", "bind_port = 70000: too large; allowed: a whole number from 0 to 65535"),
        ("bind_port = web", "bind_port = web: not a whole number; allowed: a whole number from 0 to 65535"),
        ("dhcp_lease_duration = -2", "dhcp_lease_duration = -2: too small; allowed: a whole number of at least -1"),
        (
            "dhcp_load_type = port",
            "dhcp_load_type = port: no such choice; allowed: networks, subnets, ports; did you mean `ports`?",
        ),
        ("host = a b", "host = a b: neither a host name nor an IP address; allowed: a host name or an IP address"),
        (
            "dns_domain = $nope",
            "dns_domain = $nope: $nope names no option; a dollar that is meant as such is written $$; allowed: any text",
        ),
    ];
    for (line, message) in cases {
        assert_eq!(error(&format!("[DEFAULT]\n\n{line}\n")), format!("0.conf:3: [DEFAULT] {message}"));
    }
    assert_eq!(
        error("[linux_bridge]\nphysical_interface_mappings = public:eth0,\n  public:eth1\n"),
        "0.conf:2: [linux_bridge] physical_interface_mappings = public:eth0, public:eth1: `public` is there twice; \
         allowed: name:value pairs separated by commas, each name once"
    );
    assert_eq!(
        error("[vxlan]\nlocal_ip = 10.0.0\n"),
        "0.conf:2: [vxlan] local_ip = 10.0.0: not an IP address; allowed: an IPv4 or IPv6 address"
    );
    assert_eq!(
        error("[ml2]\noverlay_ip_version = 5\n"),
        "0.conf:2: [ml2] overlay_ip_version = 5: no such choice; allowed: 4, 6"
    );
}

#[test]
fn all_bad_values_are_told_at_once_in_the_order_of_the_file() {
    let text = error("[DEFAULT]\nbind_port = x\ndebug = y\n[ml2]\npath_mtu = z\n");
    let places: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["0.conf:2:", "0.conf:3:", "0.conf:5:"]);
}

#[test]
fn a_secret_is_not_shown() {
    let text = error("[DEFAULT]\ntransport_url = rabbit://u:geheim$nope@h\n");
    assert!(text.starts_with("0.conf:2: [DEFAULT] transport_url = ***: $nope"), "{text}");
}

#[test]
fn values_from_elsewhere_say_so() {
    let mut files = Files::new(&[]);
    files.sources.overrides.insert(("DEFAULT", "bind_port"), "x".into());
    files.sources.environment.insert("OS_DEFAULT__DEBUG".into(), "y".into());
    let text = files.load().unwrap_err().to_string();
    assert!(text.contains("command line: [DEFAULT] bind_port = x: not a whole number"), "{text}");
    assert!(text.contains("environment variable OS_DEFAULT__DEBUG: [DEFAULT] debug = y: neither"), "{text}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let sources = Sources { files: vec!["/nonexistent/a.conf".into()], ..Sources::default() };
    let text = Config::load(sources).unwrap_err().to_string();
    assert_eq!(text, "cannot read the configuration file /nonexistent/a.conf: no such file or directory");
    let sources = Sources { dirs: vec!["/nonexistent".into()], ..Sources::default() };
    let text = Config::load(sources).unwrap_err().to_string();
    assert_eq!(text, "cannot read the configuration directory /nonexistent: no such file or directory");
}

#[test]
fn a_meaning_can_be_refused_with_the_place() {
    let files = Files::new(&["[DEFAULT]\ncore_plugin = m12\n[ml2]\nmechanism_drivers = linuxbrige,openvswitch\n"]);
    let config = files.load().unwrap();
    let text = files.plain(&config.refuse("DEFAULT", "core_plugin", "no such plug-in", &["ml2"]));
    assert_eq!(text, "0.conf:2: [DEFAULT] core_plugin = m12: no such plug-in; allowed: ml2; did you mean `ml2`?");
    let drivers = ["linuxbridge", "openvswitch"];
    let text = files.plain(&config.refuse_item("ml2", "mechanism_drivers", "linuxbrige", "is no driver", &drivers));
    assert_eq!(
        text,
        "0.conf:4: [ml2] mechanism_drivers = linuxbrige,openvswitch: `linuxbrige` is no driver; allowed: linuxbridge, \
         openvswitch; did you mean `linuxbridge`?"
    );
}

#[test]
fn an_option_that_the_table_lacks_is_an_error_and_no_panic() {
    let config = Config::load(Sources::default()).unwrap();
    assert!(config.get::<String>("DEFAULT", "nope").is_err());
    assert!(config.get::<bool>("DEFAULT", "host").is_err());
}

#[test]
fn reloading_tells_what_a_running_service_takes() {
    let files = Files::new(&["[DEFAULT]\ndebug = false\nbind_port = 1\n"]);
    let config = files.load().unwrap();
    fs::write(files.dir.path().join("0.conf"), "[DEFAULT]\ndebug = true\nbind_port = 2\n").unwrap();
    let (new, changes) = config.reload().unwrap();
    assert!(new.get::<bool>("DEFAULT", "debug").unwrap());
    assert_eq!(
        changes,
        [
            Change { group: "DEFAULT", name: "bind_port", mutable: false },
            Change { group: "DEFAULT", name: "debug", mutable: true },
        ]
    );
}

#[test]
fn the_sample_names_what_is_read_and_loads_without_a_warning() {
    let text = sample(options::CATALOG);
    assert!(text.contains("[ml2]\n"), "{text}");
    assert!(
        text.contains("\n# Older spelling: [ml2] tenant_network_types\n#project_network_types = local\n"),
        "{text}"
    );
    assert!(!text.contains("rpc_backend"));
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.ends_with('=') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(warnings(&uncommented), [""; 0]);
}

/// The files that an operator typed in 2016 load with no false warning: what is told is older spellings and what was
/// dropped since.
#[test]
fn the_seed_deployment_loads() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/seed-deployment");
    let commands: [&[&str]; 6] = [
        &["controller/neutron.conf", "controller/ml2_conf.ini"],
        &["controller/neutron.conf", "controller/linuxbridge_agent.ini"],
        &["controller/neutron.conf", "controller/dhcp_agent.ini"],
        &["controller/neutron.conf", "controller/metadata_agent.ini"],
        &["compute/neutron.conf", "compute/linuxbridge_agent.ini"],
        &["controller/neutron.conf", "controller/ml2_conf.ini", "controller/dhcp_agent.ini"],
    ];
    for files in commands {
        let files = files.iter().map(|file| data.join(file)).collect();
        let config = Config::load(Sources { files, ..Sources::default() }).unwrap();
        for warning in config.warnings() {
            let known = warning.text.contains("is an older spelling of") || warning.text.contains("has no effect:");
            assert!(known, "{warning}");
        }
        assert_eq!(config.get::<String>("oslo_messaging_rabbit", "rabbit_host").unwrap(), "192.168.56.11");
    }
}
