#!/usr/bin/env bash
# Runs all tests in two rows side by side: tests that trace spend most of their time waiting.
#
#   tools/test.sh
#
# Prints the first row's output as it comes, then the second's. What looks at the whole host, or would deny
# others something, runs alone (tests/conftest.py). What takes minutes to build or to download is begun beside them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Of what runs in the background a shell has interrupts ignored, and nohup hangups; so would what tests
# start, and tests are about that.
readonly pytest=(env --default-signal='HUP,INT,QUIT' .venv/bin/python -m pytest -p no:cacheprovider)
readonly first=(tests/kernel tests/stack)
second=()
for folder in tests/*/; do
    [[ " ${first[*]} tests/__pycache__ tests/data " == *" ${folder%/} "* ]] || second+=("${folder%/}")
done

readonly log=build/second-row.log
mkdir -p build
setsid tools/prefetch.sh >build/prefetch.log 2>&1 &
readonly prefetch=$!
"${pytest[@]}" "${second[@]}" >"$log" 2>&1 &
readonly row=$!
trap 'kill -INT "$row" 2>/dev/null || true; kill -- "-$prefetch" 2>/dev/null || true' EXIT

failed=0
"${pytest[@]}" "${first[@]}" || failed=$?
wait "$row" || failed=$?
cat "$log"
exit "$failed"
