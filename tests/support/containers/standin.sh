#!/usr/bin/env bash
# Make, from Debian's packages alone, an image that stands in for an official one. Needs root, mmdebstrap and Docker.
#   standin.sh python|redis IMAGE FOLDER     (FOLDER: for work; holds pip.conf)
set -euo pipefail
name=$1 image=$2 folder=$3

options=(--quiet --variant=minbase --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"'
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright')
changes=(--change 'LABEL org.headrace.standin=1' --change 'ENV LANG=C.UTF-8')

case $name in
python)
    # Laid out as the official image has it: python and pip are in /usr/local/bin. Trusts what this machine trusts.
    options+=(--include=ca-certificates,python3-venv
        --customize-hook='for f in /usr/local/share/ca-certificates/*.crt; do [ ! -e "$f" ] || cp "$f" "$1$f"; done'
        --customize-hook='chroot "$1" update-ca-certificates >/dev/null'
        --customize-hook='chroot "$1" python3 -m venv /usr/local'
        --customize-hook="copy-in $folder/pip.conf /etc")
    changes+=(--change 'CMD ["python3"]')
    ;;
redis)
    options+=(--include=redis-server)
    changes+=(--change 'USER redis' --change 'WORKDIR /data' --change 'EXPOSE 6379' --change 'CMD ["redis-server"]')
    ;;
*)
    echo "no stand-in for $name" >&2
    exit 2
    ;;
esac

mmdebstrap "${options[@]}" bookworm "$folder/$name.tar"
docker import "${changes[@]}" "$folder/$name.tar" "$image" >/dev/null
