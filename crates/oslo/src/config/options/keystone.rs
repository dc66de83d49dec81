//! How services authenticate at Keystone, and how they have it validate the tokens of their callers.

use super::super::option::{Group, Opt, boolean, choice, float, int, list, retired, text};

/// The options by which a service authenticates, for one section, with the older spellings that they have there.
/// [`crate::keystone::Settings`] reads them.
macro_rules! authentication {
    (
        $group:literal,
        auth_url: $url:tt,
        username: $user:tt,
        password: $password:tt,
        project_name: $project:tt,
        token: $token:tt
    ) => {
        &[
            text("auth_section").help("Section to read how to authenticate from, in place of this one."),
            text("auth_type")
                .was(&[($group, "auth_plugin")])
                .help("How to authenticate: password, v3applicationcredential, v3token, admin_token or none."),
            text("auth_url").was(&older!($group $url)).help("URL of Keystone, with or without /v3."),
            text("username").was(&older!($group $user)).help("User to authenticate as, by name."),
            text("user_id").help("User to authenticate as, by id."),
            text("password").was(&older!($group $password)).secret().help("Password of that user."),
            text("user_domain_name").help("Domain of that user, by name."),
            text("user_domain_id").help("Domain of that user, by id."),
            text("project_name").was(&older!($group $project)).help("Project to work in, by name."),
            text("project_id").was(&[($group, "tenant_id"), ($group, "tenant-id")]).help("Project to work in, by id."),
            text("project_domain_name").help("Domain of that project, by name."),
            text("project_domain_id").help("Domain of that project, by id."),
            text("default_domain_name").help("Domain of user and project where none is named, by name."),
            text("default_domain_id").help("Domain of user and project where none is named, by id."),
            text("domain_name").help("Domain to work in, by name, in place of a project."),
            text("domain_id").help("Domain to work in, by id, in place of a project."),
            text("system_scope").help("What of the system to work on in place of a project: all."),
            text("trust_id").help("Trust to work under, in place of a project."),
            text("application_credential_id").help("Application credential to authenticate with, by id."),
            text("application_credential_name").help("Application credential to authenticate with, by name."),
            text("application_credential_secret").secret().help("Secret of the application credential."),
            text("token").was(&older!($group $token)).secret().help("Token for auth_type v3token and admin_token."),
            text("endpoint").help("URL of the service itself for auth_type admin_token and none."),
            boolean("insecure", false).help("Whether certificates of Keystone and the service go unchecked."),
            text("cafile").help("File of certificate authorities to trust; those of the system when unset."),
            text("certfile").help("File of the certificate to show to Keystone and the service."),
            text("keyfile").help("File of the key of that certificate."),
        ]
    };
}

macro_rules! older {
    ($group:literal [$($name:literal)*]) => { [$(($group, $name)),*] };
}

const AUTH_HOST: &str = "set auth_url to the whole URL of Keystone instead";
const REVOCATIONS: &str = "Keystone is asked about every token, so there is nothing to set";

const VALIDATION: &[Opt] = &[
    text("www_authenticate_uri")
        .was(&[("keystone_authtoken", "auth_uri")])
        .help("URL of Keystone that callers without token are told."),
    text("auth_version").help("Accepted; tokens are validated with version 3.").idle(),
    choice("interface", &["internal", "public", "admin"])
        .default("internal")
        .help("Which of Keystone's endpoints in the catalogue validates tokens."),
    text("region_name").help("Region of Keystone in the catalogue; any when unset."),
    boolean("delay_auth_decision", false).help(
        "Whether requests without valid token go on to the service, which refuses them in turn where a user is needed.",
    ),
    int("http_connect_timeout").min(0).help("Seconds to wait for an answer of Keystone; 60 when unset."),
    int("http_request_max_retries").min(0).default("3").help("How often to try again when Keystone cannot be reached."),
    list("memcached_servers")
        .was(&[("keystone_authtoken", "memcache_servers")])
        .help("Servers of memcached to share validated tokens in, besides those kept in the process."),
    int("token_cache_time")
        .min(-1)
        .default("300")
        .help("Seconds for which a validated token is kept; 0 until it expires, -1 not at all."),
    text("memcache_security_strategy")
        .default("None")
        .help("What protects tokens in memcached: None, MAC (signed) or ENCRYPT (signed and encrypted)."),
    text("memcache_secret_key").secret().help("Secret from which the keys for that are derived."),
    int("memcache_pool_dead_retry")
        .min(0)
        .default("300")
        .help("Seconds after which a server of memcached that failed is tried again."),
    int("memcache_pool_maxsize").min(1).default("10").help("Connections to one server of memcached."),
    float("memcache_pool_socket_timeout").default("3").help("Seconds to wait for memcached."),
    int("memcache_pool_unused_timeout")
        .min(0)
        .default("60")
        .help("Seconds after which an unused connection to memcached is closed."),
    int("memcache_pool_conn_get_timeout")
        .min(0)
        .default("10")
        .help("Accepted; memcached is done without rather than waited for.")
        .idle(),
    boolean("memcache_use_advanced_pool", true).help("Accepted; there is one kind of pool.").idle(),
    boolean("memcache_tls_enabled", false).help("Whether memcached is spoken to over TLS, which is not supported."),
    boolean("memcache_sasl_enabled", false).help("Whether memcached wants a login by SASL, which is not supported."),
    boolean("include_service_catalog", true)
        .help("Whether the catalogue is kept with a token in memcached, for other services that share it."),
    text("enforce_token_bind")
        .default("permissive")
        .help("How tokens bound to a login are checked: disabled, permissive, strict, required, or a kind of binding."),
    list("service_token_roles").default("service").help("Roles of which a service token must have one."),
    boolean("service_token_roles_required", true).help("Whether a service token without such a role is refused."),
    text("service_type").help("Our type in the catalogue, for application credentials with access rules: network."),
    retired("auth_host", AUTH_HOST),
    retired("auth_port", AUTH_HOST),
    retired("auth_protocol", AUTH_HOST),
    retired("auth_admin_prefix", AUTH_HOST),
    retired("signing_dir", REVOCATIONS),
    retired("hash_algorithms", REVOCATIONS),
    retired("revocation_cache_time", REVOCATIONS),
    retired("check_revocations_for_cached", REVOCATIONS),
];

const AUTHTOKEN: &[Opt] = authentication!(
    "keystone_authtoken",
    auth_url: ["identity_uri"],
    username: ["user_name" "user-name" "admin_user"],
    password: ["admin_password"],
    project_name: ["tenant_name" "tenant-name" "admin_tenant_name"],
    token: ["admin_token"]
);

const NOVA: &[Opt] = authentication!(
    "nova",
    auth_url: [],
    username: ["user_name" "user-name"],
    password: [],
    project_name: ["tenant_name" "tenant-name"],
    token: []
);

pub(super) const GROUPS: &[Group] = &[
    Group { name: "keystone_authtoken", options: AUTHTOKEN },
    Group { name: "keystone_authtoken", options: VALIDATION },
    Group { name: "nova", options: NOVA },
    Group { name: "nova", options: &[float("timeout").help("Seconds to wait for an answer; 60 when unset.")] },
];
