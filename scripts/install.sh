#!/usr/bin/env bash
# Install a hashed requirements file and the workspace's own members into .venv.
# Members are editable and built with the locked build tools: nothing unlocked is fetched.
set -euo pipefail
requirements=$1
python=.venv/bin/python

if command -v uv >/dev/null; then
    pip=(uv pip install --quiet --python "$python")
else
    pip=("$python" -m pip install --quiet --disable-pip-version-check)
fi

editable=()
for member in shared services/*/; do
    if [ -e "$member/pyproject.toml" ]; then editable+=(--editable "./${member%/}"); fi
done

echo "Installing $requirements into .venv (a minute or less)"
"${pip[@]}" --require-hashes -r "$requirements"
"${pip[@]}" --no-deps --no-build-isolation "${editable[@]}"
