#!/usr/bin/env bash
# Records what the program does at work, for the compiler to lay it out by.
#   benches/profile.sh FILE    writes the profile to FILE; cargo's own build folder is not touched
#
# Builds the binary and the pass-through of the benchmark with counters in them, sends them requests
# of every kind over every kind of connection, from the demo's provider and on 127.0.0.1 alone, and
# merges what was counted. What no request here does is laid out as rare: a way that matters for
# speed belongs into `work`.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=$(realpath -m "$1")
cargo=${CARGO:-cargo}
sysroot=$(rustc --print sysroot)
host=$(rustc -vV | sed -n 's/^host: //p')
merge="$sysroot/lib/rustlib/$host/bin/llvm-profdata"
if [ ! -x "$merge" ]; then
  echo "missing: llvm-profdata of this compiler (rustup component add llvm-tools)," >&2
  echo "or do without a profile: cargo build --locked --release" >&2
  exit 1
fi

built=${CARGO_TARGET_DIR:-target}/profiling
# Always the same folder, as its name is among the compiler's flags.
counted=$(realpath -m "$built/counted")
rm -rf "$counted"
mkdir -p "$counted"
servers=()
end() {
  for server in "${servers[@]}"; do kill -INT "$server" 2>/dev/null || true; done
  wait
}
trap 'end; rm -rf "$counted"' EXIT

echo "building with counters"
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$counted" \
  "$cargo" build --locked --release --target-dir "$built" --bin tollgate --example passthrough
# What the build's own programs counted is not wanted.
rm -f "$counted"/*

read -r plain tls admin metered metered_admin through < <(python3 - <<'PORTS'
import socket
free = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*(socket.getsockname()[1] for socket in free))
PORTS
)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
  -keyout "$counted/key.pem" -out "$counted/cert.pem" 2>/dev/null
cat > "$counted/tollgate.yaml" <<YAML
server:
  listen:
    - 127.0.0.1:$plain
    - { address: "127.0.0.1:$tls", tls: { cert: $counted/cert.pem, key: $counted/key.pem } }
  admin: 127.0.0.1:$admin
  threads: 2
  passthrough: demo
upstreams:
  demo: { dialect: demo }
  self: { base_url: "https://localhost:$tls/v1", keys: [client-key-0000000001] }
models:
  - { match: plain, targets: [{ upstream: demo, model: echo }] }
  - { match: over-tls, targets: [{ upstream: self, model: plain }] }
  - { match: falls-over, targets: [{ upstream: demo, model: fault-500, priority: 0 }, { upstream: demo, model: echo, priority: 1 }] }
  - { match: kept, cache: { when: always }, targets: [{ upstream: demo, model: echo }] }
  - { match: kept-briefly, cache: { when: always, ttl: 1us }, targets: [{ upstream: demo, model: echo }] }
tenants:
  - { id: t, keys: [client-key-0000000001] }
YAML
# A process of its own: with a ledger, each request is recorded.
cat > "$counted/metered.yaml" <<YAML
server: { listen: ["127.0.0.1:$metered"], admin: "127.0.0.1:$metered_admin", threads: 2 }
upstreams: { demo: { dialect: demo } }
models:
  - { match: plain, targets: [{ upstream: demo, model: echo }] }
tenants:
  - id: t
    keys: [client-key-0000000001]
    limits: { requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrent: 100000 }
    quota: { tokens: 1000000000000000, usd: 900000000, per: month }
    markup: 20%
limits: { requests_per_minute: 1000000000, concurrent: 100000 }
prices: [{ model: '*', input: 2.50, cached: 1.25, output: 10 }]
ledger: { path: $counted/ledger }
YAML
"$built/release/tollgate" run -c "$counted/metered.yaml" >/dev/null 2>"$counted/log-metered" &
servers+=($!)
SSL_CERT_FILE="$counted/cert.pem" "$built/release/tollgate" run -c "$counted/tollgate.yaml" \
  >/dev/null 2>"$counted/log" &
servers+=($!)
"$built/release/examples/passthrough" "$through" "$plain" 2 >/dev/null 2>&1 &
servers+=($!)
for port in "$plain" "$metered" "$through"; do
  curl -sS --retry 30 --retry-delay 1 --retry-connrefused --max-time 30 -o /dev/null \
    "http://127.0.0.1:$port/health" 2>/dev/null || { cat "$counted"/log* >&2; exit 1; }
done

text() { head -c "$1" /dev/zero | tr '\0' 'x'; }
body() { # model, bytes, more
  printf '{"model":"%s","messages":[{"role":"user","content":"%s"}]%s}' "$1" "$(text "$2")" "${3:-}"
}
ask() { # how often, URL, then what curl is told besides
  local times=$1 url=$2
  shift 2
  curl -sS -k -Z --parallel-max 16 --max-time 60 -o /dev/null -H "authorization: Bearer client-key-0000000001" \
    -H "content-type: application/json" "$@" "$url#[1-$times]" 2>"$counted/said" ||
    { cat "$counted/said" >&2; exit 1; }
}
work() {
  local chat=v1/chat/completions
  body plain 900 > "$counted/json"
  body plain 300 ',"stream":true' > "$counted/stream"
  body plain 1000000 > "$counted/big"
  body kept 900 > "$counted/kept"
  body kept 300 ',"stream":true' > "$counted/kept-stream"
  body kept-briefly 900 > "$counted/kept-briefly"
  body over-tls 900 > "$counted/tls"
  body over-tls 300 ',"stream":true' > "$counted/tls-stream"
  body falls-over 900 > "$counted/falls"
  echo '{"model":"plain","input":"a few words"}' > "$counted/input"
  for base in "http://127.0.0.1:$plain" "http://127.0.0.1:$metered" "http://127.0.0.1:$through"; do
    ask 3000 "$base/$chat" --data-binary "@$counted/json"
    ask 300 "$base/$chat" --data-binary "@$counted/stream"
    ask 30 "$base/$chat" --data-binary "@$counted/big"
  done
  local base="http://127.0.0.1:$plain"
  ask 300 "$base/v1/embeddings" --data-binary "@$counted/input"
  ask 2000 "$base/$chat" --data-binary "@$counted/kept"
  ask 100 "$base/$chat" --data-binary "@$counted/kept-stream"
  ask 2000 "$base/$chat" --data-binary "@$counted/kept-briefly"
  ask 300 "$base/$chat" --data-binary "@$counted/tls"
  ask 100 "$base/$chat" --data-binary "@$counted/tls-stream"
  ask 50 "$base/$chat" --data-binary "@$counted/falls"
  ask 300 "$base/v1/files" --data-binary "@$counted/json"
  for version in --http1.1 --http2; do
    ask 300 "https://127.0.0.1:$tls/$chat" $version --data-binary "@$counted/json"
    ask 100 "https://127.0.0.1:$tls/$chat" $version --data-binary "@$counted/stream"
  done
  ask 100 "$base/v1/models"
  ask 50 "http://127.0.0.1:$admin/metrics"
}

echo "at work"
work
end
servers=()
for log in "$counted"/log*; do
  if ! grep -q "status=200" "$log"; then
    echo "nothing was served:" >&2
    cat "$log" >&2
    exit 1
  fi
done
mkdir -p "$(dirname "$profile")"
"$merge" merge -o "$profile" "$counted"/*.profraw
echo "profile: $profile"
