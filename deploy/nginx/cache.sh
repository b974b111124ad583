#!/usr/bin/env bash
# Run nginx with headrace.conf in front of edges, as it is, in the foreground; needs nginx and openssl, and no root.
#   deploy/nginx/cache.sh 127.0.0.1:8088 [127.0.0.1:8089 ...]
# LISTEN says where it listens (127.0.0.1:8443), FOLDER where its files go (a new one, deleted at the end). A
# cert.pem and key.pem in FOLDER are taken; without them it signs its own, which browsers warn of.
set -euo pipefail
if [ $# -eq 0 ]; then sed -n '2,5s/^# \?//p' "$0" >&2; exit 2; fi
here=$(cd "$(dirname "$0")" && pwd)
listen=${LISTEN:-127.0.0.1:8443}
PATH=$PATH:/usr/sbin

folder=${FOLDER:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder/cache"
if [ ! -e "$folder/cert.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost \
        -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
fi

servers=$(printf 'server %s; ' "$@")
{
    [ "$(id -u)" -ne 0 ] || echo "user $(id -un);"
    cat <<END
daemon off;
worker_processes auto;
worker_rlimit_nofile 32768;
pid $folder/nginx.pid;
error_log stderr;
events { worker_connections 16384; }
http {
    access_log off;
    client_body_temp_path $folder/client_body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
END
    sed -e "s#server 127.0.0.1:8088;#$servers#" \
        -e "s#listen 443 ssl#listen $listen ssl#" \
        -e "s#/var/cache/nginx/headrace#$folder/cache#" \
        -e "s#/var/log/nginx/#$folder/#" \
        -e "s#/etc/nginx/headrace/#$folder/#" "$here/headrace.conf"
    echo "}"
} >"$folder/nginx.conf"

echo "https://$listen is in front of $*; Ctrl-C ends it" >&2
nginx -e stderr -c "$folder/nginx.conf" -p "$folder" &
trap 'kill -TERM $! 2>/dev/null || true; wait || true; [ -n "${FOLDER:-}" ] || rm -rf "$folder"' EXIT
trap 'exit 0' INT TERM
wait $!
