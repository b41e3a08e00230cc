#!/usr/bin/env bash
# Runs all tests in three rows side by side: tests that trace spend most of their time waiting.
#
#   tools/test.sh
#
# Prints the first row's output as it comes, then the others'. What looks at the whole host, or would deny others
# something, runs alone (tests/turns.py): it comes first in its row, and the last row begins with what traces nothing,
# so hardly anything waits for it. What takes minutes to build or to download is begun beside them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Of what runs in the background a shell has interrupts ignored, and nohup hangups; so would what tests
# start, and tests are about that.
readonly pytest=(env --default-signal='HUP,INT,QUIT' .venv/bin/python -m pytest -p no:cacheprovider)

first=()
second=()
last=(tests/unit tests/fuzz tests/docs tests/browser)
for file in tests/kernel/test_*.py; do # of these, either half takes the same time
    if [[ $file < tests/kernel/test_p ]]; then first+=("$file"); else second+=("$file"); fi
done
for folder in tests/*/; do
    [[ " ${last[*]} tests/__pycache__ tests/data tests/kernel tests/stack " == *" ${folder%/} "* ]] ||
        last+=("${folder%/}")
done

first+=(tests/stack)
mkdir -p build
readonly second_log=build/second-row.log last_log=build/last-row.log
setsid tools/prefetch.sh >build/prefetch.log 2>&1 &
readonly prefetch=$!
"${pytest[@]}" "${last[@]}" >"$last_log" 2>&1 &
rows=($!)
"${pytest[@]}" "${second[@]}" >"$second_log" 2>&1 &
rows+=($!)
trap 'kill -INT "${rows[@]}" 2>/dev/null || true; kill -- "-$prefetch" 2>/dev/null || true' EXIT

failed=0
"${pytest[@]}" "${first[@]}" || failed=$?
for row in "${rows[@]}"; do
    wait "$row" || failed=$?
done
cat "$second_log" "$last_log"
exit "$failed"
