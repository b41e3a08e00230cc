#!/usr/bin/env bash
# Runs all tests in three rows side by side: tests that trace spend most of their time waiting.
#
#   tools/test.sh
#
# Prints the first row's output as it comes, then the others'. Tests that look at the whole host, or would deny others
# something, run alone (tests/turns.py): all of them are in the first row, at its beginning. Meanwhile the other rows run
# tests that trace nothing, which come first there (tests/conftest.py): so hardly any test waits. The other tests are
# divided so that all rows take equally long. Beside them, tools/prefetch.sh fetches and builds what takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A shell's background jobs ignore interrupts, and with nohup hangups, too. So would the processes that tests start, but
# tests depend on these signals.
readonly pytest=(env --default-signal='HUP,INT,QUIT' .venv/bin/python -m pytest -p no:cacheprovider)

mapfile -t first < <(grep --files-with-matches 'pytest\.mark\.alone' tests/*/test_*.py tests/kernel/*/test_*.py)
readonly alone=" ${first[*]} "
second=(tests/unit)
last=()
for file in tests/*/test_*.py tests/kernel/*/test_*.py; do
    if [[ $alone == *" $file "* || $file == tests/unit/* ]]; then
        continue
    elif [[ $file == tests/stack/* || $file == tests/kernel/*/test_policy_* ]]; then
        second+=("$file")
    elif [[ $file == tests/kernel/*/test_@([a-l]|traced_)* ]]; then
        first+=("$file")
    else
        last+=("$file")
    fi
done

mkdir -p build
readonly second_log=build/second-row.log last_log=build/last-row.log
setsid tools/prefetch.sh >build/prefetch.log 2>&1 &
readonly prefetch=$!
"${pytest[@]}" "${second[@]}" >"$second_log" 2>&1 &
rows=($!)
"${pytest[@]}" "${last[@]}" >"$last_log" 2>&1 &
rows+=($!)
trap 'kill -INT "${rows[@]}" 2>/dev/null || true; kill -- "-$prefetch" 2>/dev/null || true' EXIT

failed=0
"${pytest[@]}" "${first[@]}" || failed=$?
for row in "${rows[@]}"; do
    wait "$row" || failed=$?
done
cat "$second_log" "$last_log"
exit "$failed"
