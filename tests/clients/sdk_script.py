"""What openstacksdk does with networks, subnets, ports, security groups, quotas and agents, against the cloud isospin."""

import uuid

import openstack
from openstack import exceptions

cloud = openstack.connect(cloud="isospin")
net = cloud.network


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except exceptions.HttpException as error:
        assert error.status_code == status, (error.status_code, status, str(error))
        return error
    raise AssertionError(f"{call} was not refused")


# Networks: create, find by name and by id, get, list with a filter, update, tags.
network = net.create_network(name="blue", description="made by the SDK")
assert network.status == "ACTIVE" and network.is_admin_state_up and not network.is_shared
assert net.find_network("blue").id == network.id == net.find_network(network.id).id
assert net.find_network("no such network") is None
refused(404, net.get_network, str(uuid.uuid4()))
assert [found.id for found in net.networks(name="blue")] == [network.id]
assert list(net.networks(name="green")) == []
network = net.update_network(network, name="azure", mtu=1400)
assert (network.name, network.mtu, network.description) == ("azure", 1400, "made by the SDK")
net.set_tags(network, ["a", "b"])
assert sorted(net.get_network(network.id).tags) == ["a", "b"]
assert [found.id for found in net.networks(tags="a,b")] == [network.id]
assert list(net.networks(not_tags="a")) == []
net.add_tag(network, "c")
net.remove_tag(network, "a")
assert sorted(net.get_network(network.id).tags) == ["b", "c"]
net.remove_all_tags(network)
assert net.get_network(network.id).tags == []

# Subnets of both families.
subnet = net.create_subnet(
    network_id=network.id,
    name="four",
    ip_version=4,
    cidr="192.0.2.0/24",
    dns_nameservers=["9.9.9.9"],
    allocation_pools=[{"start": "192.0.2.10", "end": "192.0.2.99"}],
    host_routes=[{"destination": "198.51.100.0/24", "nexthop": "192.0.2.2"}],
)
assert subnet.gateway_ip == "192.0.2.1" and subnet.is_dhcp_enabled
six = net.create_subnet(
    network_id=network.id, ip_version=6, cidr="2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
)
assert sorted(net.get_network(network.id).subnet_ids) == sorted([subnet.id, six.id])
subnet = net.update_subnet(subnet, dns_nameservers=["9.9.9.9", "1.1.1.1"], gateway_ip="192.0.2.3")
assert subnet.dns_nameservers == ["9.9.9.9", "1.1.1.1"] and subnet.gateway_ip == "192.0.2.3"
overlapping = {"network_id": network.id, "ip_version": 4, "cidr": "192.0.2.0/25"}
error = refused(400, net.create_subnet, **overlapping)
assert "overlap" in str(error), error

# Ports: one, by a fixed address, in bulk (all or nothing), found by name.
port = net.create_port(network_id=network.id, name="one", fixed_ips=[{"subnet_id": subnet.id, "ip_address": "192.0.2.50"}])
assert port.fixed_ips[0] == {"subnet_id": subnet.id, "ip_address": "192.0.2.50"}, port.fixed_ips
assert [fixed_ip["subnet_id"] for fixed_ip in port.fixed_ips[1:]] == [six.id], "SLAAC is for every port"
assert port.is_port_security_enabled and len(port.security_group_ids) == 1
taken = {"network_id": network.id, "fixed_ips": [{"ip_address": "192.0.2.50"}]}
refused(409, net.create_port, **taken)
bulk = list(net.create_ports([{"network_id": network.id, "name": f"bulk-{number}"} for number in range(25)]))
assert len(bulk) == 25 and len({each.mac_address for each in bulk}) == 25
before = len(list(net.ports()))
refused(409, lambda: list(net.create_ports([{"network_id": network.id}, taken])))
assert len(list(net.ports())) == before, "a bulk that fails creates nothing"
assert net.find_port("bulk-7").id == bulk[7].id
assert net.get_port_ip(port.id) if hasattr(net, "get_port_ip") else True
assert len(list(net.ports(fixed_ips="ip_address=192.0.2.50"))) == 1
assert len(list(net.ports(mac_address=bulk[3].mac_address))) == 1

# Pages: the SDK follows the links.
for size in (1, 4, 26, 1000):
    seen = [each.id for each in net.ports(limit=size)]
    assert len(seen) == len(set(seen)) == 26, (size, len(seen))

# If-Match: a change is made once, and not by whoever has an old revision.
revision = port.revision_number
port = net.update_port(port, if_revision=revision, name="two")
assert port.revision_number > revision
# The SDK sends the header only where its object does not hold it yet.
refused(412, net.update_port, net.get_port(port.id), if_revision=revision, name="three")
refused(412, net.delete_port, net.get_port(port.id), if_revision=revision)
assert net.get_port(port.id).name == "two"

# Bindings, address pairs, DHCP options.
port = net.update_port(
    port,
    binding_host_id="nowhere",
    allowed_address_pairs=[{"ip_address": "192.0.2.200"}],
    extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1300"}],
)
assert port.binding_vif_type == "binding_failed" and port.binding_host_id == "nowhere"
assert port.allowed_address_pairs[0]["ip_address"] == "192.0.2.200"
assert port.extra_dhcp_opts[0]["opt_value"] == "1300"
refused(400, net.update_port, port.id, mac_address="not a mac")

# Security groups and rules.
group = net.create_security_group(name="web")
rule = net.create_security_group_rule(
    security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=80, port_range_max=80
)
again = {"security_group_id": group.id, "direction": "ingress", "protocol": "tcp"}
refused(409, net.create_security_group_rule, port_range_min=80, port_range_max=80, **again)
assert len(net.get_security_group(group.id).security_group_rules) == 3
port = net.update_port(port, security_group_ids=[group.id])
refused(409, net.delete_security_group, group, ignore_missing=False)
net.update_port(port, security_group_ids=[])
net.delete_security_group_rule(rule, ignore_missing=False)
net.delete_security_group(group, ignore_missing=False)

# Quotas.
project = "a-project"
assert net.get_quota(project).networks == 100
assert net.update_quota(project, networks=7).networks == 7
assert net.get_quota(project).networks == 7
net.delete_quota(project)
assert net.get_quota(project).networks == 100

# What the cloud can do.
assert list(net.agents()) == []
aliases = {extension.alias for extension in net.extensions()}
assert {"binding", "provider", "security-group", "standard-attr-tag", "revision-if-match"} <= aliases
assert list(net.availability_zones()) == []

# In use until its ports are gone.
refused(409, net.delete_subnet, subnet, ignore_missing=False)
refused(409, net.delete_network, network, ignore_missing=False)
for each in net.ports(network_id=network.id):
    net.delete_port(each, ignore_missing=False)
for each in (subnet, six):
    net.delete_subnet(each, ignore_missing=False)
net.delete_network(network, ignore_missing=False)
refused(404, net.delete_network, network, ignore_missing=False)
assert list(net.networks()) == list(net.subnets()) == list(net.ports()) == []
print("ok")
