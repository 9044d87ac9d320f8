#!/bin/bash
# unraced.sh: prints, as a pattern for go test -run, the tests that make race leaves out or shortens: those that ask for -short.
set -euo pipefail
cd "$(dirname "$0")/.."
names=$(awk '/^func / { name = ""; if ($2 ~ /^Test/) { name = $2; sub(/\(.*/, "", name) } } /testing\.Short\(\)|muchOfTheSame\(t\)$/ && name { print name; name = "" }' \
  $(git ls-files store bot pipeline chat | grep -E '^[a-z]+/[a-z0-9_]+_test\.go$') | sort -u)
[ -n "$names" ] || { echo "no test asks for -short" >&2; exit 1; }
echo "^($(paste -sd'|' <<<"$names"))\$"
