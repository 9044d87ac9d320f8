#!/bin/bash
# webhook-examples.sh [VERSION]: fetches the deliveries that GitHub's community collected (npm package
# @octokit/webhooks-examples, MIT) and writes them to bot/testdata/webhooks/examples.jsonl.gz: one delivery a line, as
# {"event", "payload"}, those of github.com and of every GHES version, each once. Needs npm and node; run by hand.
set -euo pipefail
version=${1:-7.6.1}
out=$(cd "$(dirname "$0")/.." && pwd)/bot/testdata/webhooks/examples.jsonl.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "@octokit/webhooks-examples@$version" >/dev/null
tar xzf octokit-webhooks-examples-*.tgz
node - package/*/index.json >"$work/lines" <<'JS'
const { readFileSync } = require('node:fs')
const seen = new Set()
for (const file of process.argv.slice(2)) { // in the shell's order: api.github.com, ghes-31, …
  for (const { name, examples } of JSON.parse(readFileSync(file))) {
    for (const payload of examples) {
      const line = JSON.stringify({ event: name, payload })
      if (!seen.has(line)) console.log(line)
      seen.add(line)
    }
  }
}
JS
gzip -9n <"$work/lines" >"$out"
echo "$(wc -l <"$work/lines") deliveries, $(stat -c %s "$out") bytes: $out"
