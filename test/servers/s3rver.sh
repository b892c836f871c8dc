#!/usr/bin/env bash
# s3rver, over a directory: ignores the conditions of every write. It knows one key alone.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require node curl
require_folder "$tools/servers/node_modules/s3rver"

access_key_id=S3RVER
secret_access_key=S3RVER
port=$(free_ports 28000 1)
mkdir "$data/buckets"
spawn node "$tools/servers/node_modules/s3rver/bin/s3rver.js" --directory "$data/buckets" \
  --address 127.0.0.1 --port "$port" --no-vhost-buckets --silent
serve "$port"
