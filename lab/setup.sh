#!/bin/bash
# Gives a fresh Debian or Ubuntu machine what the lab and the tests need: packages, and a Python environment in
# .cache/venv with the pinned Salt, test tools and linters; in .cache/s3 a server for tests. Does nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# command -> Debian package that brings it
declare -rA PACKAGES=(
    [docker]=docker.io
    [dockerd]=docker.io
    [debootstrap]=debootstrap
    [chromium]=chromium
    [ip]=iproute2
    [iptables]=iptables
    [nft]=nftables
    [git]=git
    [ps]=procps
    [R]=r-cran-irkernel
    # what proxy and hub run, for tests without the lab, and an ACME authority to ask
    [nginx]=nginx-light
    [certbot]=certbot
    [stunnel4]=stunnel4
    [configurable-http-proxy]=node-configurable-http-proxy
    [pebble]=pebble
    # quotas, on filesystems that can have them
    [insmod]=kmod
    [setquota]=quota
    [mkfs.xfs]=xfsprogs
    # what the hub saves the class with, and a server for it to save to
    [restic]=restic
    [sshd]=openssh-server
    # machines with a kernel of their own, for NFS
    [qemu-system-x86_64]=qemu-system-x86
    [qemu-img]=qemu-utils
    [mkfs.ext4]=e2fsprogs
)

die() {
    echo "lab: $*" >&2
    exit 1
}

installed() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

install_packages() {
    local missing=() command package
    for command in "${!PACKAGES[@]}"; do
        command -v "${command}" >/dev/null || missing+=("${PACKAGES[${command}]}")
    done
    for package in python3-venv ca-certificates debian-archive-keyring; do
        installed "${package}" || missing+=("${package}")
    done
    # a kernel that keeps quotas, for their tests, which are skipped where there is none
    if grep -qx ID=debian /etc/os-release && ! installed user-mode-linux; then
        missing+=(user-mode-linux)
    fi
    [[ ${#missing[@]} -gt 0 ]] || return 0
    echo "lab: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # Tests start an nginx of their own: the package's service would take ports 80 and 443.
    if [[ -d /run/systemd/system && " ${missing[*]} " == *" nginx-light "* ]]; then
        systemctl mask --quiet nginx.service
    fi
    # docker.io would start an engine of its own where systemd runs; that one is as good as the lab's.
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# install_python <environment> <locks...>, in their order
install_python() {
    local venv="$1" want lock
    shift
    # Debian's own Python: one from a version manager may lack what Salt's wheels expect.
    want="$(/usr/bin/python3 --version; cat "$@" | sha256sum; pwd)"
    [[ "$(cat "${venv}/.classhub" 2>/dev/null)" != "${want}" ]] || return 0
    echo "lab: installing Python packages in ${venv}"
    /usr/bin/python3 -m venv --clear "${venv}"
    export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
    for lock in "$@"; do
        "${venv}/bin/pip" --disable-pip-version-check install -qq --require-hashes --no-deps --no-build-isolation \
            --requirement "${lock}"
    done
    echo "${want}" >"${venv}/.classhub"
}

[[ ${EUID} -eq 0 ]] || die "must be run as root: it installs packages and runs containers."
command -v apt-get >/dev/null || die "needs a machine with apt, Debian or Ubuntu."
mkdir -p .cache
install_packages
install_python .cache/venv requirements/build.txt requirements/dev.txt
install_python .cache/s3 requirements/s3.txt
