package bot

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/shipmate-dev/shipmate/store"
)

// description is openapi.json, parsed.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(openapi3.NewLoader().Context, openapi3.EnableExamplesValidation())
})

// operations are the described ones, by method and path.
func operations(t *testing.T) map[string]*openapi3.Operation {
	t.Helper()
	found := map[string]*openapi3.Operation{}
	for path, item := range got(description())(t).Paths.Map() {
		for method, operation := range item.Operations() {
			found[method+" "+path] = operation
		}
	}
	return found
}

// A described caller makes calls whose answers must be as openapi.json says.
type described struct {
	l          *lab
	operations map[string]*openapi3.Operation
	answered   map[string]any // the first success of each operation that is not empty
	token      string
	cookie     *http.Cookie
}

type apiAnswer struct {
	status int
	header http.Header
	body   string
}

// call makes a call and checks what comes of it. route is the operation, empty for what is none.
func (d *described) call(t *testing.T, route, target, body string, header ...string) apiAnswer {
	t.Helper()
	method, path, _ := strings.Cut(target, " ")
	r := got(http.NewRequest(method, d.l.url+path, strings.NewReader(body)))(t)
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
	if d.cookie != nil {
		r.AddCookie(d.cookie)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp := got(http.DefaultClient.Do(r))(t)
	defer func() { _ = resp.Body.Close() }() // it was only read
	raw := got(io.ReadAll(resp.Body))(t)
	a := apiAnswer{resp.StatusCode, resp.Header, string(raw)}
	kind := resp.Header.Get("Content-Type")
	kind, _, _ = strings.Cut(kind, ";")
	schema := got(description())(t).Components.Schemas["Problem"].Value
	if route != "" {
		answer := d.operations[route].Responses.Status(a.status)
		if answer == nil {
			t.Errorf("%s: %d is not described: %s", target, a.status, a.body)
			return a
		}
		media := answer.Value.Content.Get(kind)
		switch {
		case len(answer.Value.Content) == 0 && a.body == "":
			return a
		case media == nil:
			t.Errorf("%s: %d comes as %q: %s", target, a.status, kind, a.body)
			return a
		case kind == "text/plain":
			d.answered[route] = a.body
			return a
		}
		schema = media.Schema.Value
	} else if kind != "application/problem+json" {
		t.Errorf("%s: %d comes as %q: %s", target, a.status, kind, a.body)
		return a
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Errorf("%s: %v: %s", target, err, a.body)
		return a
	}
	if err := schema.VisitJSON(value, openapi3.EnableJSONSchema2020(), openapi3.MultiErrors()); err != nil {
		t.Errorf("%s: %d is not as described: %.600s\n%s", target, a.status, err, a.body)
	}
	if a.status < 300 && route != "" && (d.answered[route] == nil || len(fields(d.answered[route])) == 0) {
		d.answered[route] = value
	}
	return a
}

func (d *described) get(t *testing.T, route, target string, header ...string) apiAnswer {
	t.Helper()
	if route != "" {
		route = "GET /api/v1/" + route
	}
	return d.call(t, route, "GET /api/v1/"+target, "", header...)
}

// numbers are those of the entries of a list, in their order.
func numbers(t *testing.T, a apiAnswer) (all []int) {
	t.Helper()
	var list []struct{ Number int }
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, one := range list {
		all = append(all, one.Number)
	}
	return all
}

// TestAPIDescribed: every route is described with the parameters that it takes, and nothing else is.
func TestAPIDescribed(t *testing.T) {
	t.Parallel()
	described := operations(t)
	seen := map[string]bool{}
	for _, route := range (&Bot{}).apiRoutes() {
		name := route.method + " " + route.path
		seen[name] = true
		operation := described[name]
		if operation == nil {
			t.Errorf("%s is not described", name)
			continue
		}
		var query []string
		for _, p := range operation.Parameters {
			if p.Value.In == openapi3.ParameterInQuery {
				query = append(query, p.Value.Name)
			}
		}
		slices.Sort(query)
		if want := slices.Sorted(slices.Values(route.query)); !slices.Equal(query, want) {
			t.Errorf("%s takes %q, and is described with %q", name, want, query)
		}
	}
	for name := range described {
		if !seen[name] {
			t.Errorf("%s is described and not there", name)
		}
	}
	doc := got(description())(t)
	for name, states := range map[string][]string{"runState": runStates, "deploymentState": deploymentStates, "orderState": orderStates} {
		if got := fmt.Sprint(doc.Components.Parameters[name].Value.Schema.Value.Enum); got != fmt.Sprint(states) {
			t.Errorf("%s is described as %s, and is %s", name, got, states)
		}
	}
}

var nextLink = regexp.MustCompile(`^<` + regexp.QuoteMeta(publicURL) + `/api/v1/([^>]+)>; rel="next"$`)

// TestAPIReads: what there is, to whom it may be shown; each answer is as openapi.json says.
func TestAPIReads(t *testing.T) {
	t.Parallel()
	l := signInLab(t)
	d := &described{l: l, operations: operations(t), answered: map[string]any{}, token: apiToken}
	first := got(l.Push("alice", "master", "Ship <b>it</b>", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(first, "shipmate/deploy/staging", "success", ""))(t)
	for _, text := range []string{"promote web production", `order create production web@1 "the new login"`} {
		if a := d.call(t, "POST /api/v1/command", "POST /api/v1/command", got(jsonText(map[string]string{"text": text, "repository": "acme/web"}))(t)); a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", text, a.status, a.body)
		}
	}
	if a := d.call(t, "POST /api/v1/apps/{app}/trigger", "POST /api/v1/apps/web/trigger", `{"ref": "master", "variables": {"MODE": "x"}}`); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	second := got(l.Push("alice", "topic", "Try it", map[string]string{"app.txt": "2"}))(t)
	got(l.Status(second, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	id := func(table, number string) string {
		return got(l.lookup("SELECT id FROM "+table+" WHERE number = ?", number))(t)
	}
	run, deployment, order := id("runs", "1"), id("deployments", "1"), id("orders", "1")

	// Everything, as alice's token and as alice on the pages.
	b := l.browser()
	b.signIn(t, "alice")
	d.cookie = b.cookies[sessionCookie]
	for _, d.token = range []string{readToken, ""} {
		if a := d.get(t, "apps", "apps"); !strings.Contains(a.body, `"repository":"acme/web","app":"web"`) {
			t.Errorf("apps: %d %s", a.status, a.body)
		}
		if a := d.get(t, "apps/{app}", "apps/web"); !strings.Contains(a.body, `"name":"staging","live":{"deployment":"`) {
			t.Errorf("the app: %d %s", a.status, a.body)
		}
		if a := d.get(t, "apps/{app}/plan", "apps/web/plan?ref=master"); !strings.Contains(a.body, `"build":true`) || !strings.Contains(a.body, `"deploys":["staging"]`) {
			t.Errorf("the plan: %d %s", a.status, a.body)
		}
		// What succeeded in staging counts there; what waits in production counts nowhere.
		if a := d.get(t, "apps/{app}/figures", "apps/web/figures"); strings.Count(a.body, `"since"`) != 2*(1+store.TrendWeeks) || !strings.Contains(a.body, `"failure_rate":0,"restore_seconds":null`) ||
			!strings.Contains(a.body, `"deployments":0,"lead_time_seconds":null,"lead_time_of":0,"changes":0,"failed":0,"failure_rate":null`) {
			t.Errorf("its figures: %d %s", a.status, a.body)
		}
		if a := d.get(t, "runs/{id}", "runs/"+run); !strings.Contains(a.body, first) || !strings.Contains(a.body, `"kind":"build"`) {
			t.Errorf("the run: %d %s", a.status, a.body)
		}
		if a := d.get(t, "runs/{id}/log", "runs/"+run+"/log"); a.status != http.StatusOK || a.body == "" {
			t.Errorf("its log: %d %s", a.status, a.body)
		}
		if a := d.get(t, "runs/{id}/log", "runs/"+run+"/log?follow"); a.status != http.StatusOK || a.body == "" {
			t.Errorf("its log, followed: %d %s", a.status, a.body)
		}
		d.get(t, "deployments/{id}", "deployments/"+deployment)
		d.get(t, "orders/{id}", "orders/"+order)
		// Filters.
		filters := map[string][]int{
			"runs": {3, 2, 1}, "runs?ref=topic": {3}, "runs?ref=refs/heads/master": {2, 1}, "runs?state=failed": nil, "runs?app=other": nil,
			"runs?repository=acme/web&app=web": {3, 2, 1}, "runs?repository=ACME/Web": {3, 2, 1}, "runs?repository=acme/other": nil,
			"deployments?environment=production&repository=acme/web": {3, 2}, "deployments?state=succeeded&environment=staging&limit=1": nil,
			"orders?state=rejected": nil, "orders?environment=production": {1}, "orders?repository=acme/web": {1},
		}
		for _, target := range slices.Sorted(maps.Keys(filters)) {
			want := filters[target]
			kind, _, _ := strings.Cut(target, "?")
			if got := numbers(t, d.get(t, kind, target)); strings.HasPrefix(target, "deployments") && want == nil && len(got) != 1 || want != nil && !slices.Equal(got, want) || !strings.HasPrefix(target, "deployments") && want == nil && got != nil {
				t.Errorf("%s: %v, want %v", target, got, want)
			}
		}
		// A page at a time.
		for _, filter := range []string{"runs?limit=1", "runs?limit=1&repository=acme/web&app=web"} {
			var all []int
			for next := filter; next != ""; {
				a := d.get(t, "runs", next)
				all = append(all, numbers(t, a)...)
				if next = ""; a.header.Get("Link") != "" {
					m := nextLink.FindStringSubmatch(a.header.Get("Link"))
					if m == nil {
						t.Fatalf("Link: %s", a.header.Get("Link"))
					}
					next = m[1]
				}
			}
			if !slices.Equal(all, []int{3, 2, 1}) {
				t.Errorf("%s: %v", filter, all)
			}
		}
		// What has not changed is not sent again.
		tag := d.get(t, "runs/{id}", "runs/"+run).header.Get("ETag")
		if a := d.get(t, "runs/{id}", "runs/"+run, "If-None-Match", tag); tag == "" || a.status != http.StatusNotModified || a.body != "" {
			t.Errorf("the same again: %q %d %s", tag, a.status, a.body)
		}
		// The audit is for those who administer.
		if a := d.get(t, "audit", "audit"); a.body != "[]\n" {
			t.Errorf("alice's audit: %d %s", a.status, a.body)
		}
		l.clock.Advance(2 * accessTTL)
	}
	root := l.browser()
	root.signIn(t, "root")
	d.cookie = root.cookies[sessionCookie]
	if a := d.get(t, "audit", "audit?repository=acme/web"); !strings.Contains(a.body, `"action":"order create"`) {
		t.Errorf("root's audit: %d %s", a.status, a.body)
	}
	d.get(t, "openapi.json", "openapi.json")

	// To a stranger there is nothing.
	l.gh.AddUser("frank")
	frank := l.browser()
	frank.signIn(t, "frank")
	d.cookie = frank.cookies[sessionCookie]
	for _, kind := range []string{"apps", "runs", "deployments", "orders", "audit"} {
		if a := d.get(t, kind, kind); a.status != http.StatusOK || a.body != "[]\n" {
			t.Errorf("frank's %s: %d %s", kind, a.status, a.body)
		}
	}
	gone := d.get(t, "runs/{id}", "runs/none").body
	for route, target := range map[string]string{"runs/{id}": "runs/" + run, "runs/{id}/log": "runs/" + run + "/log", "deployments/{id}": "deployments/" + deployment, "orders/{id}": "orders/" + order} {
		if a := d.get(t, route, target); a.status != http.StatusNotFound || a.body != gone {
			t.Errorf("frank's %s: %d %s", target, a.status, a.body)
		}
	}
	for _, kind := range []string{"", "/plan", "/figures"} {
		if a := d.get(t, "apps/{app}"+kind, "apps/web"+kind); a.status != http.StatusNotFound {
			t.Errorf("frank's app%s: %d %s", kind, a.status, a.body)
		}
	}

	// What is wrong.
	d.cookie = b.cookies[sessionCookie]
	l.clock.Advance(2 * accessTTL)
	ours, err := (&reader{bot: l.bot}).cursorAt("runs all", 3)
	must(t, err)
	if row, err := base64.RawURLEncoding.DecodeString(ours); err != nil || bytes.Contains(row, []byte("3")) && bytes.Contains(row, []byte("runs")) {
		t.Errorf("a cursor shows what it is: %q %v", row, err)
	}
	if a := d.get(t, "runs", "runs?cursor="+ours); !slices.Equal(numbers(t, a), []int{2, 1}) {
		t.Errorf("a cursor: %d %s", a.status, a.body)
	}
	tampered := []byte(ours)
	tampered[len(tampered)/2] ^= 1
	for target, want := range map[string]string{"runs?cursor=" + url.QueryEscape(string(tampered)): "cursor", "runs?limit=0": "limit", "runs?limit=101": "limit", "runs?limit=x": "limit", "runs?cursor=x": "cursor", "runs?state=done": "superseded",
		"runs?envrionment=x": "repository", "orders?cursor=" + ours: "cursor", "apps?cursor=" + ours: "cursor", "audit?state=x": "cursor"} {
		kind, _, _ := strings.Cut(target, "?")
		if a := d.get(t, kind, target); a.status != http.StatusBadRequest || !strings.Contains(a.body, want) {
			t.Errorf("%s: %d %s", target, a.status, a.body)
		}
	}
	if a := d.get(t, "runs", "runs?state=%zz"); a.status != http.StatusBadRequest {
		t.Errorf("half a filter: %d %s", a.status, a.body)
	}
	for _, header := range []string{"Range", "If-Match"} {
		if a := d.get(t, "openapi.json", "openapi.json", header, map[string]string{"Range": "bytes=9999999-", "If-Match": `"x"`}[header]); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", header, a.status, a.body)
		}
	}
	if a := d.get(t, "", "nowhere"); a.status != http.StatusNotFound {
		t.Errorf("nowhere: %d %s", a.status, a.body)
	}
	for target, allow := range map[string]string{"DELETE /api/v1/runs": "GET, HEAD", "GET /api/v1/command": "POST", "PUT /api/v1/apps/web/trigger": "POST"} {
		if a := d.call(t, "", target, ""); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow {
			t.Errorf("%s: %d %q %s", target, a.status, a.header.Get("Allow"), a.body)
		}
	}
	d.cookie = nil
	for token, want := range map[string]int{"": http.StatusUnauthorized, "nonsense": http.StatusUnauthorized, carolToken: http.StatusForbidden} {
		d.token = token
		if a := d.get(t, "runs", "runs"); a.status != want {
			t.Errorf("%q: %d %s", token, a.status, a.body)
		}
	}

	// Every operation was answered, and the examples have what the answers have.
	for name, operation := range d.operations {
		answer := d.answered[name]
		if answer == nil {
			t.Errorf("%s: no answer was checked", name)
		}
		for status, response := range operation.Responses.Map() {
			media := response.Value.Content.Get("application/json")
			if media == nil || status[0] != '2' || strings.HasSuffix(name, "openapi.json") {
				continue
			}
			if example, answer := fields(media.Example), fields(answer); !slices.Equal(example, answer) {
				t.Errorf("%s: the example has %q, an answer %q", name, example, answer)
			}
		}
	}
	if answers, err := json.Marshal(d.answered); err == nil && t.Failed() {
		t.Logf("%s", answers)
	}
}

// fields are those of an object, or of the first entry of a list.
func fields(v any) []string {
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	m, _ := v.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

func jsonText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// TestAPIPublic: of a public repository whoever has a token sees what happened, and what builds and clusters said only where
// somebody gave them more than everybody has.
func TestAPIPublic(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(text string) string {
		return strings.Replace(text, "{name: carol, github: carol, token: file:carol-token, may: [trigger]}", "{name: carol, github: carol, token: file:carol-token, may: [read]}", 1)
	})
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/deploy/staging", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		repo, err := tx.Repo("acme/web")
		if err != nil {
			return err
		}
		repo.Private = false
		return tx.PutRepo(repo)
	}))
	d := &described{l: l, operations: operations(t), answered: map[string]any{}}
	run, deployment := got(l.lookup("SELECT id FROM runs"))(t), got(l.lookup("SELECT id FROM deployments WHERE environment = 'staging'"))(t)
	for token, insides := range map[string]bool{apiToken: true, carolToken: false} {
		d.token = token
		a := d.get(t, "runs/{id}/log", "runs/"+run+"/log")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[insides]; a.status != want {
			t.Errorf("the log: %d %s", a.status, a.body)
		}
		if a := d.get(t, "deployments/{id}", "deployments/"+deployment); a.status != http.StatusOK || strings.Contains(a.body, `"changes":""`) == insides {
			t.Errorf("the diff: %d %s", a.status, a.body)
		}
	}
	// While nobody can say who may see it, it is not said to be gone.
	l.clock.Advance(2 * accessTTL)
	must(t, l.Settle())
	for _, target := range []string{"runs/{id}/log", "runs/{id}"} {
		l.gh.Fail("GET", "*permission", 500, 1, 0)
		if a := d.get(t, target, strings.Replace(target, "{id}", run, 1)); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s while GitHub is down: %d %s", target, a.status, a.body)
		}
	}
}

// TestAPIPanics: a mistake of ours is told as such, and the server goes on.
func TestAPIPanics(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	h := l.bot.api([]apiRoute{{"GET", "/api/v1/broken", nil, func(http.ResponseWriter, *http.Request) { panic("token " + apiToken) }}})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", (&url.URL{Path: "/api/v1/broken"}).String(), nil))
	if w.Code != http.StatusInternalServerError || w.Header().Get("Content-Type") != "application/problem+json" || strings.Contains(w.Body.String(), "token") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if !strings.Contains(l.log.String(), "panic") {
		t.Error("the log says nothing")
	}

	// What has begun is cut off.
	h = l.bot.api([]apiRoute{{"GET", "/api/v1/broken", nil, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		_ = http.NewResponseController(w).Flush()
		panic("two")
	}}})
	server := httptest.NewServer(h)
	defer server.Close()
	resp := got(http.Get(server.URL + "/api/v1/broken"))(t)
	defer func() { _ = resp.Body.Close() }() // it was only read
	if body, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(body), "mistake") {
		t.Errorf("%s %v", body, err)
	}
}

// TestAPITimes: times are UTC, also where they come from a window with a zone of its own.
func TestAPITimes(t *testing.T) {
	t.Parallel()
	l := newLab(t, nil)
	until := time.Date(2026, 11, 30, 8, 0, 0, 0, time.FixedZone("", 8*60*60))
	must(t, l.bot.db.View(t.Context(), func(tx *store.Tx) error {
		d, _ := l.bot.apiDeployment(tx, store.Deployment{Blocks: store.JSON[[]store.Block]{V: []store.Block{{Kind: store.BlockFreeze, Until: until}}}}, false)
		if text := got(jsonText(d.Blocks))(t); text != `[{"kind":"freeze","until":"2026-11-30T00:00:00Z"}]` {
			t.Error(text)
		}
		return nil
	}))
}

// TestAPIAsksLittle: for a page GitHub is asked about the repositories on it alone, however many there are.
func TestAPIAsksLittle(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(text string) string {
		return strings.Replace(text, "{name: reader, github: alice,", "{name: reader, github: root,", 1)
	})
	sha := got(l.Push("alice", "master", "Ship", map[string]string{"app.txt": "1"}))(t)
	got(l.Status(sha, "shipmate/build", "success", ""))(t)
	must(t, l.Settle())
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		repo := got(tx.Repo("acme/web"))(t)
		for i := range 40 {
			repo.Name, repo.ID = fmt.Sprintf("acme/x%02d", i), int64(100+i)
			if err := errors.Join(tx.PutRepo(repo), tx.Declare(repo.Name, []store.Declared{{App: "web", SHA: sha}}), tx.Audit(store.Entry{Actor: "alice", Via: "api", Action: "test", Repo: repo.Name})); err != nil {
				return err
			}
		}
		return tx.Audit(store.Entry{Actor: "alice", Via: "api", Action: "test", Repo: "acme/web"})
	}))
	d := &described{l: l, operations: operations(t), answered: map[string]any{}, token: readToken}
	for _, target := range []string{"apps?limit=1", "audit?limit=1"} {
		l.clock.Advance(2 * accessTTL)
		must(t, l.Settle())
		kind, _, _ := strings.Cut(target, "?")
		before, asked := len(l.gh.Requests()), 0
		a := d.get(t, kind, target)
		for _, r := range l.gh.Requests()[before:] {
			if strings.HasSuffix(r.Path, "/permission") {
				asked++
			}
		}
		if a.status != http.StatusOK || asked == 0 || asked > 2 || !strings.Contains(a.body, "acme/web") || a.header.Get("Link") == "" {
			t.Errorf("%s: %d questions: %d %s", target, asked, a.status, a.body)
		}
	}
}
