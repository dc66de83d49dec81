//! Options that services share with every OpenStack service: logs, messages, Keystone, locks.

use super::super::option::{Group, boolean, choice, float, int, list, multi, port, retired, text};

const ONE_TRANSPORT: &str = "there is one transport, RabbitMQ; see transport_url";

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            boolean("debug", false).mutable().help("Whether the log has every detail."),
            text("log_file").was(&[("DEFAULT", "logfile")]).help("File to log to; standard error when unset."),
            text("log_dir").was(&[("DEFAULT", "logdir")]).help("Directory of log_file, or of <program>.log."),
            boolean("use_stderr", false).help("Whether to log to standard error as well as to a file."),
            text("transport_url")
                .default("rabbit://")
                .secret()
                .help("Message broker: rabbit://user:password@host:port/virtual_host, hosts separated by commas.")
                .idle(),
            text("control_exchange").default("neutron").help("Exchange of the topics of calls.").idle(),
            int("rpc_response_timeout").min(1).default("60").help("Seconds to wait for the answer to a call.").idle(),
            int("rpc_response_max_timeout")
                .min(1)
                .default("600")
                .help("Most seconds to which that time is raised.")
                .idle(),
            int("executor_thread_pool_size")
                .min(1)
                .default("64")
                .was(&[("DEFAULT", "rpc_thread_pool_size")])
                .help("Calls that are served at the same time.")
                .idle(),
            int("rpc_resources_processing_step")
                .min(1)
                .default("20")
                .help("Ports in one call about many ports.")
                .idle(),
            boolean("rpc_ping_enabled", false).help("Whether services answer a ping by message.").idle(),
            retired("rpc_backend", ONE_TRANSPORT),
            retired("notification_driver", "use driver in [oslo_messaging_notifications]"),
            retired("notification_topics", "use topics in [oslo_messaging_notifications]"),
            retired("rabbit_retry_interval", "use rabbit_retry_interval in [oslo_messaging_rabbit]"),
            retired("rabbit_retry_backoff", "use rabbit_retry_backoff in [oslo_messaging_rabbit]"),
            retired("rabbit_max_retries", "reconnection is never given up"),
            retired("rabbit_ha_queues", "set the policy of queues in RabbitMQ"),
            retired("lock_path", "use lock_path in [oslo_concurrency]"),
        ],
    },
    Group {
        name: "oslo_messaging_rabbit",
        options: &[
            text("rabbit_host")
                .was(&[("DEFAULT", "rabbit_host")])
                .help("Host of the broker, where transport_url is not set.")
                .idle(),
            port("rabbit_port").was(&[("DEFAULT", "rabbit_port")]).help("Port of the broker, likewise.").idle(),
            list("rabbit_hosts")
                .was(&[("DEFAULT", "rabbit_hosts")])
                .help("Hosts of the broker as host:port, likewise.")
                .idle(),
            text("rabbit_userid").was(&[("DEFAULT", "rabbit_userid")]).help("User at the broker, likewise.").idle(),
            text("rabbit_password")
                .was(&[("DEFAULT", "rabbit_password")])
                .secret()
                .help("Password at the broker, likewise.")
                .idle(),
            text("rabbit_virtual_host")
                .was(&[("DEFAULT", "rabbit_virtual_host")])
                .help("Virtual host at the broker, likewise.")
                .idle(),
            boolean("amqp_durable_queues", false)
                .was(&[("DEFAULT", "amqp_durable_queues"), ("DEFAULT", "rabbit_durable_queues")])
                .help("Whether queues outlive the broker.")
                .idle(),
            boolean("amqp_auto_delete", false)
                .was(&[("DEFAULT", "amqp_auto_delete")])
                .help("Whether queues are removed when nobody reads them.")
                .idle(),
            boolean("rabbit_quorum_queue", false).help("Whether queues are quorum queues.").idle(),
            boolean("rabbit_transient_quorum_queue", false).help("Whether queues of replies are quorum queues.").idle(),
            int("rabbit_transient_queues_ttl")
                .min(0)
                .default("1800")
                .help("Seconds after which unused queues go.")
                .idle(),
            int("rabbit_qos_prefetch_count").min(0).default("0").help("Messages taken ahead; 0 sets no limit.").idle(),
            int("rabbit_retry_interval").min(1).default("1").help("Seconds before the first reconnection.").idle(),
            int("rabbit_retry_backoff")
                .min(0)
                .default("2")
                .help("Seconds by which the wait grows with each reconnection.")
                .idle(),
            int("rabbit_interval_max").min(1).default("30").help("Most seconds between reconnections.").idle(),
            float("kombu_reconnect_delay")
                .default("1.0")
                .was(&[("DEFAULT", "kombu_reconnect_delay")])
                .help("Seconds before queues are declared again after a reconnection.")
                .idle(),
            choice("kombu_failover_strategy", &["round-robin", "shuffle"])
                .default("round-robin")
                .help("Which host of the broker comes next.")
                .idle(),
            int("heartbeat_timeout_threshold")
                .min(0)
                .default("60")
                .help("Seconds of silence after which the broker counts as lost; 0 for never.")
                .idle(),
            int("heartbeat_rate").min(1).default("3").help("Checks within that time.").idle(),
            boolean("ssl", false)
                .was(&[("oslo_messaging_rabbit", "rabbit_use_ssl"), ("DEFAULT", "rabbit_use_ssl")])
                .help("Whether to speak TLS with the broker.")
                .idle(),
            text("ssl_ca_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_ca_certs"), ("DEFAULT", "kombu_ssl_ca_certs")])
                .help("File of certificate authorities.")
                .idle(),
            text("ssl_cert_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_certfile"), ("DEFAULT", "kombu_ssl_certfile")])
                .help("File of the client's certificate.")
                .idle(),
            text("ssl_key_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_keyfile"), ("DEFAULT", "kombu_ssl_keyfile")])
                .help("File of the client's key.")
                .idle(),
            choice("rabbit_login_method", &["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"])
                .default("AMQPLAIN")
                .was(&[("DEFAULT", "rabbit_login_method")])
                .help("How to authenticate at the broker.")
                .idle(),
            retired("rabbit_max_retries", "reconnection is never given up"),
            retired("fake_rabbit", ONE_TRANSPORT),
        ],
    },
    Group {
        name: "oslo_messaging_notifications",
        options: &[
            multi("driver")
                .help("How notifications are sent: messaging, messagingv2, log, noop; may be repeated.")
                .idle(),
            list("topics").default("notifications").help("Topics of notifications.").idle(),
            text("transport_url").secret().help("Message broker for notifications; that of calls when unset.").idle(),
        ],
    },
    Group {
        name: "keystone_authtoken",
        options: &[
            text("www_authenticate_uri")
                .was(&[("keystone_authtoken", "auth_uri")])
                .help("URL of Keystone that callers without token are told.")
                .idle(),
            text("auth_url").help("URL of Keystone to validate tokens at.").idle(),
            text("auth_type")
                .was(&[("keystone_authtoken", "auth_plugin")])
                .help("How the service authenticates: password.")
                .idle(),
            text("username").was(&[("keystone_authtoken", "user_name")]).help("User of the service.").idle(),
            text("password").secret().help("Password of that user.").idle(),
            text("user_domain_name").help("Domain of that user, by name.").idle(),
            text("user_domain_id").help("Domain of that user, by id.").idle(),
            text("project_name").was(&[("keystone_authtoken", "tenant_name")]).help("Project of the service.").idle(),
            text("project_domain_name").help("Domain of that project, by name.").idle(),
            text("project_domain_id").help("Domain of that project, by id.").idle(),
            list("memcached_servers")
                .was(&[("keystone_authtoken", "memcache_servers")])
                .help("Servers of memcached to keep validated tokens in; in the process when none.")
                .idle(),
            int("token_cache_time")
                .min(-1)
                .default("300")
                .help("Seconds for which a validated token is kept; -1 not at all.")
                .idle(),
            text("region_name").help("Region of Keystone in the catalogue.").idle(),
            choice("interface", &["internal", "public", "admin"])
                .default("internal")
                .help("Which of Keystone's endpoints to call.")
                .idle(),
            boolean("insecure", false).help("Whether Keystone's certificate goes unchecked.").idle(),
            text("cafile").help("File of certificate authorities.").idle(),
            list("service_token_roles").default("service").help("Roles of which a service token must have one.").idle(),
            boolean("service_token_roles_required", true)
                .help("Whether a service token without such a role is refused.")
                .idle(),
            boolean("delay_auth_decision", false)
                .help("Whether requests without valid token go on to the service.")
                .idle(),
        ],
    },
    Group {
        name: "oslo_concurrency",
        options: &[
            text("lock_path").help("Accepted; nothing locks by files.").idle(),
            boolean("disable_process_locking", false).help("Accepted; nothing locks by files.").idle(),
        ],
    },
    Group {
        name: "oslo_middleware",
        options: &[
            boolean("enable_proxy_headers_parsing", false)
                .help("Whether links follow the headers that a proxy adds.")
                .idle(),
            int("max_request_body_size").min(0).default("114688").help("Most bytes of a request's body.").idle(),
        ],
    },
];
