//! Options that services share with every OpenStack service: logs, messages, Keystone, locks.

use super::super::option::{Group, boolean, choice, float, int, list, multi, port, retired, text};

const ONE_TRANSPORT: &str = "there is one transport, RabbitMQ; see transport_url";

pub(super) static GROUPS: &[Group] = &[
    Group {
        name: "DEFAULT",
        options: &[
            text("transport_url")
                .default("rabbit://")
                .secret()
                .help("Message broker: rabbit://user:password@host:port/virtual_host, hosts separated by commas."),
            text("control_exchange").default("neutron").help("Exchange of the topics of calls."),
            int("rpc_response_timeout").min(1).default("60").help("Seconds to wait for the answer to a call."),
            int("rpc_response_max_timeout").min(1).default("600").help("Most seconds to which that time is raised."),
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
            boolean("rpc_ping_enabled", false).help("Whether services answer a ping by message."),
            retired("rpc_backend", ONE_TRANSPORT),
            retired("notification_driver", "use driver in [oslo_messaging_notifications]"),
            retired("notification_topics", "use topics in [oslo_messaging_notifications]"),
            retired("rabbit_retry_interval", "use rabbit_retry_interval in [oslo_messaging_rabbit]"),
            retired("rabbit_retry_backoff", "use rabbit_retry_backoff in [oslo_messaging_rabbit]"),
            retired("rabbit_max_retries", "reconnection is never given up"),
            retired("lock_path", "use lock_path in [oslo_concurrency]"),
        ],
    },
    Group {
        name: "oslo_messaging_rabbit",
        options: &[
            text("rabbit_host")
                .was(&[("DEFAULT", "rabbit_host")])
                .help("Host of the broker, where transport_url is not set."),
            port("rabbit_port").was(&[("DEFAULT", "rabbit_port")]).help("Port of the broker, likewise."),
            list("rabbit_hosts")
                .was(&[("DEFAULT", "rabbit_hosts")])
                .help("Hosts of the broker as host:port, likewise."),
            text("rabbit_userid").was(&[("DEFAULT", "rabbit_userid")]).help("User at the broker, likewise."),
            text("rabbit_password")
                .was(&[("DEFAULT", "rabbit_password")])
                .secret()
                .help("Password at the broker, likewise."),
            text("rabbit_virtual_host")
                .was(&[("DEFAULT", "rabbit_virtual_host")])
                .help("Virtual host at the broker, likewise."),
            boolean("amqp_durable_queues", false)
                .was(&[("DEFAULT", "amqp_durable_queues"), ("DEFAULT", "rabbit_durable_queues")])
                .help("Whether queues outlive the broker."),
            boolean("amqp_auto_delete", false)
                .was(&[("DEFAULT", "amqp_auto_delete")])
                .help("Whether queues are removed when nobody reads them."),
            boolean("rabbit_quorum_queue", false).help("Whether queues are quorum queues."),
            boolean("rabbit_transient_quorum_queue", false).help("Whether queues of replies are quorum queues."),
            int("rabbit_transient_queues_ttl").min(0).default("1800").help("Seconds after which unused queues go."),
            int("rabbit_qos_prefetch_count").min(0).default("0").help("Messages taken ahead; 0 sets no limit."),
            int("rabbit_retry_interval").min(1).default("1").help("Seconds before the first reconnection."),
            int("rabbit_retry_backoff")
                .min(0)
                .default("2")
                .help("Seconds by which the wait grows with each reconnection."),
            int("rabbit_interval_max").min(1).default("30").help("Most seconds between reconnections."),
            float("kombu_reconnect_delay")
                .default("1.0")
                .was(&[("DEFAULT", "kombu_reconnect_delay")])
                .help("Seconds before queues are declared again after a reconnection."),
            choice("kombu_failover_strategy", &["round-robin", "shuffle"])
                .default("round-robin")
                .help("Which host of the broker comes next."),
            int("heartbeat_timeout_threshold")
                .min(0)
                .default("60")
                .help("Seconds of silence after which the broker counts as lost; 0 for never."),
            int("heartbeat_rate").min(1).default("3").help("Checks within that time.").idle(),
            boolean("ssl", false)
                .was(&[("oslo_messaging_rabbit", "rabbit_use_ssl"), ("DEFAULT", "rabbit_use_ssl")])
                .help("Whether to speak TLS with the broker."),
            text("ssl_ca_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_ca_certs"), ("DEFAULT", "kombu_ssl_ca_certs")])
                .help("File of certificate authorities."),
            text("ssl_cert_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_certfile"), ("DEFAULT", "kombu_ssl_certfile")])
                .help("File of the client's certificate."),
            text("ssl_key_file")
                .was(&[("oslo_messaging_rabbit", "kombu_ssl_keyfile"), ("DEFAULT", "kombu_ssl_keyfile")])
                .help("File of the client's key."),
            choice("rabbit_login_method", &["PLAIN", "AMQPLAIN", "EXTERNAL", "RABBIT-CR-DEMO"])
                .default("AMQPLAIN")
                .was(&[("DEFAULT", "rabbit_login_method")])
                .help("How to authenticate at the broker."),
            boolean("rabbit_ha_queues", false)
                .was(&[("DEFAULT", "rabbit_ha_queues")])
                .help("Whether queues ask to be mirrored, which brokers before 3.0 heed."),
            int("rabbit_quorum_delivery_limit")
                .min(0)
                .default("0")
                .help("Deliveries after which a quorum queue drops a message; 0 leaves it to the broker."),
            int("rabbit_quorum_max_memory_length")
                .min(0)
                .default("0")
                .was(&[("oslo_messaging_rabbit", "rabbit_quroum_max_memory_length")])
                .help("Messages that a quorum queue keeps in memory; 0 sets no limit."),
            int("rabbit_quorum_max_memory_bytes")
                .min(0)
                .default("0")
                .was(&[("oslo_messaging_rabbit", "rabbit_quroum_max_memory_bytes")])
                .help("Bytes that a quorum queue keeps in memory; 0 sets no limit."),
            boolean("rabbit_stream_fanout", false)
                .help("Whether fanouts go through a stream; needs rabbit_transient_quorum_queue and a prefetch count."),
            float("kombu_reconnect_splay")
                .default("0.0")
                .help("Most seconds that are added to kombu_reconnect_delay by chance."),
            int("kombu_missing_consumer_retry_timeout")
                .min(0)
                .default("60")
                .was(&[("oslo_messaging_rabbit", "kombu_reconnect_timeout")])
                .help("Seconds for which an answer waits for the queue of its caller to come back."),
            boolean("direct_mandatory_flag", true)
                .help("Whether the broker tells when an answer finds no queue, so that it is tried again."),
            boolean("enable_cancel_on_failover", false)
                .help("Whether listeners want to be told when a mirrored queue moves to another node."),
            boolean("use_queue_manager", false)
                .help("Whether names of queues are made of host and process instead of drawn."),
            text("hostname").help("Host in such names; this machine's when unset."),
            text("processname").help("Process in such names; the program's when unset."),
            retired("rabbit_max_retries", "reconnection is never given up"),
            retired("fake_rabbit", ONE_TRANSPORT),
        ],
    },
    Group {
        name: "oslo_messaging_notifications",
        options: &[
            multi("driver").help("How notifications are sent: messaging, messagingv2, log, noop; may be repeated."),
            list("topics").default("notifications").help("Topics of notifications."),
            text("transport_url").secret().help("Message broker for notifications; that of calls when unset."),
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
