#!/usr/bin/env bash
# Installs the engines and clients that the tests use for real, on Debian 12. What is there already is left alone.
#
#     test/tools/install.sh             everything: some five minutes, and up to fifteen on a machine that has built no Go yet
#     test/tools/install.sh packages    Debian's packages only
#     test/tools/install.sh programs    what is built: crane, ORAS, regctl, BuildKit and a Docker engine 29; and a Docker
#                                       client, containerd with ctr, and busybox, taken out of Debian's packages
#
# Needs Go 1.26.8 or later, and for Debian's packages root or sudo. Programs go to $STOWAGE_TEST_TOOLS/bin, by default
# ~/.cache/stowage-test-tools/bin, where the tests look first.
set -euo pipefail

crane_version=v0.22.1
oras_version=v1.3.6
regctl_version=v0.11.7
buildkit_version=v0.34.2
dockerd_version=v2.0.0-beta.24 # of the Go module github.com/moby/moby/v2: the engine 29

# runc: dockerd does not start without it. podman takes crun, which also runs where runc cannot.
packages=(buildah ca-certificates crun curl libarchive-tools podman runc skopeo umoci zstd)

tools=${STOWAGE_TEST_TOOLS:-$HOME/.cache/stowage-test-tools}

main() {
  mkdir -p "$tools/bin"
  exec 9>"$tools/.lock" # one installer at a time; a second one waits and then finds the work done
  flock 9
  case ${1:-all} in
  packages) install_packages ;;
  programs) install_programs ;;
  all) install_packages && install_programs ;;
  *) fail "found the argument \"$1\", expected packages, programs or nothing" ;;
  esac
}

install_packages() {
  local missing=() package
  for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    apt update
    apt install --yes --no-install-recommends "${missing[@]}"
  fi
  say "Debian's packages are installed: ${packages[*]}"
}

install_programs() {
  go_install crane github.com/google/go-containerregistry cmd/crane "$crane_version"
  go_install oras oras.land/oras cmd/oras "$oras_version"
  go_install regctl github.com/regclient/regclient cmd/regctl "$regctl_version"
  go_build dockerd github.com/moby/moby/v2 cmd/dockerd "$dockerd_version"
  go_build buildctl github.com/moby/buildkit cmd/buildctl "$buildkit_version"
  go_build buildkitd github.com/moby/buildkit cmd/buildkitd "$buildkit_version"
  install_docker_client
  install_from_debian containerd ctr usr/bin/ctr usr/bin/containerd
  install_from_debian busybox-static busybox bin/busybox
}

# go_install PROGRAM MODULE PACKAGE VERSION
go_install() {
  if is_built "$1" "$2" "$4"; then return; fi
  CGO_ENABLED=0 GOBIN="$tools/bin" go install -ldflags='-s -w' "$2/$3@$4"
  say "$1 $4 is built, after $SECONDS s"
}

# go_build PROGRAM MODULE PACKAGE VERSION: in a module of its own, where the package's own has `replace` or `exclude`
# lines, which `go install` refuses.
go_build() {
  if is_built "$1" "$2" "$4"; then return; fi
  local module
  module=$(mktemp -d)
  (
    trap 'rm -rf "$module"' EXIT
    cd "$module"
    go mod init scratch
    go get "$2/$3@$4"
    CGO_ENABLED=0 go build -ldflags='-s -w' -o "$tools/bin/$1" "$2/$3"
  )
  say "$1 $4 is built, after $SECONDS s"
}

# Any Docker client since 19.03 can talk to the engine; podman's stand-in is none.
install_docker_client() {
  if PATH=$tools/bin:$PATH docker --version 2>/dev/null | grep -q '^Docker version'; then return; fi
  install_from_debian docker.io docker usr/bin/docker
}

# install_from_debian PACKAGE PROGRAM FILE…: these files alone. The package itself would bring an engine that starts with
# the machine, or drive out another one.
install_from_debian() {
  local package=$1 program=$2 folder
  shift 2
  if [ -x "$tools/bin/$program" ]; then return; fi
  folder=$(mktemp -d)
  (
    trap 'rm -rf "$folder"' EXIT
    cd "$folder"
    apt-get "${apt_options[@]}" download "$package" || { apt update && apt-get "${apt_options[@]}" download "$package"; }
    dpkg-deb --extract "$package"_*.deb .
    install "$@" "$tools/bin/"
  )
  say "$program is there, out of Debian's $package"
}

# is_built PROGRAM MODULE VERSION
is_built() {
  go version -m "$tools/bin/$1" 2>/dev/null | awk -v module="$2" -v version="$3" \
    '($1 == "mod" || $1 == "dep") && $2 == module && $3 == version { found = 1 } END { exit !found }' || return 1
  say "$1 $3 is there"
}

apt_options=(-qq -o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o DPkg::Lock::Timeout=300)

apt() {
  local sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  retry "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" "$@" >&2
}

retry() {
  local attempt
  for attempt in 1 2 3; do
    if timeout 600 "$@"; then return; fi
    say "attempt $attempt of 3 failed: $*"
    sleep $((attempt * 5))
  done
  return 1
}

say() { echo "install.sh: $*" >&2; }
fail() { say "$@" && exit 2; }

main "$@"
