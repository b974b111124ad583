#!/usr/bin/env bash
# Make, from Debian's packages alone, images that stand in for the official ones. Needs root, mmdebstrap and Docker.
#   standin.sh python IMAGE FOLDER     FOLDER: for work; holds pip.conf
#   standin.sh redis IMAGE PYTHON      PYTHON: the stand-in for python, which has the rest of a system
set -euo pipefail
name=$1 image=$2

# Laid out as the official image has it: python and pip are in /usr/local/bin. Trusts what this machine trusts.
make_python() {
    local folder=$1
    mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3-venv \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='force-unsafe-io' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --customize-hook='for f in /usr/local/share/ca-certificates/*.crt; do [ ! -e "$f" ] || cp "$f" "$1$f"; done' \
        --customize-hook='chroot "$1" update-ca-certificates >/dev/null' \
        --customize-hook='chroot "$1" python3 -m venv /usr/local' \
        --customize-hook="copy-in $folder/pip.conf /etc" \
        bookworm "$folder/python.tar"
    docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' "$folder/python.tar" "$image" >/dev/null
}

make_redis() {
    local python=$1
    local steps='apt-get -qq update && apt-get -qq install --yes --no-install-recommends redis-server && apt-get clean'
    container=$(docker create --env DEBIAN_FRONTEND=noninteractive "$python" sh -c "$steps")
    trap 'docker rm --force "$container" >/dev/null' EXIT
    docker start --attach "$container" >/dev/null
    docker commit --change 'USER redis' --change 'WORKDIR /data' --change 'CMD ["redis-server"]' \
        "$container" "$image" >/dev/null
}

"make_$name" "$3"
