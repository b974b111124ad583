#!/usr/bin/env bash
# Runs the tests. Given arguments, they are pytest's. Without, all tests run as two pytest processes side by side: those
# that drive browsers, containers and whole meshes spend most of their time waiting, and so do the others.
set -uo pipefail
cd "$(dirname "$0")/.."

if (($# > 0)); then
    exec pytest "$@"
fi

wholes=(tests/e2e tests/scenarios)
log=$(mktemp)
beside=
# Whoever interrupts means both; pytest ends what it started when it is told to.
trap '[[ -n $beside ]] && kill -INT "$beside" 2>/dev/null; wait; rm -f "$log"' EXIT

echo "${wholes[*]} run beside the other tests; what they print follows at the end"
pytest "${wholes[@]}" </dev/null >"$log" 2>&1 &
beside=$!
pytest "${wholes[@]/#/--ignore=}"
others=$?
wait "$beside"
status=$?
beside=
cat "$log"
exit $((others != 0 ? others : status))
