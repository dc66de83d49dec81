#!/usr/bin/env python3
"""Writes crates/agent/tests/data/dhcp/<case>/: a network as the server sends it, and what upstream's agent makes of it.

Run it with a Python that has neutron installed. It calls upstream's own file and command line writers; only the host is
replaced: the interface's addresses are those of the agent's port, and no program is run.
"""
import json
import os
import shutil
import sys
import types
from unittest import mock

from neutron.agent.linux import dhcp

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../crates/agent/tests/data/dhcp")
HOST = "host-a"
NET = "3c6e5fd4-4b4c-4d1e-9a43-3f1a4b6d2e01"
V4 = "11111111-1111-4111-8111-111111111104"
V4B = "11111111-1111-4111-8111-111111111105"
STATEFUL = "11111111-1111-4111-8111-111111111161"
STATELESS = "11111111-1111-4111-8111-111111111162"
SLAAC = "11111111-1111-4111-8111-111111111163"
OWN = "22222222-2222-4222-8222-222222222201"


def subnet(id, cidr, **more):
    version = 6 if ":" in cidr else 4
    result = {
        "id": id, "name": "", "project_id": "p", "tenant_id": "p", "network_id": NET, "ip_version": version,
        "subnetpool_id": None, "enable_dhcp": True, "ipv6_ra_mode": None, "ipv6_address_mode": None,
        "gateway_ip": None, "cidr": cidr, "allocation_pools": [], "host_routes": [], "dns_nameservers": [],
        "shared": False, "service_types": [], "segment_id": None, "revision_number": 0, "tags": []}
    result.update(more)
    return result


def port(number, *ips, **more):
    result = {
        "id": f"22222222-2222-4222-8222-2222222222{number:02}", "name": "", "network_id": NET, "project_id": "p",
        "tenant_id": "p", "mac_address": f"fa:16:3e:00:00:{number:02}", "admin_state_up": True, "status": "DOWN",
        "device_id": "", "device_owner": "compute:nova", "extra_dhcp_opts": [], "revision_number": 1,
        "fixed_ips": [{"subnet_id": s, "ip_address": i} for s, i in ips]}
    result["dns_assignment"] = [name(i) for _, i in ips]
    result.update(more)
    return result


def name(ip):
    host = "host-" + ip.replace(".", "-").replace(":", "-")
    return {"ip_address": ip, "hostname": host, "fqdn": host + ".openstacklocal."}


def own(*ips, number=1, **more):
    return port(number, *ips, device_owner="network:dhcp", device_id=f"dhcp645ab895-b76a-5ada-8177-739c5b8ac740-{NET}",
                **more)


def opt(name, value, version=4):
    return {"opt_name": name, "opt_value": value, "ip_version": version}


def network(subnets, ports, **more):
    result = {"id": NET, "project_id": "p", "admin_state_up": True, "mtu": 1450, "non_local_subnets": [],
              "subnets": subnets, "ports": ports}
    result.update(more)
    return result


def route(destination, nexthop):
    return {"destination": destination, "nexthop": nexthop}


FOUR = subnet(V4, "10.0.0.0/24", gateway_ip="10.0.0.1")
OTHER = subnet(V4B, "10.0.1.0/25", gateway_ip="10.0.1.1", dns_nameservers=["8.8.8.8"])
ST6 = subnet(STATEFUL, "2001:db8:1::/64", gateway_ip="2001:db8:1::1", ipv6_address_mode="dhcpv6-stateful",
             ipv6_ra_mode="dhcpv6-stateful", dns_nameservers=["2001:4860:4860::8888", "2001:4860:4860::8844"])
SL6 = subnet(STATELESS, "2001:db8:2::/64", ipv6_address_mode="dhcpv6-stateless", ipv6_ra_mode="dhcpv6-stateless")
SLA = subnet(SLAAC, "2001:db8:3::/64", gateway_ip="2001:db8:3::", ipv6_address_mode="slaac", ipv6_ra_mode="slaac")
ROUTER = "network:router_interface"

CASES = {
    "plain": ({}, network([FOUR], [own((V4, "10.0.0.2")), port(2, (V4, "10.0.0.216"))])),
    "no-dns-assignment": ({}, network([FOUR], [
        own((V4, "10.0.0.2")), port(2, (V4, "10.0.0.216"), dns_assignment=[])])),
    "owners": ({}, network([FOUR], [
        own((V4, "10.0.0.2")), port(3, (V4, "10.0.0.3"), device_owner="network:router_ha_interface"),
        port(4, (V4, "10.0.0.4"), device_owner="network:floatingip"),
        port(5, (V4, "10.0.0.5"), device_owner="network:distributed"),
        port(6, (V4, "10.0.0.1"), device_owner=ROUTER), port(7, (V4, "10.0.0.7"), device_owner="")])),
    "several-v4": ({}, network([FOUR, OTHER], [
        own((V4, "10.0.0.2"), (V4B, "10.0.1.2")), port(2, (V4, "10.0.0.20"), (V4B, "10.0.1.20"))])),
    "host-routes": ({}, network([subnet(V4, "10.0.0.0/24", gateway_ip="10.0.0.1", host_routes=[
        route("10.9.0.0/16", "10.0.0.9"), route("0.0.0.0/0", "10.0.0.8")])], [own((V4, "10.0.0.2"))])),
    "default-by-host-route": ({}, network([subnet(V4, "10.0.0.0/24", host_routes=[
        route("0.0.0.0/0", "10.0.0.8"), route("10.9.0.0/16", "10.0.0.9")])], [own((V4, "10.0.0.2"))])),
    "no-gateway": ({}, network([subnet(V4, "10.0.0.0/24")], [own((V4, "10.0.0.2"))])),
    "dns": ({}, network([subnet(V4, "10.0.0.0/24", dns_nameservers=["9.9.9.9", "1.1.1.1"]),
                         subnet(V4B, "10.0.1.0/25", dns_nameservers=["0.0.0.0"])],
                        [own((V4, "10.0.0.2"), (V4B, "10.0.1.2"))])),
    "no-v6-dns": ({}, network([dict(ST6, dns_nameservers=["::"])], [own((STATEFUL, "2001:db8:1::2"))])),
    "two-servers": ({}, network([FOUR, dict(ST6, dns_nameservers=[])], [
        own((V4, "10.0.0.2"), (STATEFUL, "2001:db8:1::2")),
        port(8, (V4, "10.0.0.3"), (STATEFUL, "2001:db8:1::3"), device_owner="network:dhcp", device_id="other"),
        port(2, (V4, "10.0.0.20"))])),
    "options": ({}, network([FOUR], [own((V4, "10.0.0.2")), port(2, (V4, "10.0.0.20"), extra_dhcp_opts=[
        opt("bootfile-name", "pxelinux.0"), opt("67", "undionly.kpxe"), opt("tag:ipxe,67", "http://x/boot.ipxe"),
        opt("tag:a,tag:b,server-ip-address", "10.0.0.9"), opt("router", "10.0.0.77\n6,6.6.6.6"),
        opt("ntp-server", "[2001:db8::7b]", 6)]),
        port(3, (V4, "10.0.0.30"), extra_dhcp_opts=[opt("client-id", "vm-three")]),
        port(4, (V4, "10.0.0.40"), extra_dhcp_opts=[opt("61", "01:02:03"), opt("mtu", "1400")])])),
    "v6": ({}, network([FOUR, ST6, SL6, SLA], [
        own((V4, "10.0.0.2"), (STATEFUL, "2001:db8:1::2"), (STATELESS, "2001:db8:2::2"), (SLAAC, "2001:db8:3::2")),
        port(2, (V4, "10.0.0.20"), (STATEFUL, "2001:db8:1::20"), (STATELESS, "2001:db8:2:0:f816:3eff:fe00:2"),
             (SLAAC, "2001:db8:3:0:f816:3eff:fe00:2")),
        port(3, (V4, "10.0.0.30"), (STATEFUL, "2001:db8:1::30"), (STATELESS, "2001:db8:2:0:f816:3eff:fe00:3"),
             (SLAAC, "2001:db8:3:0:f816:3eff:fe00:3"),
             extra_dhcp_opts=[opt("domain-search", "example.org", 6), opt("24", "b.example.org", 6), opt("3", "10.0.0.9")]),
        port(4, (SLAAC, "2001:db8:3:0:f816:3eff:fe00:4"), extra_dhcp_opts=[opt("24", "c.example.org", 6)]),
        port(5, (STATEFUL, "2001:db8:1::50"), (STATEFUL, "2001:db8:1::51"),
             extra_dhcp_opts=[opt("client-id", "00:01:02", 6)])])),
    "v6-lists": ({"dnsmasq_enable_addr6_list": True}, network([ST6], [
        own((STATEFUL, "2001:db8:1::2")),
        port(5, (STATEFUL, "2001:db8:1::50"), (STATEFUL, "2001:db8:1::51"))])),
    "v6-prefixes": ({}, network([
        subnet(STATEFUL, "2001:db8:1::/63", ipv6_address_mode="dhcpv6-stateful"),
        subnet(STATELESS, "2001:db8:8::/96"), subnet(SLAAC, "2001:db8:9::/64", ipv6_ra_mode="slaac")],
        [own((STATEFUL, "2001:db8:1::2"))])),
    "isolated": ({"enable_isolated_metadata": True}, network([FOUR, OTHER], [
        own((V4, "10.0.0.2"), (V4B, "10.0.1.2")), port(6, (V4, "10.0.0.1"), device_owner=ROUTER)])),
    "forced": ({"force_metadata": True}, network([FOUR, ST6], [
        own((V4, "10.0.0.2"), (STATEFUL, "2001:db8:1::2")), port(6, (V4, "10.0.0.1"), device_owner=ROUTER)])),
    "ovn-metadata": ({}, network([FOUR], [own((V4, "10.0.0.2")), port(
        9, (V4, "10.0.0.9"), device_owner="network:distributed", device_id=f"ovnmeta-{NET}")])),
    "settings": ({"dhcp_lease_duration": -1, "dnsmasq_local_resolv": True, "dhcp_renewal_time": 60,
                  "dhcp_rebinding_time": 90, "dns_domain": "", "dhcp_broadcast_reply": True, "dnsmasq_lease_max": 100,
                  "dnsmasq_config_file": " /etc/dnsmasq.neutron ", "dnsmasq_txt_record": "hello,world"},
                 network([FOUR, ST6], [own((V4, "10.0.0.2"), (STATEFUL, "2001:db8:1::2"), dns_assignment=[]),
                                       port(2, (V4, "10.0.0.20"), dns_assignment=[])], mtu=0)),
    "forwarders": ({"dnsmasq_dns_servers": ["8.8.8.8", "8.8.4.4"], "dnsmasq_local_resolv": True},
                   network([FOUR], [own((V4, "10.0.0.2"))])),
    "old-dnsmasq": ({"host_tags": False}, network([FOUR, ST6, SL6], [
        own((V4, "10.0.0.2")), port(2, (V4, "10.0.0.20"), (STATEFUL, "2001:db8:1::20"), (STATELESS, "2001:db8:2::20"),
                                    extra_dhcp_opts=[opt("24", "b.example.org", 6)])])),
    "routed": ({}, network([dict(FOUR, segment_id="33333333-3333-4333-8333-333333333331")], [
        own((V4, "10.0.0.2")), port(2, (V4, "10.0.0.20")), port(3, (V4B, "10.0.1.20"))],
        non_local_subnets=[dict(OTHER, segment_id="33333333-3333-4333-8333-333333333332")])),
    "kept-leases": ({"leases": "duid 00:01\n1790000000 7 2001:db8:1::20 vm 00:02\n1790000000 8 2001:db8:1::99 vm 00:03\n"
                               "1790000000 fa:16:3e:00:00:02 10.0.0.20 vm *\n"},
                    network([FOUR, ST6], [own((V4, "10.0.0.2"), (STATEFUL, "2001:db8:1::2")),
                                          port(2, (V4, "10.0.0.20"), (STATEFUL, "2001:db8:1::20"))])),
}

DEFAULTS = {
    "dhcp_lease_duration": 86400, "dnsmasq_local_resolv": False, "dnsmasq_dns_servers": [], "dns_domain": "openstacklocal",
    "dhcp_renewal_time": 0, "dhcp_rebinding_time": 0, "dhcp_broadcast_reply": False, "dnsmasq_lease_max": 2 ** 24,
    "dnsmasq_config_file": "", "dnsmasq_txt_record": "", "dnsmasq_base_log_dir": None, "dnsmasq_enable_addr6_list": False,
    "enable_isolated_metadata": False, "force_metadata": False, "host": HOST}


def write(case, options, net):
    where = os.path.join(TOP, case)
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    with open(os.path.join(where, "network.json"), "w") as file:
        json.dump(net, file, indent=1, sort_keys=True)
    with open(os.path.join(where, "options.json"), "w") as file:
        json.dump(options, file, indent=1, sort_keys=True)
    conf = types.SimpleNamespace(**{**DEFAULTS, **options})
    driver = dhcp.Dnsmasq.__new__(dhcp.Dnsmasq)
    driver.conf, driver.network, driver.segment = conf, dhcp.NetModel(net), None
    for p in driver.network.ports:
        if p.device_id.startswith("ovnmeta-"):
            p.fixed_ips = [dhcp.DictModel(ip) for ip in p.fixed_ips]
    driver.network_conf_dir = where
    driver.device_manager = mock.Mock()
    driver.device_manager.driver.bridged = True
    driver.device_manager.plugin.get_ports = lambda port_filters: [
        p for p in driver.network.ports if p.device_owner in port_filters["device_owner"]
        and p.device_id in port_filters["device_id"]]
    mine = next(p for p in net["ports"] if p["device_id"].startswith("dhcp645"))
    lengths = {s["id"]: s["cidr"].split("/")[1] for s in net["subnets"]}
    devices = [{"cidr": f'{ip["ip_address"]}/{lengths[ip["subnet_id"]]}'} for ip in mine["fixed_ips"]
               if ip["subnet_id"] in lengths]
    type(driver)._IS_HOST_TAG_SUPPORTED = options.get("host_tags", True)
    leases = os.path.join(where, "leases")
    if "leases" in options:
        with open(leases, "w") as file:
            file.write(options["leases"])
    with mock.patch.object(dhcp.ip_lib, "get_devices_with_ip", return_value=devices), \
            mock.patch.object(dhcp.Dnsmasq, "interface_name", "ns-22222222-22"):
        driver._output_init_lease_file()
        driver._output_config_files()
        driver.network_conf_dir = f"/var/lib/neutron/dhcp/{NET}"
        command = driver._build_cmdline_callback(f"/var/lib/neutron/dhcp/{NET}/pid")
    with open(os.path.join(where, "command"), "w") as file:
        file.write("".join(f"{argument}\n" for argument in command))


def main():
    for case, (options, net) in CASES.items():
        write(case, options, net)
    print(f"{len(CASES)} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
