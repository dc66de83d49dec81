//! The agents: linuxbridge and dhcp, each read, plan, apply
