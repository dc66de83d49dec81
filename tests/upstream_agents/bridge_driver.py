"""An interface driver of its own for Neutron's DHCP agent: a network's port on a Linux bridge.

Neutron 29 comes with none for Linux bridges, and takes the path of a class instead of a name. The names of the devices
are those that its releases before 28 gave them. The agent of the host puts the outer end into the bridge.
"""

from neutron.agent.linux import interface
from neutron.agent.linux import ip_lib

INNER = "ns-"
OUTER = "tap"


class VethInterfaceDriver(interface.LinuxInterfaceDriver):
    """Plugs a port in by a veth pair."""

    DEV_NAME_PREFIX = INNER

    def plug_new(
        self, network_id, port_id, device_name, mac_address, bridge=None, namespace=None, prefix=None, mtu=None
    ):
        name = device_name.replace(prefix or INNER, OUTER, 1)
        outer, inner = ip_lib.IPWrapper().add_veth(name, device_name, namespace2=namespace)
        inner.link.set_address(mac_address)
        outer.disable_ipv6()
        for end in (outer, inner):
            if mtu:
                end.link.set_mtu(mtu)
            end.link.set_up()

    def set_mtu(self, device_name, mtu, namespace=None, prefix=None):
        outer = ip_lib.IPDevice(device_name.replace(prefix or INNER, OUTER, 1))
        for end in (outer, ip_lib.IPDevice(device_name, namespace=namespace)):
            end.link.set_mtu(mtu)

    def unplug(self, device_name, bridge=None, namespace=None, prefix=None):
        device = ip_lib.IPDevice(device_name, namespace=namespace)
        if device.exists():
            device.link.delete()
