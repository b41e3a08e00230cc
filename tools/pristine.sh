#!/usr/bin/env bash
# Runs commands where nobody ever installed anything: in a root of Debian, or of Ubuntu 24.04, with git and make alone, in a
# clone of HEAD.
#
#   tools/pristine.sh bookworm|trixie|forky|noble FOLDER COMMAND…
#
# Each COMMAND is a line for a shell, run as root in ~/ci-egress-exporter. It has a login's environment, with CI and the
# way to the packages' registries, and finds what the commands before it have written, which is kept in FOLDER.
# Whatever fails, the others are run, too; what a command leaves running is ended, and makes it a failed one. The last
# lines say of each what came of it and how long it took; FOLDER/summary has those of all so far. The status is 0 when
# none has failed.
#
# What is downloaded and built there is kept in ~/.cache/ci-egress/pristine, to which such roots alone write, and nothing
# needs it. Apart from that, the root shares two files with all tests on this machine, which agree by them who may trace.
set -euo pipefail
shopt -s inherit_errexit

readonly suite=${1-} told_s=60 grace_s=15
readonly reaching='^(CI|PIP_(CERT|(EXTRA_)?INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT)|GO(PROXY|SUMDB|NOSUMDB)|'\
'SSL_CERT_(FILE|DIR)|(CURL|REQUESTS)_CA_BUNDLE|((HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy))$'
if (($# < 3)) || [[ $suite != @(bookworm|trixie|forky|noble) ]]; then
    echo "usage: tools/pristine.sh bookworm|trixie|forky|noble FOLDER COMMAND…" >&2
    exit 2
fi
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$2"
folder=$(realpath "$2")
readonly mark=.pristine-$$
shift 2
exec </dev/null

say() { printf '=== %s: %s\n' "$suite" "$*"; }

# The processes in the root, known by a file that no other root has, and their descendants, maybe in yet another root.
processes_inside() {
    local process
    for process in /proc/[0-9]*; do
        [[ ! -e $process/root/$mark ]] || with_descendants "${process#/proc/}"
    done | sort -un
}

with_descendants() {
    local process
    for process in "$@"; do
        echo "$process"
        # shellcheck disable=SC2046  # words
        with_descendants $(cat "/proc/$process/task/"*/children 2>/dev/null)
    done
}

# Wait until nothing runs in the root any more, for so many seconds.
is_over_within() {
    local deadline=$((SECONDS + $1))
    until [[ ! $(processes_inside) ]]; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

end_all() {
    local process
    while read -r process; do
        say "ends $process, $(tr '\0' ' ' <"/proc/$process/cmdline" | cut -c 1-200)"
        kill -KILL "$process" || true
    done < <(processes_inside) 2>/dev/null
    is_over_within "$grace_s"
}

# Start a command in a session of its own, so that a signal reaches all of it. Its signals have their defaults, unlike
# those of a shell's background jobs: tests depend on that.
start() {
    setsid env --default-signal=HUP,INT,QUIT "$@" &
    running=$!
}

# shellcheck disable=SC2317  # by a trap
# End the run, at first by a signal after which tests tidy up.
stop() {
    trap '' HUP INT TERM
    say "was told to end"
    if [[ $running ]]; then
        kill -INT -- "-$running" 2>/dev/null || true
        is_over_within "$told_s" || true
        kill -TERM -- "-$running" 2>/dev/null || true
        end_all || true
    fi
    exit 143
}

make_root() {
    local status=0
    start "$project/tools/debian-root.sh" "$suite" git make >"$folder/root"
    wait "$running" || status=$?
    running=
    return "$status"
}

# The variables of a login, and those by which this machine reaches the registries; no others that are set here.
login() {
    local name
    printf '%s\n' HOME=/root LANG=C.UTF-8 "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    for name in $(compgen -e); do
        [[ ! $name =~ $reaching ]] || printf '%s\n' "$name=${!name}"
    done
}

enter() {
    start --ignore-environment "${environment[@]}" \
        "$folder/clone/tools/in-root.sh" --keep "$folder" --cache "$cache" "$root" bash -c "$1"
}

# Run a command, show its output as it comes, and return its status.
run() {
    local log=$1 status=0
    : >"$log"
    enter "$2" >"$log" 2>&1
    tail --lines=+1 --follow --sleep-interval=0.5 --pid="$running" "$log" &
    wait "$running" || status=$?
    wait
    running=
    if ! is_over_within "$grace_s"; then
        say "left running:"
        end_all || true
        ((status)) || status=1
    fi
    return "$status"
}

# Downloads of packages that newer ones have replaced aren't kept for ever.
open_cache() {
    local shared=${XDG_CACHE_HOME:-$HOME/.cache}/ci-egress lock
    cache=$shared/pristine/${root##*/}
    mkdir -p "$cache"/{home/ci-egress,apt}
    find "$cache/apt" -name '*.deb' -ctime +30 -delete
    for lock in tests.{lock,turn}; do
        touch "$shared/$lock"
        [[ $shared/$lock -ef $cache/home/ci-egress/$lock ]] || ln -f "$shared/$lock" "$cache/home/ci-egress/$lock"
    done
}

# Make the root, and clone HEAD into it: nothing else of the checkout gets in.
prepare() {
    local begun=$SECONDS
    trap stop HUP INT TERM
    make_root
    root=$(<"$folder/root")
    open_cache
    mkdir -p "$folder/upper"
    touch "$folder/upper/$mark"
    mapfile -t environment < <(login)
    if [[ ! -d $folder/clone ]]; then
        git clone --quiet "$project" "$folder/clone"
        run "$folder/log" 'git clone --quiet /src ~/ci-egress-exporter'
    fi
    say "$(git -C "$folder/clone" log -1 --format='%h %s'), in $root, there after $((SECONDS - begun)) s"
}

running=
prepare
failed=0
summary=()
for command in "$@"; do
    begun=$SECONDS
    outcome=ok
    say "\$ $command"
    run "$folder/log" "cd ~/ci-egress-exporter && $command" || { outcome="FAILED ($?)" failed=1; }
    say "$outcome after $((SECONDS - begun)) s: $command"
    summary+=("$outcome after $((SECONDS - begun)) s: $command")
    mapfile -t -O "${#summary[@]}" summary < <(grep -aE '^=+ .*[0-9]+ (passed|failed|error).* =+$' "$folder/log")
done
rm "$folder/upper/$mark"
for line in "${summary[@]}"; do
    say "$line"
done | tee -a "$folder/summary"
exit "$failed"
