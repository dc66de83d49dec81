#!/usr/bin/env bash
# Measures Neutron 29.0.0 beside Isospin on this machine, with nothing prepared: `make bench-upstream`.
#
# Neutron gets what it needs in a directory of its own: a virtualenv, a MariaDB and a RabbitMQ that listen on
# loopback only, uwsgi with two workers and no authentication. Isospin is measured twice: standalone on SQLite, and as
# `isospin server` on the same MariaDB and RabbitMQ, in a database and a virtual host of its own. All of it is stopped at
# the end, also after a failure; the virtualenv (of scripts/upstream) stays for the next time. Arguments are passed to
# isospin-bench (`--quick`).
set -euo pipefail
cd "$(dirname "$0")/.."

DIR=${UPSTREAM_DIR:-${CARGO_TARGET_DIR:-target}/upstream}
VERSION=${UPSTREAM_VERSION:-29.0.0}
API_PORT=${UPSTREAM_PORT:-19797}
DB_PORT=$((API_PORT + 1)) MQ_PORT=$((API_PORT + 2)) DIST_PORT=$((API_PORT + 3)) EPMD_PORT=$((API_PORT + 4))
OURS_PORT=$((API_PORT + 5))
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
RUN=$(mktemp -d "${TMPDIR:-/tmp}/isospin-upstream.XXXXXX")
chmod 755 "$RUN"
PIDS=()
FACTS=()

say() { printf '%s\n' "$*" >&2; }
die() { say "bench/upstream.sh: $*"; exit 1; }

finish() {
  local status=$? pid
  # RabbitMQ's start script does not pass signals on to the broker it starts.
  local broker=; [ ! -s "$RUN/rabbit/pid" ] || broker=$(cat "$RUN/rabbit/pid")
  for pid in "${PIDS[@]}" $broker; do kill "$pid" 2>/dev/null || true; done
  for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
  for _ in $(seq 20); do [ -n "$broker" ] && kill -0 "$broker" 2>/dev/null || break; sleep 1; done
  # RabbitMQ's own port mapper outlives it.
  ERL_EPMD_PORT=$EPMD_PORT epmd -kill >/dev/null 2>&1 || true
  if [ "$status" -ne 0 ]; then say "logs are in $RUN"; else rm -rf "$RUN"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

await() { # SECONDS WHAT COMMAND…
  local limit=$1 what=$2; shift 2
  for _ in $(seq "$limit"); do "$@" >/dev/null 2>&1 && return; sleep 1; done
  die "$what did not come up within $limit s"
}

# Starts a server in the background; sets STARTED to its process and TOOK to the seconds to its first answer.
timed() { # URL LOG COMMAND…
  local url=$1 log=$2 begin=$EPOCHREALTIME; shift 2
  "$@" >"$log" 2>&1 &
  STARTED=$!
  PIDS+=("$STARTED")
  for _ in $(seq 6000); do
    if curl -sf "$url" >/dev/null 2>&1; then
      TOOK=$(awk "BEGIN { print $EPOCHREALTIME - $begin }")
      return
    fi
    sleep 0.02
  done
  die "$1 did not come up, see $log"
}

packages() {
  local missing=()
  command -v mariadbd >/dev/null || missing+=(mariadb-server)
  [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing+=(rabbitmq-server)
  command -v curl >/dev/null || missing+=(curl)
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || die "needs ${missing[*]}: run as root once, or apt-get install them"
  say "installing ${missing[*]}"
  # The services of the packages are not wanted, only their programs.
  printf '#!/bin/sh\nexit 101\n' >"$RUN/policy-rc.d"; chmod +x "$RUN/policy-rc.d"
  local policy=/usr/sbin/policy-rc.d placed=
  [ -e $policy ] || { cp "$RUN/policy-rc.d" $policy; placed=1; }
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$RUN/apt.log" 2>&1 ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >"$RUN/apt.log" 2>&1; } || { [ -z "$placed" ] || rm -f $policy; die "apt-get failed, see $RUN/apt.log"; }
  [ -z "$placed" ] || rm -f $policy
}

mariadb_up() {
  local user=()
  [ "$(id -u)" -ne 0 ] || { user=(--user=mysql); install -d -o mysql "$RUN/mysql"; }
  mariadb-install-db --no-defaults --auth-root-authentication-method=normal "${user[@]}" \
    --datadir="$RUN/mysql/data" >"$RUN/mariadb-install.log" 2>&1
  mariadbd --no-defaults "${user[@]}" --datadir="$RUN/mysql/data" --socket="$RUN/mysql/socket" \
    --bind-address=127.0.0.1 --port="$DB_PORT" --pid-file="$RUN/mysql/pid" >"$RUN/mariadb.log" 2>&1 &
  PIDS+=($!)
  await 60 MariaDB mariadb --no-defaults --socket="$RUN/mysql/socket" -uroot -e 'select 1'
  mariadb --no-defaults --socket="$RUN/mysql/socket" -uroot -e "
    create database neutron; create database floor;
    create user neutron@'127.0.0.1' identified by 'neutron'; create user neutron@localhost identified by 'neutron';
    grant all on neutron.* to neutron@'127.0.0.1'; grant all on neutron.* to neutron@localhost;
    grant all on floor.* to neutron@'127.0.0.1'; grant all on floor.* to neutron@localhost"
}

rabbitmq() ( # PROGRAM ARGUMENTS…, in a process of its own
  local program=$1; shift
  # Erlang writes its dumps where it stands.
  cd "$RUN/rabbit"
  exec env HOME="$RUN/rabbit" ERL_EPMD_PORT=$EPMD_PORT ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_NODENAME="bench$API_PORT@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
    RABBITMQ_NODE_PORT="$MQ_PORT" RABBITMQ_DIST_PORT="$DIST_PORT" RABBITMQ_MNESIA_BASE="$RUN/rabbit/db" \
    RABBITMQ_LOG_BASE="$RUN/rabbit/log" RABBITMQ_PID_FILE="$RUN/rabbit/pid" RABBITMQ_CONFIG_FILE="$RUN/rabbit/none" \
    RABBITMQ_ENABLED_PLUGINS_FILE="$RUN/rabbit/plugins" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
    "/usr/lib/rabbitmq/bin/$program" "$@"
)

rabbitmq_up() {
  mkdir -p "$RUN/rabbit"
  rabbitmq rabbitmq-server >"$RUN/rabbitmq.log" 2>&1 &
  PIDS+=($!)
  await 90 RabbitMQ rabbitmq rabbitmqctl -q await_startup
}

neutron_up() {
  cat >"$RUN/neutron.conf" <<C
[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router,segments,qos,trunk,revisions,timestamp,tag,network_ip_availability
transport_url = rabbit://guest:guest@127.0.0.1:$MQ_PORT/
api_paste_config = $VENV/etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
state_path = $RUN/state
[database]
connection = mysql+pymysql://neutron:neutron@127.0.0.1:$DB_PORT/neutron
[oslo_concurrency]
lock_path = $RUN/lock
[quotas]
quota_port = -1
quota_network = -1
quota_subnet = -1
quota_security_group = -1
C
  cat >"$RUN/ml2.ini" <<C
[ml2]
type_drivers = flat,vlan,gre,vxlan,geneve,local
tenant_network_types = vxlan
mechanism_drivers = openvswitch,l2population
extension_drivers = port_security,qos
[ml2_type_vxlan]
vni_ranges = 1:10000
C
  cat >"$RUN/uwsgi.ini" <<C
[uwsgi]
module = neutron.wsgi.api:application
http-socket = 127.0.0.1:$API_PORT
processes = 2
threads = 1
master = true
enable-threads = true
lazy-apps = true
buffer-size = 65535
die-on-term = true
start-time = %t
env = OS_NEUTRON_CONFIG_FILES=$RUN/neutron.conf;$RUN/ml2.ini
add-header = Connection: close
C
  say "creating neutron's database"
  "$VENV/bin/neutron-db-manage" --config-file "$RUN/neutron.conf" --config-file "$RUN/ml2.ini" \
    upgrade head >"$RUN/db-manage.log" 2>&1 || die "neutron-db-manage failed, see $RUN/db-manage.log"
  timed "http://127.0.0.1:$API_PORT/v2.0/networks" "$RUN/neutron.log" "$VENV/bin/uwsgi" --ini "$RUN/uwsgi.ini"
  FACTS+=(--process "upstream=$STARTED" --started "upstream=$TOOK")
}

isospin_up() {
  local program=${CARGO_TARGET_DIR:-target}/release/isospin
  # Both, as `make bench` builds them: one alone would be built again.
  "${CARGO:-cargo}" build --release --locked -p isospin -p isospin-bench
  mariadb --no-defaults --socket="$RUN/mysql/socket" -uroot -e "
    create database isospin; grant all on isospin.* to neutron@'127.0.0.1'; grant all on isospin.* to neutron@localhost"
  rabbitmq rabbitmqctl -q add_vhost isospin
  rabbitmq rabbitmqctl -q set_permissions -p isospin guest '.*' '.*' '.*'
  sed -e "s,^transport_url.*,transport_url = rabbit://guest:guest@127.0.0.1:$MQ_PORT/isospin," \
    -e "s,/neutron\$,/isospin," -e '/^service_plugins/d' "$RUN/neutron.conf" >"$RUN/isospin.conf"
  "$program" db --config-file "$RUN/isospin.conf" upgrade head >"$RUN/isospin-db.log" 2>&1 ||
    die "isospin db upgrade failed, see $RUN/isospin-db.log"
  timed "http://127.0.0.1:$OURS_PORT/v2.0/networks" "$RUN/isospin.log" \
    "$program" server --config-file "$RUN/isospin.conf" --config-file "$RUN/ml2.ini" --bind "127.0.0.1:$OURS_PORT"
  FACTS+=(--process "isospin-mariadb=$STARTED" --started "isospin-mariadb=$TOOK")
}

ports_free() {
  local port
  for port in $API_PORT $DB_PORT $MQ_PORT $DIST_PORT $EPMD_PORT $OURS_PORT; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is taken; set UPSTREAM_PORT"; fi
  done
}

ports_free
packages
VENV=$(scripts/upstream "$DIR")
say "starting MariaDB, RabbitMQ and Neutron $VERSION"
mariadb_up
rabbitmq_up
neutron_up
isospin_up
"${MAKE:-make}" bench UPSTREAM="http://127.0.0.1:$API_PORT" \
  BENCH_ARGS="--endpoint isospin-mariadb=http://127.0.0.1:$OURS_PORT --floor mysql+pymysql://neutron:neutron@127.0.0.1:$DB_PORT/floor ${FACTS[*]} ${BENCH_ARGS:-} $*"
