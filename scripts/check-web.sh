#!/usr/bin/env bash
# Check the player's types. npm is the one on PATH, which is .venv's where Node is not installed.
set -euo pipefail
cd "$(dirname "$0")/../web"

if [ -z "$(find player -name '*.js' -print -quit)" ]; then
    echo "web: no sources yet"
    exit 0
fi
# npm ci starts from nothing each time: only when the lock has changed.
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.installed
fi
npx --no-install tsc --noEmit
echo "web: types hold"
