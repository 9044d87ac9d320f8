#!/bin/bash
# on-parts.sh BIN COMMAND...: runs a command with KUBECONFIG, BUILDKIT_HOST and REGISTRY of a fresh cluster, builder and registry, and
# OTHER_REGISTRY, a second one that the cluster pulls from too.
set -euo pipefail
bin=$1; shift
dir=$(mktemp -d /tmp/shipmate-XXXXXX)
pids=()
down() {
  for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
  for p in "${pids[@]}"; do wait "$p" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap down EXIT
wait_for() { # FILE PATTERN: waits until the file has a line that matches, and prints it
  for _ in $(seq 600); do
    grep -m1 -oE "$2" "$1" 2>/dev/null && return
    sleep 0.2
  done
  echo "not ready:" >&2; cat "$1" >&2; return 1
}
registry() { # NAME: starts one; its address is found in its log
  printf 'version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: "127.0.0.1:0", secret: test}\n' "$dir/$1" >"$dir/$1.yml"
  docker-registry serve "$dir/$1.yml" >"$dir/$1.log" 2>&1 & pids+=($!)
}
registry registry
registry other
REGISTRY=$(wait_for "$dir/registry.log" 'listening on 127\.0\.0\.1:[0-9]+' | sed 's/listening on //')
OTHER_REGISTRY=$(wait_for "$dir/other.log" 'listening on 127\.0\.0\.1:[0-9]+' | sed 's/listening on //')
"$bin/builder" up --dir "$dir/b" --die-with-parent --insecure-registry "$REGISTRY" --mirror "docker.io=$REGISTRY" >"$dir/builder.log" 2>&1 & pids+=($!)
"$bin/cluster" up --dir "$dir/c" --die-with-parent --reach "$REGISTRY" --reach "$OTHER_REGISTRY" >"$dir/cluster.log" 2>&1 & pids+=($!)
BUILDKIT_HOST=$(wait_for "$dir/builder.log" 'BUILDKIT_HOST=.*' | cut -d= -f2-)
KUBECONFIG=$(wait_for "$dir/cluster.log" 'KUBECONFIG=.*' | cut -d= -f2-)
export REGISTRY OTHER_REGISTRY BUILDKIT_HOST KUBECONFIG
env "$@"
