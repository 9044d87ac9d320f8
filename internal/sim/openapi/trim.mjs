// Writes api.github.com.json: the part of GitHub's own OpenAPI description that
// Shipmate's tests check requests, answers and webhooks against.
//
//   npm pack @octokit/openapi@23 && tar xzf octokit-openapi-23*.tgz
//   node trim.mjs package/generated/api.github.com.json > api.github.com.json
//
// Kept are the operations and webhooks named below and what they refer to. Left
// out is everything that only people read.
import { readFileSync } from 'node:fs'

const operations = `
GET    /app
GET    /app/hook/config
GET    /app/hook/deliveries
GET    /app/hook/deliveries/{delivery_id}
POST   /app/hook/deliveries/{delivery_id}/attempts
GET    /apps/{app_slug}
GET    /app/installations
GET    /app/installations/{installation_id}
POST   /app/installations/{installation_id}/access_tokens
GET    /installation/repositories
GET    /user
GET    /user/installations
GET    /user/installations/{installation_id}/repositories
POST   /app-manifests/{code}/conversions
GET    /orgs/{org}/teams/{team_slug}/memberships/{username}
GET    /users/{username}
GET    /repos/{owner}/{repo}
GET    /repos/{owner}/{repo}/installation
GET    /repos/{owner}/{repo}/activity
GET    /repos/{owner}/{repo}/branches/{branch}
GET    /repos/{owner}/{repo}/collaborators
GET    /repos/{owner}/{repo}/collaborators/{username}/permission
GET    /repos/{owner}/{repo}/commits
GET    /repos/{owner}/{repo}/commits/{ref}
GET    /repos/{owner}/{repo}/commits/{ref}/check-runs
GET    /repos/{owner}/{repo}/commits/{ref}/status
GET    /repos/{owner}/{repo}/commits/{ref}/statuses
GET    /repos/{owner}/{repo}/commits/{commit_sha}/pulls
GET    /repos/{owner}/{repo}/compare/{basehead}
GET    /repos/{owner}/{repo}/contents/{path}
GET    /repos/{owner}/{repo}/git/ref/{ref}
GET    /repos/{owner}/{repo}/pulls
GET    /repos/{owner}/{repo}/pulls/{pull_number}
GET    /repos/{owner}/{repo}/pulls/{pull_number}/commits
GET    /repos/{owner}/{repo}/pulls/{pull_number}/files
GET    /repos/{owner}/{repo}/rules/branches/{branch}
POST   /repos/{owner}/{repo}/check-runs
GET    /repos/{owner}/{repo}/check-runs/{check_run_id}
PATCH  /repos/{owner}/{repo}/check-runs/{check_run_id}
POST   /repos/{owner}/{repo}/statuses/{sha}
GET    /repos/{owner}/{repo}/deployments
POST   /repos/{owner}/{repo}/deployments
GET    /repos/{owner}/{repo}/deployments/{deployment_id}
GET    /repos/{owner}/{repo}/deployments/{deployment_id}/statuses
POST   /repos/{owner}/{repo}/deployments/{deployment_id}/statuses
GET    /repos/{owner}/{repo}/issues/{issue_number}/comments
POST   /repos/{owner}/{repo}/issues/{issue_number}/comments
GET    /repos/{owner}/{repo}/issues/comments/{comment_id}
PATCH  /repos/{owner}/{repo}/issues/comments/{comment_id}
DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}
GET    /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions
POST   /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions
DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions/{reaction_id}
`.trim().split('\n').map(line => line.split(/\s+/))

const webhooks = `
push create delete
issue-comment-created issue-comment-edited issue-comment-deleted
pull-request-opened pull-request-synchronize pull-request-reopened pull-request-closed
check-run-rerequested check-run-requested-action check-run-created check-run-completed
status
member-added member-edited member-removed membership-added membership-removed team-edited
`.trim().split(/\s+/)

const source = JSON.parse(readFileSync(process.argv[2]))
const methods = new Set(['get', 'post', 'put', 'patch', 'delete'])
const prose = new Set(['description', 'summary', 'example', 'examples', 'externalDocs', 'tags', 'title', 'x-github', 'x-github-breaking-changes'])
const needed = []

// trim copies a node without prose. The keys of `named` nodes are names that the
// API chose ("title" of a check run's output), not keywords of OpenAPI.
function trim(node, named = false) {
  if (Array.isArray(node)) return node.map(item => trim(item))
  if (node === null || typeof node !== 'object') return node
  const copy = {}
  for (const [key, value] of Object.entries(node)) {
    if (!named && prose.has(key)) continue
    if (!named && key === '$ref') needed.push(value)
    copy[key] = trim(value, !named && (key === 'properties' || key === 'responses' || key === 'headers'))
  }
  return copy
}

// OpenAPI demands a description of each response.
function trimOperation(operation) {
  const copy = trim(operation)
  for (const response of Object.values(copy.responses)) if (!response.$ref) response.description = ''
  return copy
}

const result = {
  openapi: source.openapi,
  info: { title: source.info.title, version: source.info.version },
  paths: {},
  components: {},
}
for (const [method, path] of operations) {
  const item = source.paths[path]
  if (!item?.[method.toLowerCase()]) throw new Error(`${method} ${path}: not in the description`)
  result.paths[path] ??= trim(Object.fromEntries(Object.entries(item).filter(([key]) => !methods.has(key))))
  result.paths[path][method.toLowerCase()] = trimOperation(item[method.toLowerCase()])
}
for (const name of webhooks) needed.push(`#/components/schemas/webhook-${name}`)
while (needed.length > 0) {
  const [, , kind, name] = needed.pop().split('/')
  if (result.components[kind]?.[name]) continue
  if (!source.components[kind]?.[name]) throw new Error(`${kind} ${name}: not in the description`)
  result.components[kind] ??= {}
  result.components[kind][name] = trim(source.components[kind][name])
  if (kind === 'responses') result.components[kind][name].description = ''
}
for (const kind of Object.keys(result.components)) {
  result.components[kind] = Object.fromEntries(Object.entries(result.components[kind]).sort(([a], [b]) => a < b ? -1 : 1))
}
console.log(JSON.stringify(result))
