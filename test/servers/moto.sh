#!/usr/bin/env bash
# moto: looks before it writes, without a lock, so that conditions hold one by one but not in a race. Where it keeps objects
# in memory the moment between the two is too short to be met; here it writes each of them to a file.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require python3 curl
require_folder "$tools/moto/moto"

port=$(free_ports 30000 1)
export PYTHONPATH=$tools/moto MOTO_S3_DEFAULT_KEY_BUFFER_SIZE=1 TMPDIR=$data
spawn python3 -m moto.server --host 127.0.0.1 --port "$port"
serve "$port"
