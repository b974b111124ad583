#!/usr/bin/env bash
# Install the Debian packages that the tests drive as independent peers, only those missing, and kustomize.
set -euo pipefail

# Players of HLS and DASH, from npm: those that the tests drive, and those that the watch page falls back to.
top="$(dirname "$0")/.."
for folder in "$top/tests/e2e/players" "$top/web"; do
    if command -v npm >/dev/null && ! cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed"; then
        (cd "$folder" && npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json node_modules/.installed)
    fi
done

declare -A why=(
    [redis-server]="a real Redis for the registry"
    [chromium]="a real browser for the player"
    [ffmpeg]="ffprobe and ffmpeg as independent readers and feeds"
    [python3-gi]="GStreamer's RTSP server as the camera"
    [gir1.2-gst-rtsp-server-1.0]="GStreamer's RTSP server as the camera"
    [gir1.2-gstreamer-1.0]="GStreamer's RTSP server as the camera"
    [gstreamer1.0-plugins-base]="the camera's raw sources"
    [gstreamer1.0-plugins-good]="the camera's RTP payloaders"
    [gstreamer1.0-plugins-bad]="the camera's parsers"
    [gstreamer1.0-plugins-ugly]="the camera's H.264 encoder"
    [gstreamer1.0-libav]="the camera's AAC encoder"
    [gstreamer1.0-rtsp]="a publisher by RTSP"
    [vlc-bin]="a player of HLS, and a server that is pulled from"
    [vlc-plugin-base]="a player of HLS"
    [firefox-esr]="a second browser for players of HLS"
    [glib-networking]="the camera's TLS"
    [srt-tools]="a publisher by SRT, and libsrt for the door"
    [iproute2]="network namespaces for the fault tests"
    [iptables]="packets dropped and delayed in them"
    [nginx]="the cache in front of edges"
    [gcc]="the load and the ceiling of the fan-out's benchmark"
    [openssl]="certificates that tests make for themselves"
    [prometheus]="promtool, which reads the alert rules"
)
install_kustomize=$(dirname "$0")/install-kustomize.sh
if ! "$install_kustomize" --check && ! command -v go >/dev/null; then why[golang-go]="building kustomize"; fi

if ! command -v dpkg-query >/dev/null; then
    echo "The tests need these programs, and only Debian's packages are installed from here: ${!why[*]}." >&2
    echo "Tests whose program is missing are skipped." >&2
    exit 0
fi

missing=()
for package in $(printf '%s\n' "${!why[@]}" | sort); do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then missing+=("$package"); fi
done
if [ ${#missing[@]} -eq 0 ]; then exec "$install_kustomize"; fi

echo "The tests need these Debian packages, which are not installed:"
for package in "${missing[@]}"; do echo "  $package: ${why[$package]}"; done

if [ "$(id -u)" -eq 0 ]; then
    root=()
elif command -v sudo >/dev/null; then
    echo "Installing them needs root: sudo may ask for your password."
    root=(sudo)
else
    echo "Installing them needs root and sudo was not found; as root, run: apt-get install ${missing[*]}" >&2
    exit 1
fi

# A server that a package brings is not to start: the tests start their own.
"${root[@]}" apt-get -qq update
"${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -qq install --yes --no-install-recommends "${missing[@]}" </dev/null
exec "$install_kustomize"
