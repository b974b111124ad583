#!/usr/bin/env bash
# Runs the tests. Given arguments, they are pytest's. Without, all tests run as two pytest processes side by side, which
# take about as long: those that drive browsers, containers and whole meshes spend most of their time waiting, and so do
# those of parts on real sockets; the pure ones follow the first.
set -uo pipefail
cd "$(dirname "$0")/.."

if (($# > 0)); then
    exec pytest "$@"
fi

first=(tests/e2e tests/scenarios tests/integration/standalone tests/unit tests/sim)
log=$(mktemp)
beside=
# Whoever interrupts means both; pytest ends what it started when it is told to.
trap '[[ -n $beside ]] && kill -INT "$beside" 2>/dev/null; wait; rm -f "$log"' EXIT

echo "${first[*]} run beside the other tests; what they print follows at the end"
pytest "${first[@]}" </dev/null >"$log" 2>&1 &
beside=$!
pytest "${first[@]/#/--ignore=}"
others=$?
wait "$beside"
status=$?
beside=
cat "$log"
exit $((others != 0 ? others : status))
