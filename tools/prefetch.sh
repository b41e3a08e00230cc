#!/usr/bin/env bash
# Fetches and builds what tests need and what takes minutes, side by side and with the lowest priority, into the
# user's cache: Debian roots, the servers, actionlint, act. What is there already is left as it is.
#
# Nothing depends on it: whoever needs one of these waits for it, or makes it. Its status is 0 when all are there.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
renice --priority 19 --pid $$ >/dev/null

# Run a command; print the end of its output, and how long it took.
fetch() {
    local begun=$SECONDS status=0 told
    told=$("$@" 2>&1) || status=$?
    printf 'prefetch: %s: status %d after %d s\n%s\n' "$*" "$status" $((SECONDS - begun)) "$(tail -n 15 <<<"$told")"
    return "$status"
}

fetch tools/debian-root.sh bookworm git make &
fetch tools/debian-root.sh trixie python3-bpfcc libbpf1 &
fetch tools/actionlint.sh &
fetch tools/act.sh &
fetch tools/stack/servers.sh &
failed=0
for job in $(jobs -p); do
    wait "$job" || failed=1
done
exit "$failed"
