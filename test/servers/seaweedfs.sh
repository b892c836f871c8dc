#!/usr/bin/env bash
# SeaweedFS: master, volume server, filer and S3 gateway in one process.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require weed curl

port=$(free_ports 22000 8)
mkdir "$data/volumes"
cat >"$data/identities.json" <<JSON
{ "identities": [{ "name": "stowage", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    "credentials": [{ "accessKey": "$access_key_id", "secretKey": "$secret_access_key" }] }] }
JSON

# The gateway answers before the volume server has told the master what it holds; until then each GET is a 500.
has_volumes() {
  curl --silent --noproxy '*' --max-time 5 "http://127.0.0.1:$((port + 2))/dir/status" |
    grep -q "\"Url\":\"127.0.0.1:$((port + 4))\""
}

# Each bucket takes volumes of its own: one at a time and any number of them, so that tests can make many buckets.
export WEED_MASTER_VOLUME_GROWTH_COPY_1=1
spawn weed -logtostderr=true server -dir="$data/volumes" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -s3 -s3.port="$port" -s3.port.grpc=$((port + 1)) -s3.port.iceberg=0 -s3.port.lance=0 \
  -s3.config="$data/identities.json" -s3.autoCreateBucket=false \
  -master.port=$((port + 2)) -master.port.grpc=$((port + 3)) -master.telemetry=false -master.electionTimeout=1s \
  -master.volumeSizeLimitMB=1024 \
  -volume.port=$((port + 4)) -volume.port.grpc=$((port + 5)) -volume.max=10000 \
  -filer -filer.port=$((port + 6)) -filer.port.grpc=$((port + 7))
wait_until has_volumes
serve "$port"
