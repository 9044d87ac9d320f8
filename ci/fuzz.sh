#!/bin/bash
# fuzz.sh TIME [PATTERN]: runs each fuzz target whose name matches, of every module here, for that long (10s, 5m, or 1000x for
# so many inputs), then says how each went. Fails when one did; go test has then kept the input under the package's
# testdata/fuzz, where it belongs once the bug is mended.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?how long for each target, such as 30s}
pattern=${2:-.}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0 ran=0 summary=
while IFS=: read -r file target; do
  [[ $target =~ $pattern ]] || continue
  dir=$(dirname "$file")
  echo "== $dir $target"
  ran=$((ran + 1))
  # In its folder, so that it is of the module that it belongs to. Inputs are made smaller for 2 s each at most: go test
  # would take a minute for one, and try nothing new meanwhile.
  if (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 2s . </dev/null) 2>&1 | tee "$log"; then
    result=ok
  else
    result=FAILED failed=$((failed + 1))
  fi
  execs=$(grep -oE 'execs: [0-9]+' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)
  summary+=$(printf '%-6s %10s inputs  %s %s' "$result" "$execs" "$dir" "$target")$'\n'
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oE '^func Fuzz[A-Za-z0-9_]*' /dev/null | sed 's/:func /:/' | sort)
echo
printf '%s' "$summary"
[ "$ran" -gt 0 ] || { echo "no fuzz target matches $pattern" >&2; exit 1; }
[ "$failed" -eq 0 ] || { echo "$failed of $ran failed: go test -run NAME/INPUT repeats one" >&2; exit 1; }
