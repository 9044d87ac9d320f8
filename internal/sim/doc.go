// Package sim holds simulated far ends for tests and the demo: GitHub (REST API,
// webhooks, git over HTTP), a WeCom group robot and Slack. They run in this
// process and behave like the real ones, limits and failures included.
//
// GitHub's simulator checks every request that it gets, and every answer and
// webhook that it sends, against GitHub's own OpenAPI description; what disagrees
// is kept in [GitHub.Violations], which a test expects to be empty.
package sim
