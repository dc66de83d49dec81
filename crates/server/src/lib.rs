//! The API server: HTTP, resources, address management, port binding and scheduling
