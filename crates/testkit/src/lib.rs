//! Real parts for tests: servers, databases and namespaces that are started, used and removed
