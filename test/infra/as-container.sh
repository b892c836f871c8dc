#!/usr/bin/env bash
# as-container.sh IMAGE UID COMMAND…
#
# Runs a command as a container would run it that is made of the folder IMAGE: what lies in IMAGE lies at the root, which is
# read-only but for IMAGE/data at /data; the system's own programs and libraries are there too; the user is UID, without any
# capability and without a way to get one. Works in IMAGE/app. Needs root, and is seen by nobody but the command.
set -euo pipefail
if [ "${1:-}" != --inside ]; then exec unshare --mount --propagation private -- "$0" --inside "$@"; fi
image=$2 uid=$3
shift 3

root=/mnt
mount -t tmpfs tmpfs "$root"
for folder in usr lib lib64 etc dev proc; do
  if [ ! -e "/$folder" ]; then continue; fi
  mkdir "$root/$folder"
  mount --rbind "/$folder" "$root/$folder"
done
for folder in "$image"/*; do
  mkdir "$root/$(basename "$folder")"
  mount --bind "$folder" "$root/$(basename "$folder")"
done
mount -o remount,bind,ro "$root/usr"
mount -o remount,bind,ro "$root/app"
mount -o remount,ro "$root"
cd /
exec chroot "$root" /usr/bin/env --chdir=/app setpriv --reuid="$uid" --regid="$uid" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all -- "$@"
