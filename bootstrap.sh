#!/bin/bash
# Turns a Debian 12 or 13 machine into a Salt minion or the Salt master of a class.
#
#   bootstrap.sh minion --master ADDR --id ID [--master-finger FINGERPRINT] [--ca-bundle FILE]
#   bootstrap.sh master [--interface ADDR] [--api ADDR:PORT] [--ca-bundle FILE]
#   bootstrap.sh install [--ca-bundle FILE]     only packages and Salt: what the other two do first
#
# A minion needs this file and requirements/ beside it; the master needs the whole checkout. It may be run again at
# any time: it changes what differs, and restarts Salt when that is older than its files. Everything from the package
# index is checked against the hashes in requirements/.
set -euo pipefail

readonly VENV=/opt/salt
readonly PROGRAMS=(salt salt-api salt-call salt-cp salt-key salt-master salt-minion salt-run)
# iproute2 and procps are what Salt's own grains and modules call; minimal images lack them.
readonly PACKAGES=(ca-certificates iproute2 openssl procps python3 python3-venv)
HERE="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)"
readonly HERE
readonly STAMP="${VENV}/.classhub"
readonly API=/etc/salt/pki/api

die() {
    echo "bootstrap.sh: $*" >&2
    exit 1
}

say() {
    echo "bootstrap: $*"
}

usage() {
    sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
    die "$1"
}

booted_with_systemd() {
    [[ -d /run/systemd/system ]]
}

is_ipv4() {
    local octet="(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    [[ $1 =~ ^${octet}(\.${octet}){3}$ ]]
}

check_machine() {
    [[ ${EUID} -eq 0 ]] || die "must be run as root."
    local id="" version=""
    if [[ -r /etc/os-release ]]; then
        id="$(sed -n 's/^ID=//p' /etc/os-release)"
        version="$(sed -n 's/^VERSION_ID="\{0,1\}\([0-9]*\).*/\1/p' /etc/os-release)"
    fi
    [[ ${id} == debian && ${version} =~ ^1[23]$ ]] ||
        die "this machine is '${id:-unknown} ${version}', and classhub runs on Debian 12 or 13."
}

# Writes standard input to $1 with mode $2 when that changes it.
put() {
    local path="$1" mode="$2" new
    new="$(mktemp -p /run)" # /tmp may just be emptied: a machine that boots
    cat >"${new}"
    if ! cmp -s "${new}" "${path}"; then
        install -D -m "${mode}" "${new}" "${path}"
        say "wrote ${path}"
    fi
    rm -f "${new}"
}

install_packages() {
    local missing=() package
    for package in "${PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "${package}" 2>/dev/null | grep -q 'ok installed' || missing+=("${package}")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# update-ca-certificates wants one certificate a file. Names and contents are those of the state common.trust.
trust_ca_bundle() {
    local bundle="$1" authorities=/usr/local/share/ca-certificates target work
    target="${authorities}/classhub"
    [[ -r ${bundle} ]] || die "cannot read the CA bundle ${bundle}."
    work="$(mktemp -d -p /run)"
    awk -v dir="${work}" -v begin="-----BEGIN CERTIFICATE-----" -v end="-----END CERTIFICATE-----" '
        { sub(/\r$/, "") }
        sub(".*" begin, begin) { file = sprintf("%s/site-%d.crt", dir, ++n) }
        { last = sub(end ".*", end) }
        file { print > file }
        file && last { close(file); file = "" }' "${bundle}"
    [[ -e ${work}/site-1.crt ]] || die "${bundle} holds no certificate in PEM form."
    rm -f "${authorities}"/classhub-site-*.crt # the names of earlier versions
    if ! diff -qr "${work}" "${target}" >/dev/null 2>&1; then
        rm -rf "${target}"
        install -d -m 0755 "${target}"
        install -m 0644 "${work}"/site-*.crt "${target}"
        say "wrote ${target}"
    fi
    rm -rf "${work}"
    if [[ -n "$(find "${authorities}" -newer /etc/ssl/certs/ca-certificates.crt)" ]]; then
        update-ca-certificates --fresh >/dev/null
        say "the machine now trusts the certificates in ${bundle}"
    fi
}

# The stamp names all that the virtual environment was made from, Debian's Python included.
install_salt() {
    local want program
    want="$(python3 --version; cat "${HERE}/requirements/build.txt" "${HERE}/requirements/salt.txt" | sha256sum)"
    if [[ "$(cat "${STAMP}" 2>/dev/null)" != "${want}" ]]; then
        say "installing Salt in ${VENV}"
        rm -f "${STAMP}"
        if ! "${VENV}/bin/python" --version 2>/dev/null | grep -qxF "$(python3 --version)"; then
            python3 -m venv --clear "${VENV}"
        fi
        # The build's own needs come first, with hashes: otherwise pip fetches them unchecked to build Salt.
        pip_install "${HERE}/requirements/build.txt"
        pip_install --no-build-isolation "${HERE}/requirements/salt.txt"
        "${VENV}/bin/python" -m compileall -q "${VENV}/lib" >/dev/null 2>&1 || true
        echo "${want}" >"${STAMP}"
    fi
    for program in "${PROGRAMS[@]}"; do
        ln -sfn "${VENV}/bin/${program}" "/usr/local/bin/${program}"
    done
}

pip_install() {
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt "${VENV}/bin/pip" --disable-pip-version-check --no-cache-dir \
        install --quiet --require-hashes --no-deps "${@:1:$#-1}" --requirement "${!#}"
}

minion_config() {
    cat <<EOF
# Written by bootstrap.sh: who this minion is and which master it trusts.
master: ${master}
id: ${id}
# Someone waits at the master until the key of a new minion shows up: ask again soon.
acceptance_wait_time: 5
# A master may be away for long, and must find its minions when it is back.
master_tries: -1
# Servers have no GPU that matters here, and lspci is not installed everywhere.
enable_gpu_grains: false
log_level_logfile: warning
EOF
    [[ -z ${master_finger} ]] || cat <<EOF
# No other master is believed, not even at the very first contact.
master_finger: "${master_finger}"
EOF
}

minion_unit() {
    cat <<EOF
[Unit]
Description=Salt minion of the class
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=${VENV}/bin/salt-minion
# A job may restart or upgrade the minion it runs in, and must survive that.
KillMode=process
# Jobs on a schedule can make it slow to stop.
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
LimitNOFILE=8192

[Install]
WantedBy=multi-user.target
EOF
}

master_unit() {
    cat <<EOF
[Unit]
Description=Salt master of the class
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=all
ExecStart=${VENV}/bin/python3 ${HERE}/bin/salt-master
# The job cache holds what minions returned: root's business alone.
UMask=0077
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
LimitNOFILE=100000

[Install]
WantedBy=multi-user.target
EOF
}

api_config() {
    cat <<EOF
# Written by bootstrap.sh: where staff reach the class (_netapi/classhub_api.py).
classhub_api:
  address: ${api%:*}
  port: ${api##*:}
  certificate: ${API}/api.crt
  key: ${API}/api.key
EOF
}

# salt-api ignores the Saltfile, and ends without a word where it finds no configuration: hence the -c. It logs to the
# journal, which has an end: wrong tokens could fill a file.
api_unit() {
    cat <<EOF
[Unit]
Description=Way in for the staff of the class
After=network-online.target salt-master.service
Wants=network-online.target

[Service]
ExecStart=${VENV}/bin/salt-api -c /etc/salt --log-file=/dev/null
UMask=0077
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
# It is root, for the master's key and the class's pillar are root's; it writes to the master's own files alone.
LogsDirectory=classhub
LogsDirectoryMode=0700
ProtectSystem=strict
ReadWritePaths=/run /var/cache/salt /var/log/salt
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
LockPersonality=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictRealtime=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
EOF
}

# The certificate signs itself: whoever speaks to the class knows its fingerprint, from classhub.staff_token.
make_api_certificate() {
    [[ ! -s ${API}/api.crt || ! -s ${API}/api.key ]] || return 0
    install -d -m 0700 "${API}"
    local work
    work="$(mktemp -d -p "${API}")"
    (
        umask 0077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 3650 -subj /CN=classhub \
            -addext "subjectAltName=IP:${api%:*}" -keyout "${work}/api.key" -out "${work}/api.crt" 2>/dev/null
    )
    mv "${work}/api.key" "${work}/api.crt" "${API}/"
    rmdir "${work}"
    say "made the certificate of the way in for staff"
}

# Enables unit $1 and, where systemd runs (it does not in an image build), sees to it that it runs with the other files
# given: their age is compared, so that an earlier run that was cut short after it wrote them is made up for.
run_unit() {
    local unit="$1" wants=/etc/systemd/system/multi-user.target.wants
    mkdir -p "${wants}"
    ln -sfn "/etc/systemd/system/${unit}" "${wants}/${unit}"
    booted_with_systemd || return 0
    if systemctl --quiet is-active "${unit}" && ! started_before "$@" "/etc/systemd/system/${unit}" "${STAMP}"; then
        return 0
    fi
    systemctl daemon-reload
    say "starting ${unit}"
    systemctl restart "${unit}"
}

# Whether the process of unit $1 is older than one of the other files given.
started_before() {
    local started
    started="$(systemctl show --value --timestamp=us+utc --property=ExecMainStartTimestamp "$1")"
    [[ -n "$(find "${@:2}" -newermt "${started}")" ]]
}

wait_for_file() {
    local tries
    for ((tries = 0; tries < 120; tries++)); do
        [[ ! -s $1 ]] || return 0
        sleep 0.5
    done
    die "$1 did not appear within a minute; see 'journalctl -u salt-minion -u salt-master'."
}

# A minion's key as `salt-key -f` of Salt 3008.3 shows it: the whole PEM text, without the last line end.
# `salt-call key.finger` on the minion shows another, of what is between header and footer (saltstack/salt#69970).
minion_fingerprint() {
    printf '%s' "$(cat /etc/salt/pki/minion/minion.pub)" | fingerprint
}

# The master's key as a minion compares it with master_finger: what is between header and footer. `salt-key -F master`
# shows another, of the whole PEM text, which no minion would believe.
master_fingerprint() {
    sed '/^[[:space:]]*$/d' /etc/salt/pki/master/master.pub | sed '1d; $d' | fingerprint
}

fingerprint() {
    sha256sum | cut -c1-64 | sed 's/../&:/g; s/:$//'
}

setup_minion() {
    minion_config | put /etc/salt/minion.d/classhub.conf 0644
    minion_unit | put /etc/systemd/system/salt-minion.service 0644
    run_unit salt-minion.service /etc/salt/minion.d/classhub.conf
    booted_with_systemd || return 0
    wait_for_file /etc/salt/pki/minion/minion.pub
    cat <<EOF
Key fingerprint of ${id}:
  $(minion_fingerprint)
Next, on the master: compare it with 'salt-key -f ${id}'; if they are the same, 'salt-key -a ${id}'.
EOF
}

setup_api() {
    install -d /var/cache/salt /var/log/salt # ReadWritePaths wants them to be there
    make_api_certificate
    api_config | put /etc/salt/master.d/classhub-api.conf 0644
    api_unit | put /etc/systemd/system/salt-api.service 0644
    run_unit salt-api.service /etc/salt/master.d/classhub-api.conf /etc/salt/master.d/classhub.conf "${API}/api.crt" \
        "${HERE}"/_netapi/*.py "${HERE}"/_utils/*.py
    cat <<EOF
Staff reach the class at https://${api}/, whose certificate has the SHA-256 fingerprint
  $(openssl x509 -in "${API}/api.crt" -outform DER | sha256sum | cut -c1-64)
Next, for each of them: salt-run classhub.staff_token USER
EOF
}

setup_master() {
    local template="${HERE}/config/master.d/classhub.conf"
    [[ -r ${template} ]] || die "the master needs the whole checkout: ${template} is missing."
    {
        sed "s|/srv/classhub|${HERE}|g" "${template}"
        [[ -z ${interface} ]] || echo "interface: ${interface}"
    } | put /etc/salt/master.d/classhub.conf 0644
    master_unit | put /etc/systemd/system/salt-master.service 0644
    run_unit salt-master.service /etc/salt/master.d/classhub.conf "${HERE}/bin/salt-master"
    [[ -z ${api} ]] || setup_api
    booted_with_systemd || return 0
    wait_for_file /etc/salt/pki/master/master.pub
    cat <<EOF
The master of the class serves ${HERE}. Its fingerprint, for --master-finger:
  $(master_fingerprint)
Next: describe the class in ${HERE}/pillar, then on each host:
  bootstrap.sh minion --master ADDR --id ID --master-finger FINGERPRINT
EOF
}

[[ $# -gt 0 ]] || usage "say what this machine is to be: minion, master or install."
command="$1"
shift
master="" id="" master_finger="" ca_bundle="" interface="" api=""
while [[ $# -gt 0 ]]; do
    [[ $# -gt 1 ]] || usage "$1 needs a value."
    case "${command} $1" in
        "minion --master") master="$2" ;;
        "minion --id") id="$2" ;;
        "minion --master-finger") master_finger="${2,,}" ;;
        "master --interface") interface="$2" ;;
        "master --api") api="$2" ;;
        "minion --ca-bundle" | "master --ca-bundle" | "install --ca-bundle") ca_bundle="$2" ;;
        *) usage "'${command}' does not know $1." ;;
    esac
    shift 2
done
case "${command}" in
    minion)
        [[ -n ${master} ]] || usage "minion needs --master ADDR."
        [[ -n ${id} ]] || usage "minion needs --id ID."
        # A rule with a name that does not resolve at boot would not load, and with it the whole firewall of a node.
        is_ipv4 "${master}" || die "'${master}' is no IPv4 address, and the nodes' firewalls need the master's."
        [[ ${id} =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || die "'${id}' is no minion id: letters, digits, '.', '_' and '-'."
        [[ ${master_finger} =~ ^(([0-9a-f]{2}:){31}[0-9a-f]{2})?$ ]] ||
            die "'${master_finger}' is no fingerprint: 'bootstrap.sh master' prints the master's."
        ;;
    master)
        [[ ${interface} =~ ^[0-9a-fA-F.:]*$ ]] || die "'${interface}' is no IP address."
        [[ -z ${api} ]] || { is_ipv4 "${api%:*}" && [[ ${api##*:} =~ ^[1-9][0-9]{0,4}$ ]]; } ||
            die "'${api}' is no IPv4 address with a port, such as 192.0.2.11:8443."
        ;;
    install) ;;
    *) usage "'${command}' is not minion, master or install." ;;
esac

check_machine
install_packages
if [[ -n ${ca_bundle} ]]; then
    trust_ca_bundle "${ca_bundle}"
fi
install_salt
case "${command}" in
    minion) setup_minion ;;
    master) setup_master ;;
esac
