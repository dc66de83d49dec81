//! Ports: what could pass for another's traffic takes the network's owner, where a port is plugged takes a service.

use super::*;

pub(super) const RULES: &[Default] = &[
    block("network_device", "field:port:device_owner=~^network:"),
    block("compute_device", "field:port:device_owner=~^compute:"),
    block("baremetal_device", "field:port:device_owner=~^baremetal:"),
    block("manila_device", "field:port:device_owner=~^manila:"),
    block("admin_or_data_plane_int", "rule:context_is_admin or role:data_plane_integrator"),
    rule(
        "create_port",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or rule:shared",
        WAS_ANYONE,
    ),
    rule(
        "create_port:device_id",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:service_api",
        WAS_ANYONE,
    ),
    rule(
        "create_port:device_owner",
        "not rule:network_device or (rule:admin_only) or (rule:service_api) or role:member and \
         rule:network_owner",
        "not rule:network_device or rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "create_port:mac_address",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "create_port:fixed_ips",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or rule:shared",
        "rule:context_is_advsvc or rule:admin_or_network_owner or rule:shared",
    ),
    rule(
        "create_port:fixed_ips:ip_address",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "create_port:fixed_ips:subnet_id",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or rule:shared",
        "rule:context_is_advsvc or rule:admin_or_network_owner or rule:shared",
    ),
    rule(
        "create_port:port_security_enabled",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule("create_port:binding:host_id", SERVICE, ADMIN),
    rule("create_port:binding:profile", ONLY_SERVICE, ADMIN),
    rule(
        "create_port:binding:vnic_type",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:service_api",
        WAS_ANYONE,
    ),
    rule(
        "create_port:allowed_address_pairs",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    rule(
        "create_port:allowed_address_pairs:mac_address",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    rule(
        "create_port:allowed_address_pairs:ip_address",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    new("create_port:hints", ADMIN),
    new("create_port:trusted", ADMIN),
    renamed(
        "create_port:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
        "create_ports_tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
    ),
    rule(
        "get_port",
        "(rule:admin_only) or (rule:service_api) or role:reader and rule:network_owner or \
         role:reader and project_id:%(project_id)s",
        "rule:context_is_advsvc or rule:admin_owner_or_network_owner",
    ),
    rule("get_port:binding:vif_type", SERVICE, ADMIN),
    rule("get_port:binding:vif_details", SERVICE, ADMIN),
    rule("get_port:binding:host_id", SERVICE, ADMIN),
    rule("get_port:binding:profile", SERVICE, ADMIN),
    rule("get_port:resource_request", ADMIN, ADMIN),
    new("get_port:hints", ADMIN),
    new("get_port:trusted", ADMIN),
    renamed(
        "get_port:tags",
        "rule:context_is_advsvc or (rule:admin_only) or (role:reader and rule:network_owner) or \
         role:reader and project_id:%(project_id)s",
        "get_ports_tags",
        "rule:context_is_advsvc or (rule:admin_only) or (role:reader and rule:network_owner) or \
         role:reader and project_id:%(project_id)s",
    ),
    rule(
        "update_port",
        "(rule:admin_only) or (rule:service_api) or role:member and project_id:%(project_id)s",
        "rule:admin_or_owner or rule:context_is_advsvc",
    ),
    rule(
        "update_port:device_id",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:service_api",
        WAS_ANYONE,
    ),
    rule(
        "update_port:device_owner",
        "not rule:network_device or (rule:admin_only) or (rule:service_api) or role:member and \
         rule:network_owner",
        "not rule:network_device or rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "update_port:mac_address",
        "(rule:admin_only) or (rule:service_api) or role:manager and rule:network_owner",
        "rule:admin_only or rule:context_is_advsvc",
    ),
    rule(
        "update_port:fixed_ips",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "update_port:fixed_ips:ip_address",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule(
        "update_port:fixed_ips:subnet_id",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner or rule:shared",
        "rule:context_is_advsvc or rule:admin_or_network_owner or rule:shared",
    ),
    rule(
        "update_port:port_security_enabled",
        "(rule:admin_only) or (rule:service_api) or role:member and rule:network_owner",
        "rule:context_is_advsvc or rule:admin_or_network_owner",
    ),
    rule("update_port:binding:host_id", SERVICE, ADMIN),
    rule("update_port:binding:profile", ONLY_SERVICE, ADMIN),
    rule(
        "update_port:binding:vnic_type",
        "(rule:admin_only) or (rule:service_api) or role:member and project_id:%(project_id)s",
        "rule:admin_or_owner or rule:context_is_advsvc",
    ),
    rule(
        "update_port:allowed_address_pairs",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    rule(
        "update_port:allowed_address_pairs:mac_address",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    rule(
        "update_port:allowed_address_pairs:ip_address",
        "(rule:admin_only) or (role:member and rule:network_owner) or rule:service_api",
        WAS_NETWORK_OWNER,
    ),
    rule(
        "update_port:data_plane_status",
        "rule:admin_only or role:data_plane_integrator",
        "rule:admin_or_data_plane_int",
    ),
    new("update_port:hints", ADMIN),
    new("update_port:trusted", ADMIN),
    renamed(
        "update_port:tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
        "update_ports_tags",
        "(rule:admin_only) or (role:member and project_id:%(project_id)s) or rule:context_is_advsvc",
    ),
    rule(
        "delete_port",
        "(rule:admin_only) or (rule:service_api) or (service_roles:service and (role:member and \
         rule:network_owner or role:member and project_id:%(project_id)s)) or (not \
         rule:compute_device and not rule:baremetal_device and not rule:manila_device and \
         (role:member and rule:network_owner or role:member and project_id:%(project_id)s))",
        "rule:context_is_advsvc or rule:admin_owner_or_network_owner",
    ),
    renamed(
        "delete_port:tags",
        "rule:context_is_advsvc or role:member and project_id:%(project_id)s or (rule:admin_only) \
         or (role:member and rule:network_owner)",
        "delete_ports_tags",
        "rule:context_is_advsvc or role:member and project_id:%(project_id)s or (rule:admin_only) \
         or (role:member and rule:network_owner)",
    ),
];
