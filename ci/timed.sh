#!/bin/bash
# timed.sh STAGE COMMAND...: runs a stage of make check and says how long it took.
set -euo pipefail
stage=$1; shift
echo "== $stage"
began=$SECONDS
"$@" || { echo "== $stage failed after $((SECONDS - began)) s"; exit 1; }
echo "== $stage took $((SECONDS - began)) s"
