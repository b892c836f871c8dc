#!/usr/bin/env bash
# Installs the engines and clients that the tests use for real, on Debian 12. What is there already is left alone.
#
#     test/tools/install.sh             everything: some five minutes, and up to fifteen on a machine that has built no Go yet
#     test/tools/install.sh packages    Debian's packages only
#     test/tools/install.sh programs    what is built: crane, ORAS, regctl, Helm, the OCI conformance suite, BuildKit and a Docker
#                                       engine 29; and what is taken out of Debian's packages: a Docker client, an engine
#                                       20.10, containerd, distribution's registry, busybox; and schemathesis with a
#                                       validator of OpenAPI, out of PyPI
#     test/tools/install.sh runtimes    what Stowage runs on: Node 20, 22, 24 and 26, Deno, Bun, by npm
#
# Needs Node and npm, Python, Go 1.26.8 or later, and for Debian's packages root or sudo. Programs go to
# $STOWAGE_TEST_TOOLS/bin, by default ~/.cache/stowage-test-tools/bin, where the tests look first.
set -euo pipefail

crane_version=v0.22.1
oras_version=v1.3.6
regctl_version=v0.11.7
helm_version=v4.3.1
conformance_version=v0.0.0-20260831232431-97274622c111 # the distribution specification's own suite; it has no releases
buildkit_version=v0.34.2
dockerd_version=v2.0.0-beta.24 # of the Go module github.com/moby/moby/v2: the engine 29

python_packages=(openapi-spec-validator==0.9.0 schemathesis==4.32.5)

# npm packages
node20_version=20.20.2 # where the machine's own Node is none of this line
node22_version=22.23.3
node24_version=24.21.0
node26_version=26.10.0
deno_version=2.9.5
bun_version=1.4.5

# runc: dockerd does not start without it. podman takes crun, which also runs where runc cannot.
# libdevmapper: the Docker engine 20.10 is linked to it.
packages=(buildah ca-certificates crun curl jq libarchive-tools libdevmapper1.02.1 openssl podman runc skopeo umoci zstd)
# For the page. Without a font, a page has no text to look at.
browser=(chromium fonts-dejavu-core)

tools=${STOWAGE_TEST_TOOLS:-$HOME/.cache/stowage-test-tools}

main() {
  mkdir -p "$tools/bin"
  exec 9>"$tools/.lock" # one installer at a time; a second one waits and then finds the work done
  flock 9
  case ${1:-all} in
  packages) install_packages ;;
  programs) install_programs ;;
  runtimes) install_runtimes ;;
  all)
    install_packages
    install_runtimes
    install_programs
    ;;
  *) fail "found the argument \"$1\", expected packages, programs, runtimes or nothing" ;;
  esac
}

install_packages() {
  python3 -c "import ensurepip, venv" 2>/dev/null || packages+=(python3-venv)
  install_debian "${packages[@]}"
  install_debian "${browser[@]}" # by itself: its download alone takes as long as all others, and has its own time
}

# install_debian PACKAGE…
install_debian() {
  local missing=() package
  for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    apt update
    apt install --yes --no-install-recommends "${missing[@]}"
  fi
  say "Debian's packages are installed: $*"
}

install_programs() {
  go_install crane github.com/google/go-containerregistry cmd/crane "$crane_version"
  go_install oras oras.land/oras cmd/oras "$oras_version"
  go_install regctl github.com/regclient/regclient cmd/regctl "$regctl_version"
  go_install helm helm.sh/helm/v4 cmd/helm "$helm_version"
  go_install conformance github.com/opencontainers/distribution-spec/conformance "" "$conformance_version"
  go_build dockerd github.com/moby/moby/v2 cmd/dockerd "$dockerd_version"
  go_build buildctl github.com/moby/buildkit cmd/buildctl "$buildkit_version"
  go_build buildkitd github.com/moby/buildkit cmd/buildkitd "$buildkit_version"
  install_docker_client
  install_docker20
  install_from_debian containerd ctr usr/bin/ctr usr/bin/containerd
  install_from_debian docker-registry docker-registry usr/bin/docker-registry
  install_from_debian busybox-static busybox bin/busybox
  install_python_packages
}

install_python_packages() {
  local venv=$tools/python-packages program
  if [ "$(cat "$venv/installed" 2>/dev/null)" != "${python_packages[*]}" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    retry "$venv/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
    echo "${python_packages[*]}" >"$venv/installed"
  fi
  for program in openapi-spec-validator schemathesis; do ln -sf "$venv/bin/$program" "$tools/bin/$program"; done
  say "${python_packages[*]} are there"
}

# go_install PROGRAM MODULE PACKAGE VERSION; the package may be the module itself: ""
go_install() {
  if is_built "$1" "$2" "$4"; then return; fi
  CGO_ENABLED=0 GOBIN="$tools/bin" go install -ldflags='-s -w' "$2${3:+/$3}@$4"
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

# The engine before 25, whose `docker save` writes no image layout, with the containerd that it starts. In a folder of
# their own: they are not what the machine should run.
install_docker20() {
  if [ -x "$tools/docker20/dockerd" ]; then return; fi
  from_packages "$tools/docker20" usr/bin/containerd usr/sbin/dockerd -- docker.io containerd
  say "the old Docker engine is there: $("$tools/docker20/dockerd" --version)"
}

# install_from_debian PACKAGE PROGRAM FILE…: these files alone. The package itself would bring an engine that starts with
# the machine, or drive out another one.
install_from_debian() {
  local package=$1 program=$2
  shift 2
  if [ -x "$tools/bin/$program" ]; then return; fi
  from_packages "$tools/bin" "$@" -- "$package"
  say "$program is there, out of Debian's $package"
}

# from_packages FOLDER FILE… -- PACKAGE…
#
# Takes files out of Debian's packages, without installing these; the last file is put into its place last.
from_packages() {
  local target=$1 files=() folder
  shift
  while [ "$1" != -- ]; do
    files+=("$1")
    shift
  done
  shift
  folder=$(mktemp -d)
  (
    trap 'rm -rf "$folder"' EXIT
    cd "$folder"
    apt-get "${apt_options[@]}" download "$@" || { apt update && apt-get "${apt_options[@]}" download "$@"; }
    for package in *.deb; do dpkg-deb --extract "$package" .; done
    mkdir -p "$target"
    for file in "${files[@]}"; do install "$file" "$target/"; done
  )
}

# is_built PROGRAM MODULE VERSION
is_built() {
  go version -m "$tools/bin/$1" 2>/dev/null | awk -v module="$2" -v version="$3" \
    '($1 == "mod" || $1 == "dep") && $2 == module && $3 == version { found = 1 } END { exit !found }' || return 1
  say "$1 $3 is there"
}

install_runtimes() {
  case $(node --version) in
  v20.*) ln -sf "$(node -p process.execPath)" "$tools/bin/node20" ;;
  *) install_runtime node20 node "$node20_version" ;;
  esac
  install_runtime node22 node "$node22_version"
  install_runtime node24 node "$node24_version"
  install_runtime node26 node "$node26_version"
  install_runtime deno deno "$deno_version"
  install_runtime bun bun "$bun_version"
}

# install_runtime PROGRAM PACKAGE VERSION, each into a folder of its own: npm takes a package in one version alone.
install_runtime() {
  local folder=$tools/runtimes/$1
  if "$tools/bin/$1" --version 2>/dev/null | grep -qE "(^|[ v])$3( |\$)"; then
    say "$1 $3 is there"
    return
  fi
  mkdir -p "$folder"
  # Their install scripts put the program in place. npm 12 runs those alone that are named here.
  echo '{ "private": true, "allowScripts": { "bun": true, "deno": true, "node": true } }' >"$folder/package.json"
  retry npm install --prefix "$folder" --no-save --no-package-lock --no-audit --no-fund --loglevel=error "$2@$3" >&2
  ln -sf "$folder/node_modules/.bin/$2" "$tools/bin/$1"
  say "$1 $3 is installed, after $SECONDS s"
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
