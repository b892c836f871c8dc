#!/usr/bin/env bash
# Ceph's S3 gateway on a cluster of one monitor and one OSD, without authentication inside. What is stored goes into a
# sparse file of 10 GiB.
. "$(dirname "${BASH_SOURCE[0]}")/serve.sh"
require ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin curl

port=$(free_ports 24000 3)
conf=$data/ceph.conf
fsid=$(cat /proc/sys/kernel/random/uuid)
monitor="[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"

# Without authentication the gateway's default for its monitor connection, `secure`, cannot work, hence `crc`.
mkdir "$data"/{mon,osd,rgw,run}
touch "$data/keyring"
cat >"$conf" <<CONF
[global]
fsid = $fsid
mon host = $monitor
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd crush chooseleaf type = 0
paxos propose interval = 0.05
paxos min wait = 0.02
run dir = $data/run
admin socket =
log file = $data/\$name.log
keyring = $data/keyring
mon data = $data/mon
mon data avail crit = 1
osd data = $data/osd
osd objectstore = bluestore
bluestore block create = true
bluestore block size = $((10 << 30))
osd memory target = 1073741824
rgw data = $data/rgw
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
CONF

setup() { "$@" >>"$data/setup.log" 2>&1 </dev/null; }
cluster() { setup ceph -c "$conf" --connect-timeout 20 "$@"; }
osd_is_up() { ceph -c "$conf" --connect-timeout 20 osd stat 2>/dev/null </dev/null | grep -q '1 up'; }

make_cluster() {
  setup monmaptool --clobber --create --fsid "$fsid" --addv a "$monitor" "$data/monmap" &&
    setup ceph-mon -c "$conf" --mkfs -i a --monmap "$data/monmap"
}
make_osd() {
  local uuid
  uuid=$(cat /proc/sys/kernel/random/uuid)
  cluster osd new "$uuid" && setup ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid"
}
make_user() {
  setup radosgw-admin -c "$conf" user create --uid=stowage --display-name=stowage \
    --access-key="$access_key_id" --secret-key="$secret_access_key"
}

make_cluster || fail_with_logs "its monitor cannot be made"
spawn ceph-mon -c "$conf" -i a --public-addr 127.0.0.1 -f
wait_until cluster mon stat
make_osd || fail_with_logs "its OSD cannot be made"
spawn ceph-osd -c "$conf" -i 0 -f
wait_until osd_is_up
spawn radosgw -c "$conf" -n client.rgw -f
wait_until listening "$port"
make_user || fail_with_logs "its user cannot be made"
serve "$port"
