#!/usr/bin/env bash
# Create a virtual environment with the first Python 3.11 or newer that is found.
set -euo pipefail
venv=$1

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

for python in python3 python3.11 python3.12 python3.13 python3.14 python3.15; do
    if usable "$python"; then
        echo "Creating $venv with $("$python" --version)"
        exec "$python" -m venv --clear "$venv"
    fi
done
echo "Headrace needs Python 3.11 or newer with its venv module (on Debian: apt install python3-venv), and found none on PATH." >&2
exit 1
