#!/usr/bin/env bash
# Makes a Debian 13 root with the second compiler for bpf/ (BCC 0.31, LLVM 19) and prints its path.
#
#   tools/trixie-root.sh [DIR]      default DIR: ~/.cache/ci-egress/trixie-<hash of this file>
#
# Does nothing when DIR is there already. Run commands in it with tools/in-root.sh.
set -euo pipefail

readonly suite=trixie
readonly packages=python3-bpfcc,libbpf1

say() { printf 'trixie-root: %s\n' "$*" >&2; }

default_dir() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress digest
    digest=$(sha256sum "${BASH_SOURCE[0]}")
    printf '%s/%s-%s\n' "$cache" "$suite" "${digest:0:12}"
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

# In a mount namespace of its own: whatever debootstrap mounts ends with it.
build() {
    local target=$1 temporary mirror
    mirror=$(debian_mirror)
    temporary=$(mktemp --directory "$target.XXXXXX")
    # shellcheck disable=SC2064  # the path of now
    trap "rm -rf --one-file-system -- '$temporary'" EXIT
    say "making $target from ${mirror:-the default mirror}, about a minute"
    use_apts_proxy
    if ! unshare --mount --propagation private \
        debootstrap --variant=minbase --include="$packages" "$suite" "$temporary" ${mirror:+"$mirror"} \
        >"$temporary.log" 2>&1; then
        tail -n 20 "$temporary.log" >&2
        rm -f "$temporary.log"
        say "debootstrap failed; is the Debian mirror within reach, and debian-archive-keyring installed?"
        exit 1
    fi
    rm -rf "$temporary.log" "$temporary"/var/cache/apt/archives/*.deb
    chmod 0755 "$temporary"
    mv --no-target-directory "$temporary" "$target"
}

main() {
    local target=${1:-$(default_dir)}
    if ((EUID != 0)); then
        say "needs root, as debootstrap does"
        exit 1
    fi
    mkdir -p "$(dirname "$target")"
    exec 9>"$target.lock"
    flock 9
    if [[ ! -d $target ]]; then
        build "$target"
    fi
    realpath "$target"
}

main "$@"
