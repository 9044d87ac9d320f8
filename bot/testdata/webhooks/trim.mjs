// Writes examples.json: ten of the deliveries that GitHub's community collected
// (npm @octokit/webhooks-examples, MIT), without what nobody reads here.
//
//   npm pack @octokit/webhooks-examples@7 && tar xzf octokit-webhooks-examples-7*.tgz
//   node trim.mjs package/api.github.com/index.json > examples.json
//
// With EXAMPLES=package/api.github.com/index.json the test plays all of them.
import { readFileSync } from 'node:fs'

const wanted = ['check_run', 'create', 'installation', 'installation_repositories', 'issue_comment', 'package', 'ping', 'pull_request', 'push', 'star']

const trim = (value) => {
  if (Array.isArray(value)) return value.slice(0, 1).map(trim)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).filter(([key]) => !/(_|^)url$|^_links$|^node_id$/.test(key)).map(([key, v]) => [key, trim(v)]))
}

const all = JSON.parse(readFileSync(process.argv[2]))
console.log(JSON.stringify(all.filter((e) => wanted.includes(e.name)).map((e) => ({ name: e.name, examples: [trim(e.examples[0])] })), null, 1))
