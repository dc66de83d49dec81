//! The kernel and privilege perimeter: namespaces, links, addresses, routes, sysctl and child processes
