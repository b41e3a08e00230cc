#!/usr/bin/env bash
# Makes a root with nothing but what every Debian has and the packages that are named, and prints its path; or such a
# root of Ubuntu 24.04, noble.
#
#   tools/debian-root.sh bookworm|trixie|forky|noble [PACKAGE…]
#
# It is kept in ~/.cache/ci-egress, under a name made from the packages and this file, and may be deleted at any
# time. Does nothing when it is there already. Run commands in it with tools/in-root.sh.
set -euo pipefail

say() { printf 'debian-root: %s\n' "$*" >&2; }

# Where the root of suite $1 with packages $2 is kept.
place() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress digest
    digest=$({ cat "${BASH_SOURCE[0]}" && echo "$2"; } | sha256sum)
    printf '%s/%s-%s\n' "$cache" "$1" "${digest:0:12}"
}

# The Debian mirror that this machine's apt uses; nothing on Ubuntu, where debootstrap's own default holds.
debian_mirror() {
    # shellcheck disable=SC2016  # apt fills them in
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Identifier: Packages' |
        awk '$1 == "Debian" && $2 ~ /^https?:/ && $2 !~ /security/ && !found { found = 1; print $2 }'
}

use_apts_proxy() {
    local proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    if [[ -n $proxy ]]; then
        export http_proxy=${http_proxy:-$proxy}
    fi
}

# In a mount namespace of its own: whatever debootstrap mounts ends with it. All suites are made as `sid` is: an older
# debootstrap has no script for a newer suite.
bootstrap_debian() {
    local suite=$1 packages=$2 temporary=$3 mirror
    mirror=$(debian_mirror)
    use_apts_proxy
    unshare --mount --propagation private \
        debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$temporary" \
        "${mirror:-http://deb.debian.org/debian}" /usr/share/debootstrap/scripts/sid
}

# By Debian 13, whose debootstrap knows it, and which has Ubuntu's keys among its packages. `UBUNTU_MIRROR` names another
# archive.
bootstrap_ubuntu() {
    local suite=$1 packages=$2 temporary=$3 debian
    debian=$("${BASH_SOURCE[0]}" trixie git make) || return
    # shellcheck disable=SC2016  # for the shell in there
    "$(dirname "${BASH_SOURCE[0]}")/in-root.sh" --keep "$temporary.work" "$debian" bash -euc '
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq --yes --no-install-recommends debootstrap ubuntu-keyring
        eval "$(apt-config shell http_proxy Acquire::http::Proxy)" && export http_proxy
        debootstrap --variant=minbase --components=main,universe ${2:+--include="$2"} "$1" /tmp/root "$3"' \
        bash "$suite" "$packages" "${UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}" || return
    mv --no-target-directory "$temporary.work/tmp/root" "$temporary"
}

build() {
    local suite=$1 packages=$2 target=$3 by=bootstrap_debian temporary
    [[ $suite != noble ]] || by=bootstrap_ubuntu
    temporary=$(mktemp --directory "$target.XXXXXX")
    # shellcheck disable=SC2064  # the path of now
    trap "rm -rf --one-file-system -- '$temporary' '$temporary.log' '$temporary.work'" EXIT
    say "making $target, about a minute"
    if ! ("$by" "$suite" "$packages" "$temporary") >"$temporary.log" 2>&1; then
        tail -n 20 "$temporary.log" >&2
        say "debootstrap failed; is the distribution's mirror within reach, and debian-archive-keyring installed?"
        exit 1
    fi
    rm -rf "$temporary"/var/cache/apt/archives/*.deb
    chmod 0755 "$temporary"
    mv --no-target-directory "$temporary" "$target"
}

main() {
    local suite=${1-} packages target
    if [[ $suite != @(bookworm|trixie|forky|noble) ]]; then
        say "usage: tools/debian-root.sh bookworm|trixie|forky|noble [PACKAGE…]"
        exit 2
    fi
    if ((EUID != 0)); then
        say "needs root, as debootstrap does"
        exit 1
    fi
    shift
    packages=$(IFS=, && echo "$*")
    target=$(place "$suite" "$packages")
    mkdir -p "$(dirname "$target")"
    exec 9>"$target.lock"
    flock 9
    if [[ ! -d $target ]]; then
        build "$suite" "$packages" "$target"
    fi
    realpath "$target"
}

main "$@"
