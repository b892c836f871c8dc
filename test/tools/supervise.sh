#!/usr/bin/env bash
# supervise.sh FOLDER COMMAND…
#
# Runs COMMAND until it ends or standard input is closed, which happens when whoever started this is gone, in whatever
# way: also after kill -9 and Ctrl-C no engine, no registry and no data is left. Then ends COMMAND and deletes FOLDER.
set -uo pipefail
folder=$1
shift
trap : INT TERM HUP # a signal ends the wait below

exec 3<&0
"$@" </dev/null 3<&- &
service=$!
cat <&3 >/dev/null &
starter_is_there=$!
wait -n

kill -TERM "$service" 2>/dev/null
for _ in {1..150}; do
  kill -0 "$service" 2>/dev/null || break
  sleep 0.1
done
kill -KILL "$service" 2>/dev/null
kill "$starter_is_there" 2>/dev/null
rm -rf "$folder"
wait "$service"
