//! Every command of the client, as a table.

use super::spec::Count;
use super::spec::{Action, Command, Effect, Finish, Opt, Positional, Resource, Routed};

macro_rules! resources {
    ($($id:ident = $name:literal, $plural:literal, $path:literal, $named:literal, $indent:expr;)*) => {
        $(pub(super) static $id: Resource =
            Resource { name: $name, plural: $plural, path: $path, named: $named, indent: $indent };)*
    };
}

resources! {
    NETWORK = "network", "networks", "networks", true, None;
    SUBNET = "subnet", "subnets", "subnets", true, None;
    PORT = "port", "ports", "ports", true, None;
    SECURITY_GROUP = "security_group", "security_groups", "security-groups", true, Some(5);
    SECURITY_GROUP_RULE = "security_group_rule", "security_group_rules", "security-group-rules", false, None;
    AGENT = "agent", "agents", "agents", false, Some(5);
    EXTENSION = "extension", "extensions", "extensions", false, None;
    QUOTA = "quota", "quotas", "quotas", false, None;
    ROUTER = "router", "routers", "routers", true, None;
    FLOATINGIP = "floatingip", "floatingips", "floatingips", false, None;
    SUBNETPOOL = "subnetpool", "subnetpools", "subnetpools", true, None;
    ADDRESS_SCOPE = "address_scope", "address_scopes", "address-scopes", true, None;
    AVAILABILITY_ZONE = "availability_zone", "availability_zones", "availability_zones", false, None;
    IP_AVAILABILITY =
        "network_ip_availability", "network_ip_availabilities", "network-ip-availabilities", false, None;
    QOS_POLICY = "policy", "policies", "qos/policies", true, None;
    RBAC_POLICY = "rbac_policy", "rbac_policies", "rbac-policies", false, None;
    SEGMENT = "segment", "segments", "segments", true, None;
    SERVICE_PROVIDER = "service_provider", "service_providers", "service-providers", false, None;
    METERING_LABEL = "metering_label", "metering_labels", "metering/metering-labels", true, None;
    FLAVOR = "flavor", "flavors", "flavors", true, None;
}

const BOOLEAN: &[&str] = &["True", "true", "False", "false"];
const VNIC_TYPES: &[&str] = &["direct", "direct-physical", "macvtap", "normal", "baremetal", "smart-nic"];
const IPV6_MODES: &[&str] = &["dhcpv6-stateful", "dhcpv6-stateless", "slaac"];
const TAGGABLE: &[&str] = &["network", "subnet", "port", "router", "subnetpool"];

const NAME: Opt = Opt::one(&["--name"], "NAME", Effect::Text("name"), "its name");
const DESCRIPTION: Opt = Opt::one(&["--description"], "TEXT", Effect::Text("description"), "its description");
const ADMIN_DOWN: Opt =
    Opt::flag(&["--admin-state-down"], Effect::Bool("admin_state_up", false), "leave it administratively down");
const QOS: Opt =
    Opt::one(&["--qos-policy"], "POLICY", Effect::Id("qos_policy_id", &QOS_POLICY), "its QoS policy").exclusive(1);
const NO_QOS: Opt =
    Opt::flag(&["--no-qos-policy"], Effect::Null("qos_policy_id"), "take its QoS policy away").exclusive(1);
const AZ_HINT: Opt = Opt::many(
    &["--availability-zone-hint"],
    "ZONE",
    Effect::Append("availability_zone_hints"),
    "a zone to serve it from (may be repeated)",
);

static NET_CREATE: &[Opt] = &[
    ADMIN_DOWN,
    Opt::flag(&["--shared"], Effect::Bool("shared", true), "let all projects use it"),
    Opt::one(&["--provider:network_type"], "TYPE", Effect::Text("provider:network_type"), "flat, vlan, vxlan, …"),
    Opt::one(
        &["--provider:physical_network"],
        "NAME",
        Effect::Text("provider:physical_network"),
        "the physical network that carries it",
    ),
    Opt::one(
        &["--provider:segmentation_id"],
        "ID",
        Effect::Text("provider:segmentation_id"),
        "its VLAN id or tunnel id",
    ),
    Opt::one(&["--vlan-transparent"], "{True,False}", Effect::Text("vlan_transparent"), "pass VLAN tags of instances")
        .among(BOOLEAN),
    DESCRIPTION,
    QOS,
    AZ_HINT,
    Opt::one(&["--dns-domain"], "DOMAIN", Effect::Text("dns_domain"), "its DNS domain"),
];

static NET_UPDATE: &[Opt] = &[
    NAME,
    DESCRIPTION,
    QOS,
    NO_QOS,
    Opt::one(&["--dns-domain"], "DOMAIN", Effect::Text("dns_domain"), "its DNS domain").exclusive(2),
    Opt::flag(&["--no-dns-domain"], Effect::Blank("dns_domain"), "take its DNS domain away").exclusive(2),
];

static NET_FILTERS: &[Opt] = &[
    Opt::one(&["--tenant-id"], "TENANT_ID", Effect::Text("tenant_id"), "those of a project"),
    Opt::one(&["--name"], "NAME", Effect::Text("name"), "those of that name"),
    Opt::one(&["--admin-state-up"], "{True,False}", Effect::Text("admin_state_up"), "those that are up, or down")
        .among(BOOLEAN),
    Opt::one(&["--status"], "STATUS", Effect::Upper("status"), "those in that state"),
    Opt::one(&["--shared"], "{True,False}", Effect::Text("shared"), "those that are shared, or not").among(BOOLEAN),
    Opt::one(&["--router:external"], "{True,False}", Effect::Text("router:external"), "external ones, or the others")
        .among(BOOLEAN),
    Opt::one(&["--tags"], "TAG,…", Effect::Text("tags"), "those that have all of these tags"),
    Opt::one(&["--tags-any"], "TAG,…", Effect::Text("tags-any"), "those that have any of these tags"),
    Opt::one(&["--not-tags"], "TAG,…", Effect::Text("not-tags"), "those that do not have all of these tags"),
    Opt::one(&["--not-tags-any"], "TAG,…", Effect::Text("not-tags-any"), "those that have none of these tags"),
];

macro_rules! subnet_options {
    ($($more:expr),* $(,)?) => {
        &[
            NAME,
            DESCRIPTION,
            Opt::one(&["--gateway"], "IP", Effect::Text("gateway_ip"), "its gateway").exclusive(1),
            Opt::flag(&["--no-gateway"], Effect::Null("gateway_ip"), "it has no gateway").exclusive(1),
            Opt::many(
                &["--allocation-pool"],
                "start=IP,end=IP",
                Effect::Object("allocation_pools", &["start", "end"], &[]),
                "addresses to give out (may be repeated)",
            ),
            Opt::many(
                &["--host-route"],
                "destination=CIDR,nexthop=IP",
                Effect::Object("host_routes", &["destination", "nexthop"], &[]),
                "a further route (may be repeated)",
            ),
            Opt::many(&["--dns-nameserver"], "IP", Effect::Append("dns_nameservers"), "a name server (may be repeated)"),
            Opt::flag(&["--disable-dhcp", "--enable-dhcp=False"], Effect::Bool("enable_dhcp", false), "no DHCP"),
            Opt::flag(&["--enable-dhcp", "--enable-dhcp=True"], Effect::Bool("enable_dhcp", true), "DHCP"),
            $($more),*
        ]
    };
}

static SUBNET_CREATE: &[Opt] = subnet_options![
    Opt::one(&["--ip-version"], "{4,6}", Effect::Number("ip_version"), "its IP version, 4 by default")
        .among(&["4", "6"]),
    Opt::one(&["--ipv6-ra-mode"], "MODE", Effect::Lower("ipv6_ra_mode"), "who sends router advertisements")
        .among(IPV6_MODES),
    Opt::one(&["--ipv6-address-mode"], "MODE", Effect::Lower("ipv6_address_mode"), "how addresses are made")
        .among(IPV6_MODES),
    Opt::one(&["--subnetpool"], "POOL", Effect::Id("subnetpool_id", &SUBNETPOOL), "the pool to take its CIDR from"),
    Opt::flag(
        &["--use-default-subnetpool"],
        Effect::Bool("use_default_subnetpool", true),
        "take its CIDR from the default pool",
    ),
    Opt::one(&["--prefixlen"], "LENGTH", Effect::Text("prefixlen"), "the prefix length to take from the pool"),
    Opt::one(&["--segment"], "SEGMENT", Effect::Id("segment_id", &SEGMENT), "the segment it is on"),
];
static SUBNET_UPDATE: &[Opt] = subnet_options![];

macro_rules! port_options {
    ($($more:expr),* $(,)?) => {
        &[
            NAME,
            DESCRIPTION,
            Opt::many(
                &["--fixed-ip"],
                "subnet_id=SUBNET,ip_address=IP",
                Effect::Object("fixed_ips", &[], &["subnet_id", "ip_address"]),
                "a subnet, an address, or both (may be repeated)",
            ),
            Opt::one(&["--device-id"], "ID", Effect::Text("device_id"), "the device that uses it"),
            Opt::one(&["--device-owner"], "OWNER", Effect::Text("device_owner"), "the kind of that device"),
            Opt::many(
                &["--security-group"],
                "GROUP",
                Effect::AppendId("security_groups", &SECURITY_GROUP),
                "a security group (may be repeated)",
            )
            .exclusive(2),
            Opt::flag(&["--no-security-groups"], Effect::Empty("security_groups"), "no security group").exclusive(2),
            Opt::many(
                &["--extra-dhcp-opt"],
                "opt_name=NAME,opt_value=VALUE,ip_version={4,6}",
                Effect::Object("extra_dhcp_opts", &["opt_name"], &["opt_value", "ip_version"]),
                "an extra DHCP option (may be repeated)",
            ),
            QOS,
            Opt::many(
                &["--allowed-address-pair"],
                "ip_address=IP|CIDR[,mac_address=MAC]",
                Effect::Object("allowed_address_pairs", &["ip_address"], &["mac_address"]),
                "an address it may also use (may be repeated)",
            )
            .exclusive(3),
            Opt::flag(&["--no-allowed-address-pairs"], Effect::Empty("allowed_address_pairs"), "no such address")
                .exclusive(3),
            $($more),*
        ]
    };
}

static PORT_CREATE: &[Opt] = port_options![
    ADMIN_DOWN,
    Opt::one(&["--mac-address"], "MAC", Effect::Text("mac_address"), "its MAC address"),
    Opt::one(&["--vnic-type"], "TYPE", Effect::Lower("binding:vnic_type"), "the kind of its virtual card")
        .among(VNIC_TYPES),
    Opt::one(&["--binding-profile"], "JSON", Effect::Json("binding:profile"), "data for what binds it"),
    Opt::one(&["--dns-name"], "NAME", Effect::Text("dns_name"), "its DNS name"),
];
static PORT_UPDATE: &[Opt] = port_options![
    Opt::one(&["--admin-state-up"], "{True,False}", Effect::Text("admin_state_up"), "set it up or down")
        .among(&["True", "False"]),
    NO_QOS,
    Opt::one(&["--dns-name"], "NAME", Effect::Text("dns_name"), "its DNS name").exclusive(4),
    Opt::flag(&["--no-dns-name"], Effect::Blank("dns_name"), "take its DNS name away").exclusive(4),
];

static RULE_CREATE: &[Opt] = &[
    DESCRIPTION,
    Opt::one(&["--direction"], "{ingress,egress}", Effect::Lower("direction"), "ingress by default")
        .among(&["ingress", "egress"]),
    Opt::one(&["--ethertype"], "TYPE", Effect::Text("ethertype"), "IPv4 or IPv6"),
    Opt::one(&["--protocol"], "PROTOCOL", Effect::Lower("protocol"), "icmp, icmpv6, tcp, udp or a number"),
    Opt::one(&["--port-range-min"], "PORT", Effect::Text("port_range_min"), "the first port, or the ICMP type"),
    Opt::one(&["--port-range-max"], "PORT", Effect::Text("port_range_max"), "the last port, or the ICMP code"),
    Opt::one(&["--remote-ip-prefix"], "CIDR", Effect::Text("remote_ip_prefix"), "the other side's addresses"),
    Opt::one(
        &["--remote-group-id"],
        "GROUP",
        Effect::Id("remote_group_id", &SECURITY_GROUP),
        "the other side's security group",
    ),
];

static RULE_LIST: &[Opt] =
    &[Opt::flag(&["--no-nameconv"], Effect::Local, "show ids of security groups and not their names")];

static TAG_TARGET: &[Opt] = &[
    Opt::one(&["--resource-type"], "TYPE", Effect::Local, "the kind of thing").among(TAGGABLE),
    Opt::one(&["--resource"], "RESOURCE", Effect::Local, "its name or id"),
    Opt::many(&["--tag"], "TAG", Effect::Local, "a tag"),
];
static TAG_REMOVE: &[Opt] = &[
    Opt::one(&["--resource-type"], "TYPE", Effect::Local, "the kind of thing").among(TAGGABLE),
    Opt::one(&["--resource"], "RESOURCE", Effect::Local, "its name or id"),
    Opt::flag(&["--all"], Effect::Local, "all its tags").exclusive(1),
    Opt::one(&["--tag"], "TAG", Effect::Local, "a tag").exclusive(1),
];

const TENANT: Opt = Opt::one(&["--tenant-id"], "TENANT_ID", Effect::Local, "the project");
static QUOTA_OF: &[Opt] = &[TENANT];
static QUOTA_LIMITS: &[Opt] = &[
    TENANT,
    Opt::one(&["--network"], "N", Effect::Number("network"), "how many networks"),
    Opt::one(&["--subnet"], "N", Effect::Number("subnet"), "how many subnets"),
    Opt::one(&["--port"], "N", Effect::Number("port"), "how many ports"),
    Opt::one(&["--router"], "N", Effect::Number("router"), "how many routers"),
    Opt::one(&["--floatingip"], "N", Effect::Number("floatingip"), "how many floating IPs"),
    Opt::one(&["--security-group"], "N", Effect::Number("security_group"), "how many security groups"),
    Opt::one(&["--security-group-rule"], "N", Effect::Number("security_group_rule"), "how many rules"),
    Opt::one(&["--rbac-policy"], "N", Effect::Number("rbac_policy"), "how many RBAC policies"),
];

static ROUTER_CREATE: &[Opt] = &[
    ADMIN_DOWN,
    DESCRIPTION,
    Opt::one(&["--distributed"], "{True,False}", Effect::Text("distributed"), "on every host, or not").among(BOOLEAN),
    Opt::one(&["--ha"], "{True,False}", Effect::Text("ha"), "highly available, or not").among(BOOLEAN),
    AZ_HINT,
];
static ROUTER_UPDATE: &[Opt] = &[
    NAME,
    DESCRIPTION,
    Opt::one(&["--admin-state-up"], "{True,False}", Effect::Text("admin_state_up"), "set it up or down").among(BOOLEAN),
    Opt::one(&["--distributed"], "{True,False}", Effect::Text("distributed"), "on every host, or not").among(BOOLEAN),
    Opt::many(
        &["--route"],
        "destination=CIDR,nexthop=IP",
        Effect::Object("routes", &["destination", "nexthop"], &[]),
        "a further route (may be repeated)",
    )
    .exclusive(1),
    Opt::flag(&["--no-routes"], Effect::Empty("routes"), "no further routes").exclusive(1),
];
static GATEWAY: &[Opt] = &[
    Opt::flag(&["--disable-snat"], Effect::Local, "what leaves keeps its address"),
    Opt::many(
        &["--fixed-ip"],
        "subnet_id=SUBNET,ip_address=IP",
        Effect::Local,
        "a subnet, an address, or both (may be repeated)",
    ),
];
static FIXED_ADDRESS: &[Opt] = &[Opt::one(&["--fixed-ip-address"], "IP", Effect::Local, "which address of the port")];
static FLOATINGIP_CREATE: &[Opt] = &[
    DESCRIPTION,
    Opt::one(&["--port-id"], "PORT_ID", Effect::Text("port_id"), "the port that it stands for"),
    Opt::one(&["--fixed-ip-address"], "IP", Effect::Text("fixed_ip_address"), "which address of that port"),
    Opt::one(&["--floating-ip-address"], "IP", Effect::Text("floating_ip_address"), "the address outside"),
    Opt::one(&["--subnet"], "SUBNET", Effect::Id("subnet_id", &SUBNET), "the subnet of the address outside"),
];

static NO_OPTIONS: &[Opt] = &[];
static NAME_AND_TEXT: &[Opt] = &[NAME, DESCRIPTION];
static TEXT: &[Opt] = &[DESCRIPTION];
static ADMIN_DOWN_AND_TEXT: &[Opt] = &[ADMIN_DOWN, DESCRIPTION];

static NONE: &[Positional] = &[];
static NEW_NAME: &[Positional] = &[Positional::one("NAME", Effect::Text("name"))];
static A_NETWORK: &[Positional] = &[Positional::one("NETWORK", Effect::Local)];
static ON_NETWORK: &[Positional] = &[Positional::one("NETWORK", Effect::Id("network_id", &NETWORK))];
static NEW_SUBNET: &[Positional] = &[
    Positional::one("NETWORK", Effect::Id("network_id", &NETWORK)),
    Positional::optional("CIDR", Effect::Text("cidr")),
];
static IN_GROUP: &[Positional] = &[Positional::one("SECURITY_GROUP", Effect::Id("security_group_id", &SECURITY_GROUP))];
static AGENT_AND_NETWORK: &[Positional] =
    &[Positional::one("DHCP_AGENT", Effect::Local), Positional::one("NETWORK", Effect::Local)];
static ON_OUTSIDE: &[Positional] = &[Positional::one("FLOATING_NETWORK", Effect::Id("floating_network_id", &NETWORK))];
static FLOATINGIP_AND_PORT: &[Positional] =
    &[Positional::one("FLOATINGIP_ID", Effect::Local), Positional::one("PORT", Effect::Local)];
static ROUTER_AND_OUTSIDE: &[Positional] =
    &[Positional::one("ROUTER", Effect::Local), Positional::one("EXTERNAL-NETWORK", Effect::Local)];
static ROUTER_AND_INTERFACE: &[Positional] =
    &[Positional::one("ROUTER", Effect::Local), Positional::one("INTERFACE", Effect::Local)];
static AGENT_AND_ROUTER: &[Positional] =
    &[Positional::one("L3_AGENT", Effect::Local), Positional::one("ROUTER", Effect::Local)];
static A_DHCP_AGENT: &[Positional] = &[Positional::one("DHCP_AGENT", Effect::Local)];
static AN_L3_AGENT: &[Positional] = &[Positional::one("L3_AGENT", Effect::Local)];
static A_ROUTER: &[Positional] = &[Positional::one("ROUTER", Effect::Local)];
static OF_PROJECT: &[Positional] = &[Positional::optional("TENANT_ID", Effect::Local)];

macro_rules! targets {
    ($($one:ident, $several:ident = $metavar:literal;)*) => {
        $(static $one: &[Positional] = &[Positional::one($metavar, Effect::Local)];
        static $several: &[Positional] =
            &[Positional { metavar: $metavar, count: Count::Several, effect: Effect::Local }];)*
    };
}

targets! {
    NETWORK_1, NETWORKS_N = "NETWORK";
    SUBNET_1, SUBNETS_N = "SUBNET";
    PORT_1, PORTS_N = "PORT";
    GROUP_1, GROUPS_N = "SECURITY_GROUP";
    RULE_1, RULES_N = "SECURITY_GROUP_RULE";
    AGENT_1, AGENTS_N = "AGENT";
    ROUTER_1, ROUTERS_N = "ROUTER";
    FLOATINGIP_1, FLOATINGIPS_N = "FLOATINGIP";
    SUBNETPOOL_1, SUBNETPOOLS_N = "SUBNETPOOL";
    SCOPE_1, SCOPES_N = "ADDRESS_SCOPE";
    POLICY_1, POLICIES_N = "POLICY";
    RBAC_1, RBACS_N = "RBAC_POLICY";
}
static EXTENSION_1: &[Positional] = &[Positional::one("EXTENSION", Effect::Local)];
static LABEL_1: &[Positional] = &[Positional::one("METERING_LABEL", Effect::Local)];
static FLAVOR_1: &[Positional] = &[Positional::one("FLAVOR", Effect::Local)];

macro_rules! commands {
    ($($name:literal, $about:literal, $action:expr, $resource:ident, $positionals:ident, $options:ident,
       [$($column:literal),*];)*) => {
        &[$(Command {
            name: $name, about: $about, action: $action, resource: &$resource,
            positionals: $positionals, options: $options, columns: &[$($column),*],
        }),*]
    };
}

/// All commands, sorted by name.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = commands! {
    "address-scope-delete", "Delete address scopes.", Action::Delete, ADDRESS_SCOPE, SCOPES_N, NO_OPTIONS, [];
    "address-scope-list", "List address scopes.", Action::List, ADDRESS_SCOPE, NONE, NO_OPTIONS, ["id", "name", "ip_version"];
    "address-scope-show", "Show an address scope.", Action::Show, ADDRESS_SCOPE, SCOPE_1, NO_OPTIONS, [];
    "agent-delete", "Delete agents.", Action::Delete, AGENT, AGENTS_N, NO_OPTIONS, [];
    "agent-list", "List agents.", Action::List, AGENT, NONE, NO_OPTIONS,
        ["id", "agent_type", "host", "availability_zone", "alive", "admin_state_up", "binary"];
    "agent-show", "Show an agent.", Action::Show, AGENT, AGENT_1, NO_OPTIONS, [];
    "agent-update", "Set an agent's administrative state and description.", Action::Update(Finish::AdminState), AGENT, AGENT_1, ADMIN_DOWN_AND_TEXT, [];
    "availability-zone-list", "List availability zones.", Action::List, AVAILABILITY_ZONE, NONE, NO_OPTIONS, ["name", "resource", "state"];
    "dhcp-agent-list-hosting-net", "List the DHCP agents that serve a network.",
        Action::ListAt("networks/{}/dhcp-agents", Some(&NETWORK)), AGENT, A_NETWORK, NO_OPTIONS, ["id", "host", "admin_state_up", "alive"];
    "dhcp-agent-network-add", "Have a DHCP agent serve a network.",
        Action::Attach("agents/{}/dhcp-networks", "network_id", &NETWORK, "Added network {} to DHCP agent"), AGENT, AGENT_AND_NETWORK, NO_OPTIONS, [];
    "dhcp-agent-network-remove", "Stop a DHCP agent from serving a network.",
        Action::Detach("agents/{}/dhcp-networks", &NETWORK, "Removed network {} from DHCP agent"), AGENT, AGENT_AND_NETWORK, NO_OPTIONS, [];
    "ext-list", "List the extensions of the API.", Action::List, EXTENSION, NONE, NO_OPTIONS, ["alias", "name"];
    "ext-show", "Show an extension.", Action::Show, EXTENSION, EXTENSION_1, NO_OPTIONS, [];
    "flavor-list", "List flavors of services.", Action::List, FLAVOR, NONE, NO_OPTIONS, ["id", "name", "service_type", "enabled"];
    "flavor-show", "Show a flavor.", Action::Show, FLAVOR, FLAVOR_1, NO_OPTIONS, [];
    "floatingip-associate", "Have a floating IP stand for a port.", Action::Routed(Routed::Associate), FLOATINGIP, FLOATINGIP_AND_PORT, FIXED_ADDRESS, [];
    "floatingip-create", "Create a floating IP.", Action::Create(Finish::Plain), FLOATINGIP, ON_OUTSIDE, FLOATINGIP_CREATE, [];
    "floatingip-delete", "Delete floating IPs.", Action::Delete, FLOATINGIP, FLOATINGIPS_N, NO_OPTIONS, [];
    "floatingip-disassociate", "Have a floating IP stand for nothing.", Action::Routed(Routed::Disassociate), FLOATINGIP, FLOATINGIP_1, NO_OPTIONS, [];
    "floatingip-list", "List floating IPs.", Action::List, FLOATINGIP, NONE, NO_OPTIONS,
        ["id", "fixed_ip_address", "floating_ip_address", "port_id"];
    "floatingip-show", "Show a floating IP.", Action::Show, FLOATINGIP, FLOATINGIP_1, NO_OPTIONS, [];
    "l3-agent-list-hosting-router", "List the L3 agents that serve a router.",
        Action::ListAt("routers/{}/l3-agents", Some(&ROUTER)), AGENT, A_ROUTER, NO_OPTIONS, ["id", "host", "admin_state_up", "alive", "ha_state"];
    "l3-agent-router-add", "Have an L3 agent serve a router.",
        Action::Attach("agents/{}/l3-routers", "router_id", &ROUTER, "Added router {} to L3 agent"), AGENT, AGENT_AND_ROUTER, NO_OPTIONS, [];
    "l3-agent-router-remove", "Stop an L3 agent from serving a router.",
        Action::Detach("agents/{}/l3-routers", &ROUTER, "Removed router {} from L3 agent"), AGENT, AGENT_AND_ROUTER, NO_OPTIONS, [];
    "meter-label-list", "List metering labels.", Action::List, METERING_LABEL, NONE, NO_OPTIONS, ["id", "name", "description", "shared"];
    "meter-label-show", "Show a metering label.", Action::Show, METERING_LABEL, LABEL_1, NO_OPTIONS, [];
    "net-create", "Create a network.", Action::Create(Finish::AdminState), NETWORK, NEW_NAME, NET_CREATE, [];
    "net-delete", "Delete networks.", Action::Delete, NETWORK, NETWORKS_N, NO_OPTIONS, [];
    "net-external-list", "List external networks.", Action::List, NETWORK, NONE, NET_FILTERS, ["id", "name", "subnets"];
    "net-ip-availability-list", "List how many addresses of each network are used.", Action::List, IP_AVAILABILITY, NONE, NO_OPTIONS,
        ["network_id", "network_name", "total_ips", "used_ips"];
    "net-ip-availability-show", "Show how many addresses of a network are used.", Action::Show, IP_AVAILABILITY, NETWORK_1, NO_OPTIONS, [];
    "net-list", "List networks.", Action::List, NETWORK, NONE, NET_FILTERS, ["id", "name", "subnets"];
    "net-list-on-dhcp-agent", "List the networks a DHCP agent serves.",
        Action::ListAt("agents/{}/dhcp-networks", None), NETWORK, A_DHCP_AGENT, NO_OPTIONS, ["id", "name", "subnets"];
    "net-show", "Show a network.", Action::Show, NETWORK, NETWORK_1, NO_OPTIONS, [];
    "net-update", "Change a network.", Action::Update(Finish::Plain), NETWORK, NETWORK_1, NET_UPDATE, [];
    "port-create", "Create a port.", Action::Create(Finish::Port), PORT, ON_NETWORK, PORT_CREATE, [];
    "port-delete", "Delete ports.", Action::Delete, PORT, PORTS_N, NO_OPTIONS, [];
    "port-list", "List ports.", Action::List, PORT, NONE, NO_OPTIONS, ["id", "name", "mac_address", "fixed_ips"];
    "port-show", "Show a port.", Action::Show, PORT, PORT_1, NO_OPTIONS, [];
    "port-update", "Change a port.", Action::Update(Finish::Port), PORT, PORT_1, PORT_UPDATE, [];
    "qos-policy-delete", "Delete QoS policies.", Action::Delete, QOS_POLICY, POLICIES_N, NO_OPTIONS, [];
    "qos-policy-list", "List QoS policies.", Action::List, QOS_POLICY, NONE, NO_OPTIONS, ["id", "name"];
    "qos-policy-show", "Show a QoS policy.", Action::Show, QOS_POLICY, POLICY_1, NO_OPTIONS, [];
    "quota-default-show", "Show the default quotas.", Action::QuotaShow(true), QUOTA, OF_PROJECT, QUOTA_OF, [];
    "quota-delete", "Give a project the default quotas again.", Action::QuotaDelete, QUOTA, OF_PROJECT, QUOTA_OF, [];
    "quota-list", "List the quotas that differ from the defaults.", Action::QuotaList, QUOTA, NONE, NO_OPTIONS, [];
    "quota-show", "Show a project's quotas.", Action::QuotaShow(false), QUOTA, OF_PROJECT, QUOTA_OF, [];
    "quota-update", "Set a project's quotas.", Action::QuotaUpdate, QUOTA, OF_PROJECT, QUOTA_LIMITS, [];
    "rbac-delete", "Delete RBAC policies.", Action::Delete, RBAC_POLICY, RBACS_N, NO_OPTIONS, [];
    "rbac-list", "List RBAC policies.", Action::List, RBAC_POLICY, NONE, NO_OPTIONS, ["id", "object_type", "object_id"];
    "rbac-show", "Show an RBAC policy.", Action::Show, RBAC_POLICY, RBAC_1, NO_OPTIONS, [];
    "router-create", "Create a router.", Action::Create(Finish::AdminState), ROUTER, NEW_NAME, ROUTER_CREATE, [];
    "router-delete", "Delete routers.", Action::Delete, ROUTER, ROUTERS_N, NO_OPTIONS, [];
    "router-gateway-clear", "Take a router's way outside.", Action::Routed(Routed::GatewayClear), ROUTER, ROUTER_1, NO_OPTIONS, [];
    "router-gateway-set", "Give a router a way outside.", Action::Routed(Routed::GatewaySet), ROUTER, ROUTER_AND_OUTSIDE, GATEWAY, [];
    "router-interface-add", "Put a router on a subnet.", Action::Routed(Routed::InterfaceAdd), ROUTER, ROUTER_AND_INTERFACE, NO_OPTIONS, [];
    "router-interface-delete", "Take a router from a subnet.", Action::Routed(Routed::InterfaceRemove), ROUTER, ROUTER_AND_INTERFACE, NO_OPTIONS, [];
    "router-list", "List routers.", Action::List, ROUTER, NONE, NO_OPTIONS, ["id", "name", "external_gateway_info", "distributed", "ha"];
    "router-list-on-l3-agent", "List the routers an L3 agent serves.",
        Action::ListAt("agents/{}/l3-routers", None), ROUTER, AN_L3_AGENT, NO_OPTIONS, ["id", "name", "external_gateway_info"];
    "router-port-list", "List the ports of a router.", Action::List, PORT, A_ROUTER, NO_OPTIONS, ["id", "name", "mac_address", "fixed_ips"];
    "router-show", "Show a router.", Action::Show, ROUTER, ROUTER_1, NO_OPTIONS, [];
    "router-update", "Change a router.", Action::Update(Finish::Plain), ROUTER, ROUTER_1, ROUTER_UPDATE, [];
    "security-group-create", "Create a security group.", Action::Create(Finish::Plain), SECURITY_GROUP, NEW_NAME, TEXT, [];
    "security-group-delete", "Delete security groups.", Action::Delete, SECURITY_GROUP, GROUPS_N, NO_OPTIONS, [];
    "security-group-list", "List security groups.", Action::List, SECURITY_GROUP, NONE, NO_OPTIONS, ["id", "name", "security_group_rules"];
    "security-group-rule-create", "Create a rule in a security group.", Action::Create(Finish::Rule), SECURITY_GROUP_RULE, IN_GROUP, RULE_CREATE, [];
    "security-group-rule-delete", "Delete rules.", Action::Delete, SECURITY_GROUP_RULE, RULES_N, NO_OPTIONS, [];
    "security-group-rule-list", "List rules of security groups.", Action::List, SECURITY_GROUP_RULE, NONE, RULE_LIST,
        ["id", "security_group_id", "direction", "ethertype", "port/protocol", "remote"];
    "security-group-rule-show", "Show a rule.", Action::Show, SECURITY_GROUP_RULE, RULE_1, NO_OPTIONS, [];
    "security-group-show", "Show a security group.", Action::Show, SECURITY_GROUP, GROUP_1, NO_OPTIONS, [];
    "security-group-update", "Change a security group.", Action::Update(Finish::Plain), SECURITY_GROUP, GROUP_1, NAME_AND_TEXT, [];
    "service-provider-list", "List the providers of services.", Action::List, SERVICE_PROVIDER, NONE, NO_OPTIONS, ["service_type", "name", "default"];
    "subnet-create", "Create a subnet.", Action::Create(Finish::Subnet), SUBNET, NEW_SUBNET, SUBNET_CREATE, [];
    "subnet-delete", "Delete subnets.", Action::Delete, SUBNET, SUBNETS_N, NO_OPTIONS, [];
    "subnet-list", "List subnets.", Action::List, SUBNET, NONE, NO_OPTIONS, ["id", "name", "cidr", "allocation_pools"];
    "subnet-show", "Show a subnet.", Action::Show, SUBNET, SUBNET_1, NO_OPTIONS, [];
    "subnet-update", "Change a subnet.", Action::Update(Finish::Subnet), SUBNET, SUBNET_1, SUBNET_UPDATE, [];
    "subnetpool-delete", "Delete subnet pools.", Action::Delete, SUBNETPOOL, SUBNETPOOLS_N, NO_OPTIONS, [];
    "subnetpool-list", "List subnet pools.", Action::List, SUBNETPOOL, NONE, NO_OPTIONS,
        ["id", "name", "prefixes", "default_prefixlen", "address_scope_id", "is_default"];
    "subnetpool-show", "Show a subnet pool.", Action::Show, SUBNETPOOL, SUBNETPOOL_1, NO_OPTIONS, [];
    "tag-add", "Add a tag to a thing.", Action::TagAdd, NETWORK, NONE, TAG_TARGET, [];
    "tag-remove", "Remove a tag, or all, from a thing.", Action::TagRemove, NETWORK, NONE, TAG_REMOVE, [];
    "tag-replace", "Set the tags of a thing.", Action::TagReplace, NETWORK, NONE, TAG_TARGET, [];
};

/// The command of a name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// The resource a tag command names.
pub(super) fn taggable(name: &str) -> Option<&'static Resource> {
    [&NETWORK, &SUBNET, &PORT, &ROUTER, &SUBNETPOOL].into_iter().find(|resource| resource.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
