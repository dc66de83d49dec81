"""A Keystone of its own for tests: makes its database, fills it and serves it, all in one process.

Run with a file in JSON: directory, listen, url, region, password, projects, users, services. Each request is a line in
`requests.log` of the directory, where the file `ready` tells that it serves. A request for a token may say in the header X-Token-Life how many seconds it is to live.
"""

import datetime
import json
import os
import shutil
import sqlite3
import sys
import threading

from cryptography.fernet import Fernet

CONFIG = """\
[DEFAULT]
log_file = {directory}/keystone.log
use_stderr = false
[database]
connection = sqlite:///{directory}/keystone.db
[token]
provider = fernet
allow_expired_window = 172800
[fernet_tokens]
key_repository = {directory}/keys
[fernet_receipts]
key_repository = {directory}/keys
[credential]
key_repository = {directory}/keys
[cache]
enabled = false
[identity]
password_hash_rounds = 4
[oslo_policy]
enforce_scope = true
"""


def prepare(spec):
    directory = spec["directory"]
    os.makedirs(f"{directory}/keys", mode=0o700)
    for name in ("0", "1"):
        with open(f"{directory}/keys/{name}", "wb") as key:
            key.write(Fernet.generate_key())
    with open(f"{directory}/keystone.conf", "w") as config:
        config.write(CONFIG.format(directory=directory))
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = f"{directory}/keystone.conf"


def make_database(directory):
    from keystone.common.sql import upgrades

    upgrades.offline_sync_database_to_version()
    # Names differ by more than case only, as in MariaDB.
    with sqlite3.connect(f"{directory}/keystone.db") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'name VARCHAR(64) NOT NULL', "
            "'name VARCHAR(64) COLLATE NOCASE NOT NULL') WHERE type = 'table' AND name = 'project'"
        )
        database.execute("PRAGMA writable_schema = RESET")
    database = sqlite3.connect(f"{directory}/keystone.db")
    database.execute("REINDEX")
    database.commit()
    database.close()


def fill(spec):
    from keystone.cmd import bootstrap
    from keystone.common import provider_api

    bootstrap.backends.load_backends = lambda: None  # they are
    first = bootstrap.Bootstrapper()
    first.admin_username = first.project_name = first.admin_role_name = "admin"
    first.admin_password = spec["password"]
    first.service_name = "keystone"
    first.region_id = spec["region"]
    first.public_url = first.internal_url = first.admin_url = spec["url"]
    first.bootstrap()

    api = provider_api.ProviderAPIs
    new_id = lambda: os.urandom(16).hex()
    roles = {role["name"]: role["id"] for role in api.role_api.list_roles()}
    projects = {project["name"]: project["id"] for project in api.resource_api.list_projects()}
    for name in spec["projects"]:
        project = {"id": new_id(), "name": name, "domain_id": "default", "enabled": True, "description": ""}
        api.resource_api.create_project(project["id"], project)
        projects[name] = project["id"]
    for user in spec["users"]:
        made = api.identity_api.create_user(
            {"name": user["name"], "password": user["password"], "domain_id": "default", "enabled": True}
        )
        for role in user["roles"]:
            if role not in roles:
                roles[role] = new_id()
                api.role_api.create_role(roles[role], {"id": roles[role], "name": role})
            api.assignment_api.add_role_to_user_and_project(made["id"], projects[user["project"]], roles[role])
    for service in spec["services"]:
        entry = {"id": new_id(), "name": service["name"], "type": service["type"], "enabled": True}
        api.catalog_api.create_service(entry["id"], entry)
        for interface in ("admin", "internal", "public"):
            endpoint = {"id": new_id(), "service_id": entry["id"], "interface": interface, "url": service["url"]}
            endpoint |= {"region_id": spec["region"], "enabled": True}
            api.catalog_api.create_endpoint(endpoint["id"], endpoint)


LIFE = threading.local()


def short_lives():
    from keystone.token import provider

    usual = provider.default_expire_time

    def expiry():
        seconds = getattr(LIFE, "seconds", None)
        if seconds is None:
            return usual()
        return datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=seconds)

    provider.default_expire_time = expiry


def observed(application, log):
    def application_with_log(environ, start_response):
        query = environ.get("QUERY_STRING")
        target = environ["PATH_INFO"] + (f"?{query}" if query else "")
        life = environ.get("HTTP_X_TOKEN_LIFE")
        LIFE.seconds = int(life) if life else None

        def start(status, headers, *rest):
            log.write(f"{environ['REQUEST_METHOD']} {target} {status[:3]}\n")
            return start_response(status, headers, *rest)

        return application(environ, start)

    return application_with_log


def end_with_parent(directory):
    """The test holds the other end of our standard input: it closes when the test has ended, in whatever way."""
    sys.stdin.buffer.read()
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    threading.Thread(target=end_with_parent, args=(spec["directory"],), daemon=True).start()
    sys.argv = sys.argv[:1]
    prepare(spec)
    from keystone.server import wsgi
    import waitress

    application = wsgi.initialize_public_application()
    make_database(spec["directory"])
    fill(spec)
    short_lives()
    log = open(f"{spec['directory']}/requests.log", "a", buffering=1)
    server = waitress.create_server(observed(application, log), listen=" ".join(spec["listen"]), threads=4)
    open(f"{spec['directory']}/ready", "w").close()
    server.run()


main()
