# shellcheck shell=bash
# What the server scripts beside this one have in common; each sources it. A server script takes free ports and a fresh
# directory, starts the server, prints one line of JSON once it serves,
#
#     {"endpoint":"http://127.0.0.1:21234","accessKeyId":"stowage","secretAccessKey":"stowage-secret"}
#
# and serves until its standard input ends. So it also ends when whoever started it was killed; it leaves nothing behind.
# To try a server by hand, run its script in a terminal and end it with Ctrl-C.

set -euo pipefail

access_key_id=${STOWAGE_TEST_ACCESS_KEY_ID:-stowage}
secret_access_key=$access_key_id-secret
start_seconds=90 # generous: three servers start at once, on a busy machine

tools=${STOWAGE_TEST_TOOLS:-${HOME:-/root}/.cache/stowage-test-tools}
PATH=$PATH:$tools/bin:/usr/sbin:/sbin
data=$(mktemp -d "${TMPDIR:-/tmp}/stowage-$(basename "$0" .sh).XXXXXX")
processes=()

trap clean_up EXIT
trap 'exit 1' HUP INT TERM

clean_up() {
  # Nothing of it is kept, so that nothing need be ended in order.
  for process in "${processes[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
  wait 2>/dev/null
  rm -rf "$data"
}

require() { # PROGRAM…
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null ||
      fail "$program is neither on the PATH nor in $tools/bin: test/servers/install.sh installs it"
  done
}

require_folder() { # FOLDER
  [ -d "$1" ] || fail "there is no $1: test/servers/install.sh makes it"
}

# Starts a program in the background; what it says goes to a log.
spawn() { # PROGRAM ARGUMENT…
  "$@" >>"$data/$(basename "$1").log" 2>&1 </dev/null &
  processes+=($!)
}

# Announces the server at PORT once it knows the key, and goes on until standard input ends or a process dies.
serve() { # PORT
  wait_until lists_buckets "$1"
  printf '{"endpoint":"http://127.0.0.1:%s","accessKeyId":"%s","secretAccessKey":"%s"}\n' \
    "$1" "$access_key_id" "$secret_access_key"
  cat <&0 >/dev/null &
  processes+=($!)
  wait -n || true
}

# Waits for a condition; fails if a process dies or too much time passes first.
wait_until() { # COMMAND ARGUMENT…
  local deadline=$((SECONDS + start_seconds)) process
  until "$@"; do
    for process in "${processes[@]}"; do kill -0 "$process" 2>/dev/null || fail_with_logs "it ended"; done
    [ "$SECONDS" -lt "$deadline" ] || fail_with_logs "it did not serve within $start_seconds s"
    sleep 0.1
  done
}

# True once a signed ListBuckets succeeds.
lists_buckets() { # PORT
  [ "$(curl --silent --noproxy '*' --max-time 5 --output /dev/null --write-out '%{http_code}' \
    --aws-sigv4 aws:amz:us-east-1:s3 --user "$access_key_id:$secret_access_key" \
    --header "x-amz-content-sha256: $(sha256sum </dev/null | cut -d' ' -f1)" "http://127.0.0.1:$1/")" = 200 ]
}

# Prints the first of COUNT free ports in a row. FROM and the 2,000 ports after it are one server's own, so that servers
# which start at the same time do not meet, and lie below those that Linux gives to outgoing connections.
free_ports() { # FROM COUNT
  local first port
  while :; do
    first=$(($1 + RANDOM % 2000))
    for ((port = first; port < first + $2; port++)); do
      if listening "$port"; then continue 2; fi
    done
    echo "$first"
    return
  done
}
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; } # PORT

fail() { # MESSAGE
  echo "$*" >&2
  exit 1
}
fail_with_logs() { # MESSAGE
  tail -n 15 "$data"/*.log >&2 || true
  fail "cannot start $(basename "$0" .sh): $1"
}
