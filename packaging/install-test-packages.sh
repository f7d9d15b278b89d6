#!/bin/sh
# Installs the Debian packages that the tests use as real parties. Says and does nothing when all are there.
#
# Installed services are not started: a policy-rc.d that says no stands in while apt works, and what stood there before
# is put back, also when apt fails or this script is stopped.
set -eu

# command:package
NEEDED='nginx:nginx-light /usr/bin/python3:python3 prometheus:prometheus victoria-metrics:victoria-metrics
    prometheus-node-exporter:prometheus-node-exporter chronyd:chrony fusermount3:fuse3 dbus-daemon:dbus-daemon
    /lib/systemd/systemd:systemd busctl:systemd ip:iproute2 unshare:util-linux aiosmtpd:python3-aiosmtpd pgrep:procps
    amtool:prometheus-alertmanager'

# Servers live where only root's PATH looks.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing=''
for pair in $NEEDED; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "The tests need these Debian packages, and this system has no apt-get:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "The tests need these packages; install them as root:$missing" >&2
        exit 1
    fi
    # Without a terminal nobody could answer a question for a password.
    if [ -t 0 ]; then exec sudo "$0"; else exec sudo -n "$0"; fi
fi

echo "Installing for the tests:$missing"
policy=/usr/sbin/policy-rc.d
kept=$policy.before-vigie-tests

put_back() {
    rm -f "$policy"
    if [ -e "$kept" ] || [ -L "$kept" ]; then mv "$kept" "$policy"; fi
}
# What a run that was killed left behind is put back first, lest our own is kept as if it were the machine's.
if [ -e "$kept" ] || [ -L "$kept" ]; then
    put_back
elif grep -qs 'vigie: no service' "$policy"; then
    rm -f "$policy"
fi
trap put_back EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$kept"; fi
printf '#!/bin/sh\n# vigie: no service is started while the packages of the tests are installed.\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
install_missing() {
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 $missing \
        </dev/null >"$log" 2>&1
}
log=$(mktemp)
# The lists of packages may be absent or old; they are only fetched if it turns out so.
if ! install_missing; then
    apt-get update -qq </dev/null
    if ! install_missing; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
    fi
fi
rm -f "$log"
