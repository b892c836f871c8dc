#!/usr/bin/env bash
# VersityGW: an S3 gateway over a directory, one file an object; its file system must have extended attributes.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require versitygw curl

port=$(free_ports 20000 1)
mkdir "$data/buckets"
export ROOT_ACCESS_KEY_ID=$access_key_id ROOT_SECRET_ACCESS_KEY=$secret_access_key
spawn versitygw --port "127.0.0.1:$port" --keep-alive --quiet posix "$data/buckets"
serve "$port"
