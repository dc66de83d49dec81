//! Options of the metadata agent, and of the proxies by which instances reach it.

use super::super::option::{Group, boolean, choice, host, int, list, port, text};

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            text("metadata_proxy_socket")
                .default("$state_path/metadata_proxy")
                .help("Unix socket on which the metadata agent is asked by the proxies of networks and routers."),
            choice("metadata_proxy_socket_mode", &["deduce", "user", "group", "all"])
                .default("deduce")
                .help("Who may connect to that socket: its owner, its group or all; by default as the next two need."),
            text("metadata_proxy_user").default("").help("User that the proxies run as, where it is not the agent's."),
            text("metadata_proxy_group")
                .default("")
                .help("Group that the proxies run as, where it is not the agent's."),
            int("metadata_backlog").min(1).default("4096").help("Connections that may wait on that socket."),
            int("metadata_workers").min(0).help("Accepted; requests are served side by side without threads.").idle(),
            host("nova_metadata_host")
                .was(&[("DEFAULT", "nova_metadata_ip")])
                .default("127.0.0.1")
                .help("Host of the compute service's metadata API."),
            port("nova_metadata_port").default("8775").help("Port of that API."),
            choice("nova_metadata_protocol", &["http", "https"]).default("http").help("How it is spoken to."),
            boolean("nova_metadata_insecure", false).help("Whether any certificate of it is taken."),
            text("auth_ca_cert").help("Certificates by which it is recognised, in PEM; without it, the system's."),
            text("nova_client_cert").default("").help("Certificate to show to it, in PEM."),
            text("nova_client_priv_key").default("").help("Key of that certificate, in PEM."),
            text("metadata_proxy_shared_secret")
                .default("")
                .secret()
                .help("What the compute service has under this name too, and by which it knows that we ask."),
        ],
    },
    Group {
        name: "metadata_rate_limiting",
        options: &[
            boolean("rate_limit_enabled", false).help("Whether requests for metadata are limited."),
            list("ip_versions").default("4").help("Clients for which they are: 4, 6 or both."),
            int("base_window_duration").min(1).default("10").help("Seconds of the base window."),
            int("base_query_rate_limit").min(1).default("10").help("Requests of one client within it."),
            int("burst_window_duration").min(1).default("10").help("Seconds of the burst window."),
            int("burst_query_rate_limit").min(1).default("10").help("Requests of one client within it."),
        ],
    },
    Group {
        name: "metadata_haproxy",
        options: &[
            int("timeout_connect").min(1).default("30").help("Seconds until the metadata agent takes a connection."),
            int("timeout_client").min(1).default("32").help("Seconds that a client may leave an answer unread."),
            int("timeout_server").min(1).default("32").help("Seconds until the metadata agent has answered."),
            int("timeout_http_request").min(1).default("30").help("Seconds that a request may take to arrive."),
            int("timeout_http_keep_alive").min(1).default("30").help("Seconds from one request to the next."),
        ],
    },
];
