#!/usr/bin/env bash
# s3s-fs, over a directory: looks before it reads the body, so that conditions hold one by one but not in a race.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require s3s-fs curl

port=$(free_ports 18000 1)
mkdir "$data/buckets"
spawn s3s-fs --host 127.0.0.1 --port "$port" --access-key "$access_key_id" --secret-key "$secret_access_key" "$data/buckets"
serve "$port"
