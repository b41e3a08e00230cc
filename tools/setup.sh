#!/usr/bin/env bash
# Installs what ci-egress needs, and only what is missing: packages of the distribution, then .venv.
#
#   tools/setup.sh              to run it: .venv/bin/ci-egress
#   tools/setup.sh --dev        also to test, lint and benchmark it
#   tools/setup.sh --dev --no-system     .venv alone, for the tests that need nothing else
#   tools/setup.sh --kernels             the packages alone that `make test-kernels` needs besides
#   tools/setup.sh --system-only         the packages alone, where .venv is made by somebody who isn't root
#
# Debian 12 and 13, Ubuntu 24.04. Elsewhere it names what to install by hand.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The distribution's own Python: bcc's module is built for it, and a virtual environment outlives pyenv's.
readonly python=/usr/bin/python3
readonly venv=.venv
readonly stamp=$venv/ci-egress.stamp

# bcc compiles; the rest is what the demonstration uses.
packages=(python3 python3-venv python3-bpfcc ca-certificates curl iproute2)
dev_packages=(
    bash-completion bpftool chromium debootstrap default-jre-headless e2fsprogs fish fonts-dejavu-core gcc git groovy
    iproute2 libc6-dev make man-db mandoc nftables procps runc shellcheck strace sudo systemd util-linux zsh
)
kernel_packages=(debian-archive-keyring debootstrap kmod qemu-system-x86 zstd)
arm64_packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm)
extras=

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed* ]]
}

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        is_installed "$package" || printf '%s\n' "$package"
    done
}

# shellcheck source=/dev/null
distribution() {
    (. /etc/os-release && echo "$ID $VERSION_ID")
}

# Ubuntu has no package bpftool before 25.04: there it belongs to the kernel's tools. Its Chromium is a snap:
# tools/debian-chromium.sh.
name_packages_for_ubuntu() {
    if [[ $(distribution) == "ubuntu 24.04" ]]; then
        packages=("${packages[@]/#bpftool/linux-tools-generic}")
        mapfile -t packages < <(printf '%s\n' "${packages[@]}" | grep -vx chromium)
        [[ -z $extras ]] || packages+=(debian-archive-keyring) # debootstrap checks Debian's signature with it
    fi
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    if ((${#missing[@]} == 0)); then
        say "system packages: all there"
        return
    fi
    if ((EUID != 0)); then
        fail "needs root to install system packages; as root run" "    apt-get install ${missing[*]}"
    fi
    say "system packages: installing ${missing[*]}, from the archives that apt knows"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "some package lists could not be read; going on with the others"
    apt-get install -qq --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
}

# Where Ubuntu keeps it, /usr/sbin/bpftool is a script that refuses any other kernel than its own. Not in .venv: what
# tests run finds it by PATH, in which that isn't.
link_bpftool() {
    local candidates=(/usr/lib/linux-tools/*/bpftool)
    if ((EUID == 0)) && [[ -x ${candidates[-1]} ]] && ! bpftool version >/dev/null 2>&1; then
        ln -sf "${candidates[-1]}" /usr/local/sbin/bpftool
    fi
}

check_python() {
    [[ -x $python ]] || fail "$python is missing; install python3, python3-venv and python3-bpfcc"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$python" --version) is too old: Python 3.11 is needed (Debian 12, Ubuntu 24.04 or newer)"
    "$python" -c 'import ensurepip' 2>/dev/null || fail "Python's venv is missing; install python3-venv"
}

# Changes with what an environment can't outlive: its place, which its scripts name, and its Python.
base_state() {
    { pwd && "$python" --version; } | sha256sum
}

# Changes with all that the environment is made from: that, versions, extras.
wanted_state() {
    { base_state && echo "$extras" && cat pyproject.toml constraints.txt tools/setup.sh; } | sha256sum
}

is_stamped() {
    grep -qsxF "$1" "$stamp"
}

is_usable() {
    is_stamped "$(base_state)" && "$venv/bin/ci-egress" --version && "$venv/bin/python" -m pip --version
} &>/dev/null

# What is installed goes on working meanwhile, as for whoever has it linked: pip touches nothing before it has all that
# is new, and exact versions make no difference between adding and making anew, but for packages that nobody needs now.
make_venv() {
    local wanted running
    wanted=$(wanted_state)
    running=$(extras='' wanted_state)
    if [[ -x $venv/bin/ci-egress ]] && is_stamped "$wanted"; then
        say "$venv: up to date"
        return
    fi
    say "$venv: installing the packages of constraints.txt from the index that pip knows, a minute or two${extras:+ with the extra $extras}"
    is_usable || "$python" -m venv --clear "$venv"
    # Should it be interrupted: what is there for running stays as it is when the extra is added.
    if is_stamped "$running"; then stamp_with "$running"; else stamp_with; fi
    PIP_CONSTRAINT=$PWD/constraints.txt "$venv/bin/python" -m pip --disable-pip-version-check --quiet \
        install --editable ".${extras:+[$extras]}"
    # What is there for development is there for running, too.
    stamp_with "$running" "$wanted"
}

stamp_with() {
    printf '%s\n' "$(base_state)" "$@" >"$stamp"
}

main() {
    local system=yes own=yes argument
    for argument in "$@"; do
        case $argument in
        --dev) extras=dev packages+=("${dev_packages[@]}") ;;
        --kernels) packages=("${kernel_packages[@]}") own=no ;;
        --arm64) packages+=("${arm64_packages[@]}") ;;
        --no-system) system=no ;;
        --system-only) own=no ;;
        *) fail "unknown argument $argument" ;;
        esac
    done
    if [[ $system == yes ]]; then
        command -v apt-get >/dev/null ||
            fail "no apt-get here; install by hand: Python 3.11 with venv, BCC 0.25 or newer for $python"
        name_packages_for_ubuntu
        install_packages
    fi
    if [[ $system == yes && $extras && $EUID == 0 && $(distribution) == "ubuntu 24.04" ]]; then
        tools/debian-chromium.sh
    fi
    check_python
    [[ $own == yes ]] || return 0
    make_venv
    link_bpftool
    [[ $system == no ]] || "$venv/bin/python" -m tools.objects "$(uname -m)"
    say "ready: $venv/bin/ci-egress"
    if [[ $system == yes && $extras ]] && ! command -v chromium >/dev/null; then
        say "tests/browser will fail: no chromium on PATH. On Ubuntu, tools/debian-chromium.sh makes one, as root"
    fi
}

main "$@"
