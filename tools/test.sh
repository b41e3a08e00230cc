#!/usr/bin/env bash
# Runs all tests in three rows side by side: tests that trace spend most of their time waiting.
#
#   tools/test.sh
#
# Prints the first row's output as it comes, then the others'. What looks at the whole host, or would deny others
# something, runs alone (tests/turns.py): all of it is in the first row, at its beginning. Meanwhile the others are at
# what traces nothing, which comes first there (tests/conftest.py): so hardly anything waits. Of the rest, each has what
# makes it take as long as the others. What takes minutes to build or to download is begun beside them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Of what runs in the background a shell has interrupts ignored, and nohup hangups; so would what tests
# start, and tests are about that.
readonly pytest=(env --default-signal='HUP,INT,QUIT' .venv/bin/python -m pytest -p no:cacheprovider)

mapfile -t first < <(grep --files-with-matches 'pytest\.mark\.alone' tests/*/test_*.py tests/kernel/*/test_*.py)
readonly alone=" ${first[*]} "
second=(tests/unit)
last=()
for file in tests/*/test_*.py tests/kernel/*/test_*.py; do
    if [[ $alone == *" $file "* || $file == tests/unit/* ]]; then
        continue
    elif [[ $file == tests/@(browser|stack)/* || $file == tests/kernel/*/test_@(policy|traced)_* ]]; then
        second+=("$file")
    elif [[ $file == tests/kernel/*/test_[a-l]* ]]; then
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
