#!/usr/bin/env bash
# Watches this machine for real, from a folder: one collector and one agent, joined over mutual TLS, until Ctrl-C.
#
#   packaging/quickstart.sh PROGRAMS [DIR]
#
# PROGRAMS is the folder with vigie-agent and vigie-collector, DIR where everything is kept (run). Settings are written
# once and yours from then on; a second run resumes. A port that another program has taken is replaced by a free one.
# Nothing outside DIR is written, nothing listens but on the loopback address, nobody is told anything.
set -euo pipefail
umask 077

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 PROGRAMS [DIR]" >&2
    exit 2
fi
programs=$(realpath "$1")
dir=$(realpath -m "${2:-run}")
collector_config=$dir/collector/collector.toml
agent_config=$dir/agent/agent.toml
identity=$dir/agent/state/identity/tls.pem

# How long the first answer, and an orderly stop, may take: each program ends its own stop well before.
START_SECONDS=30
STOP_SECONDS=40

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

collector() { "$programs/vigie-collector" --config "$collector_config" "$@"; }
agent() { "$programs/vigie-agent" --config "$agent_config" "$@"; }

# --- ports -----------------------------------------------------------------------------------------------------------

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The port itself if nobody has it, else the next that is free and not in $taken.
free_port() {
    local port=$1
    while is_taken "$port" || [[ " $taken " == *" $port "* ]]; do
        port=$((port + 1))
    done
    printf '%s' "$port"
}

# The port of `KEY = "ADDRESS:PORT"` in FILE, else DEFAULT.
port_of() {
    local port
    port=$(sed -nE "s/^$1 = \"[^\"]*:([0-9]+)\".*/\1/p" "$2" 2>/dev/null | head -n 1) || true
    printf '%s' "${port:-$3}"
}

# --- processes -------------------------------------------------------------------------------------------------------

is_alive() { kill -0 "$1" 2>/dev/null; }

# Ends process PID named NAME in order, and says so.
stop_one() {
    local pid=$1 name=$2 waited=0
    is_alive "$pid" || return 0
    kill -TERM "$pid" 2>/dev/null || true
    while is_alive "$pid"; do
        if [ "$waited" -ge $((STOP_SECONDS * 10)) ]; then
            say "$name did not stop within $STOP_SECONDS s and is killed; nothing that was written is lost."
            kill -KILL "$pid" 2>/dev/null || true
            return 0
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
    say "$name has stopped."
}

# A run that was itself killed leaves its two programs behind.
stop_left_over() {
    local name=$1 file=$dir/$1.pid pid
    [ -s "$file" ] || return 0
    pid=$(<"$file")
    case $(readlink "/proc/$pid/exe" 2>/dev/null || true) in
        */vigie-"$name"*) say "Left over from a run that was killed:"; stop_one "$pid" "  the $name" ;;
    esac
    rm -f "$file"
}

# In a session of its own, so that Ctrl-C reaches this script alone and it can stop the two in order.
start() {
    local name=$1
    setsid "$programs/vigie-$name" --config "$2" run >"$dir/$name.log" 2>&1 </dev/null 9>&- &
    printf '%s\n' $! >"$dir/$name.pid"
}

collector_pid='' agent_pid='' screen=''
finish() {
    local code=$?
    trap '' INT TERM HUP
    [ -z "$screen" ] || printf '\033[?1049l'
    if [ -n "$agent_pid$collector_pid" ]; then
        say "Stopping."
        [ -z "$agent_pid" ] || stop_one "$agent_pid" "  the agent"
        [ -z "$collector_pid" ] || stop_one "$collector_pid" "  the collector"
        rm -f "$dir/agent.pid" "$dir/collector.pid"
        say "Everything is kept in $dir; \`make run\` resumes."
    fi
    exit "$code"
}

# --- preparation -----------------------------------------------------------------------------------------------------

for program in vigie-agent vigie-collector; do
    [ -x "$programs/$program" ] || fail "$programs/$program is missing; build it first (make run does)"
done
mkdir -p "$dir"
exec 9>"$dir/lock"
flock -n 9 || fail "$dir is in use by another run of this script"
trap finish EXIT
trap 'exit 0' INT TERM HUP
stop_left_over agent
stop_left_over collector

# The first label of the host name, as `vigie-agent join` takes it; one that is no node name is called this-host.
node=$(tr '[:upper:]' '[:lower:]' </proc/sys/kernel/hostname | cut -d. -f1)
[[ $node =~ ^[a-z0-9][a-z0-9_-]{0,62}$ ]] || node=this-host

# What this script calls its own lines in two files; the rest of them may have been edited.
was=$(port_of listen "$collector_config" 9443)
metrics_was=$(port_of metrics_listen "$collector_config" 9477)
agent_metrics_was=$(port_of listen "$agent_config" 9478)
taken=''
port=$(free_port "$was"); taken="$taken $port"
metrics_port=$(free_port "$metrics_was"); taken="$taken $metrics_port"
agent_metrics_port=$(free_port "$agent_metrics_was")

is_new=no
if [ ! -e "$collector_config" ]; then
    is_new=yes
    say "Making a collector in $dir/collector: settings, a data folder, a server CA and an agent CA."
    rm -rf "$dir/collector"
    "$programs/vigie-collector" init --dir "$dir/collector" --host localhost --host 127.0.0.1 \
        --listen "127.0.0.1:$port" --metrics-listen "127.0.0.1:$metrics_port" >/dev/null
    case ${LC_ALL:-${LC_MESSAGES:-${LANG:-}}} in
        fr*) ;;
        *) sed -i 's/^language = "fr"/language = "en"/' "$collector_config" ;;
    esac
    mkdir "$dir/collector/conf.d"
    cat >"$dir/collector/conf.d/quickstart.toml" <<EOF
# What this machine is, for the quick start. Without a [receiver.N] and a [[route]], alerts are kept and shown by
# \`vigie-collector status\`, and nobody is told.

[service.demo]
criticality = "important"
needs = { D = 3, I = 2, C = 2, T = 2 }

[group.quickstart]
nodes = ["$node"]
services = ["demo"]
environment = "test"

# To be told, take these lines over; whatever listens there gets one JSON object a message.
#[receiver.me]
#webhook = { url = "http://127.0.0.1:8080/" }
#
#[[route]]
#notify = ["me"]
EOF
else
    say "Resuming with what is in $dir."
    if [ "$port" != "$was" ] || [ "$metrics_port" != "$metrics_was" ]; then
        say "Another program has taken a port: the collector moves to $port (agents) and $metrics_port (metrics)."
        if [ "$port" != "$was" ]; then
            say "The check of its endpoint moves too, which vigie reports until \`vigie-collector plan confirm $node\`."
        fi
        sed -i -E "s/^listen = .*/listen = \"127.0.0.1:$port\"/; s/^metrics_listen = .*/metrics_listen = \"127.0.0.1:$metrics_port\"/" \
            "$collector_config"
    fi
fi

if [ ! -e "$agent_config" ]; then
    mkdir -p "$dir/agent"
    cat >"$agent_config" <<EOF
# Settings of vigie-agent for the quick start. A change is taken up at once; \`vigie-agent check-config\` tells all
# mistakes. More checks may stand in conf.d/*.toml beside this file.

collectors = ["https://localhost:$port"]
listen = "127.0.0.1:$agent_metrics_port"
state_dir = "$dir/agent/state"

[defaults]
every = "5s"
timeout = "3s"
failures = 2
recoveries = 2

[check.cpu]
kind = "cpu"
failures = 12                        # a minute
warning = { used = "95%" }

[check.memory]
kind = "memory"
warning = { used = "90%" }
critical = { used = "95%" }

[check.load]
kind = "load"
warning = { load5 = "2" }            # per processor
critical = { load15 = "4" }

[check.disks]
kind = "filesystem"
warning = { used = "85%", inodes = "85%" }
critical = { used = "95%", inodes = "95%" }

# The collector's own HTTPS endpoint. This check shows no client certificate, so being sent away is right.
[check.collector]
kind = "http"
service = "demo"
url = "https://127.0.0.1:$port/"
ca_file = "$dir/collector/data/pki/server-ca.pem"
expect = { status = [403], body = "certificate.required" }
EOF
elif [ "$port" != "$was" ] || [ "$agent_metrics_port" != "$agent_metrics_was" ]; then
    sed -i -E "/^(collectors|url) = /s#(localhost|127\.0\.0\.1):$was\b#\1:$port#; s/^listen = .*/listen = \"127.0.0.1:$agent_metrics_port\"/" \
        "$agent_config"
fi

# --- start -----------------------------------------------------------------------------------------------------------

say "Starting the collector: https://localhost:$port for agents, http://127.0.0.1:$metrics_port/metrics."
start collector "$collector_config"
collector_pid=$(<"$dir/collector.pid")
waited=0
until collector node list >/dev/null 2>&1; do
    if ! is_alive "$collector_pid" || [ "$waited" -ge $((START_SECONDS * 5)) ]; then
        tail -n 20 "$dir/collector.log" >&2
        fail "The collector does not start; its log is $dir/collector.log."
    fi
    sleep 0.2
    waited=$((waited + 1))
done

# An identity of a collector that is gone is of no use to the new one.
[ "$is_new" = no ] || rm -rf "$dir/agent/state"
if [ ! -e "$identity" ]; then
    say "Joining this machine as $node: a token of one use, then two keys that never leave it."
    replace=()
    nodes=$(collector node list --json)
    if grep -qF "\"node\": \"$node\"" <<<"$nodes"; then replace=(--replace); fi
    collector token --node "$node" ${replace[@]+"${replace[@]}"} >"$dir/token" 2>/dev/null ||
        fail "The collector makes no token; its log is $dir/collector.log."
    if ! agent join --token-file "$dir/token" --node "$node"; then
        rm -f "$dir/token"
        fail "This machine could not join."
    fi
    rm -f "$dir/token"
fi

say "Starting the agent: processors, memory, load, file systems and the collector's own HTTPS endpoint;" \
    "http://127.0.0.1:$agent_metrics_port/metrics."
start agent "$agent_config"
agent_pid=$(<"$dir/agent.pid")

# --- the fleet, live -------------------------------------------------------------------------------------------------

is_running() {
    is_alive "$collector_pid" || { tail -n 20 "$dir/collector.log" >&2; fail "The collector has ended; its log is $dir/collector.log."; }
    is_alive "$agent_pid" || { tail -n 20 "$dir/agent.log" >&2; fail "The agent has ended; its log is $dir/agent.log."; }
}

# Exit code 1 says that something is not ok, which is a table like any other.
table() { collector status 2>&1 || true; }

# What of a table is news: the status of nodes, and every alert. Contacts and line numbers change all the time.
news() { awk '/^$/ { part++ } part == 0 { print $1, $2, $3 } part == 1 { print }'; }

hint="Ctrl-C stops both. Settings: $agent_config, $dir/collector/conf.d/quickstart.toml. Logs: $dir/*.log"
if [ -t 1 ]; then
    # The other screen, so that what was said above is there again at the end.
    screen=other
    printf '\033[?1049h'
    while is_running; do
        shown=$(table)
        printf '\033[H\033[2J%s\n\n%s\n' "$shown" "$hint"
        sleep 2
    done
else
    say "$hint"
    last='' waited=0
    while is_running; do
        shown=$(table)
        # The first answers take a few seconds; what has not settled after a minute is shown as it is.
        if [ -n "$last" ] || [ "$waited" -ge 60 ] || ! grep -q '^unknown' <<<"$shown"; then
            now=$(news <<<"$shown")
            if [ "$now" != "$last" ]; then
                printf '\n%s\n' "$shown"
                last=$now
            fi
        fi
        sleep 2
        waited=$((waited + 2))
    done
fi
