#!/usr/bin/env bash
# Have kustomize, which renders deploy/k8s: kubectl brings one, else it is built from its Go module into .venv/bin.
# With --check, only say by the exit status whether there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
module=sigs.k8s.io/kustomize/kustomize/v5@v5.0.0 # the newest that Go 1.19, Debian 12's, compiles

if PATH=$PWD/.venv/bin:$PATH command -v kustomize >/dev/null; then exit 0; fi
if kubectl version --client --output json 2>/dev/null | grep -q '"kustomizeVersion": *"v[5-9]'; then exit 0; fi
if [ "${1:-}" = --check ]; then exit 1; fi

if ! command -v go >/dev/null; then
    echo "No kustomize, no kubectl of 1.27 or newer, and no go to build one: tests of deploy/k8s are skipped." >&2
    exit 0
fi
echo "Building kustomize ${module##*@} into .venv/bin (a minute or two)"
mkdir -p .venv/bin
CGO_ENABLED=0 GOBIN=$PWD/.venv/bin go install "$module"
