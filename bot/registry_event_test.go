package bot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

const eventSecret = "event-secret-5f3a"

// withEvents has the registry of the lab's server file tell what is pushed.
func withEvents(t testing.TB, events string) func(string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "event")
	must(t, os.WriteFile(file, []byte(eventSecret), 0o600))
	return func(text string) string {
		return strings.Replace(text, "  registry.example.com:\n", "  registry.example.com:\n    events: "+strings.ReplaceAll(events, "SECRET", "file:"+file)+"\n", 1)
	}
}

// registryRequest is a request as a registry makes it.
func registryRequest(path, header, secret, body string) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if header != "" {
		r.Header.Set(header, secret)
	}
	return r
}

func tcrBody(path, tag, digest string, at int) string {
	namespace, name, _ := strings.Cut(path, "/")
	return fmt.Sprintf(`{"type":"pushImage","occur_at":%d,"event_data":{"resources":[{"digest":%q,"tag":%q,"resource_url":"xxx.tencentcloudcr.com/%s:%s"}],
		"repository":{"date_created":1587119137,"name":%q,"namespace":%q,"repo_full_name":%q,"repo_type":"private"}},"operator":"332133xxxx"}`,
		at, digest, tag, path, tag, name, namespace, path)
}

func TestRegistryEventContract(t *testing.T) {
	t.Parallel()
	l := newLab(t, withEvents(t, "{kind: tcr, header: X-Shipmate-Token, secret: SECRET}"))
	hub := newLab(t, func(text string) string {
		return strings.Replace(withEvents(t, "{kind: dockerhub, secret: SECRET}")(text), "  registry.example.com:", "  docker.io:", 1)
	})
	const path, header = "/webhooks/registry/registry.example.com", "X-Shipmate-Token"
	image := "sha256:" + strings.Repeat("1", 64)
	push := tcrBody("team/base", "v1", image, 1589106605)
	hubPush := `{"push_data":{"pushed_at":1417566161,"pusher":"trustedbuilder","tag":"v1"},"repository":{"repo_name":"acme/base"},"callback_url":"https://registry.hub.docker.com/u/x/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/"}`
	tests := []struct {
		name   string
		lab    *lab
		r      *http.Request
		status int
		stored int // events in the database afterwards
	}{
		{"a push", l, registryRequest(path, header, eventSecret, push), 202, 1},
		{"the same again", l, registryRequest(path, header, eventSecret, push), 200, 1},
		{"the same at another time", l, registryRequest(path, header, eventSecret, tcrBody("team/base", "v1", image, 1589106606)), 202, 2},
		{"a deletion", l, registryRequest(path, header, eventSecret, strings.Replace(push, "pushImage", "deleteImage", 1)), 200, 2},
		{"another header", l, registryRequest(path, "Authorization", eventSecret, push), 401, 2},
		{"no header", l, registryRequest(path, "", "", push), 401, 2},
		{"an empty header", l, registryRequest(path, header, "", push), 401, 2},
		{"a wrong secret", l, registryRequest(path, header, eventSecret+"x", push), 401, 2},
		{"the secret in the path, where it is not expected", l, registryRequest(path+"/"+eventSecret, header, eventSecret, push), 401, 2},
		{"another registry", l, registryRequest("/webhooks/registry/other.example.com", header, eventSecret, push), 404, 2},
		{"no JSON", l, registryRequest(path, header, eventSecret, "image=v1"), 400, 2},
		{"another shape", l, registryRequest(path, header, eventSecret, `{"events":[]}`), 400, 2},
		{"a name that is none", l, registryRequest(path, header, eventSecret, tcrBody("team/../base", "v1", image, 1)), 400, 2},
		{"too large", l, registryRequest(path, header, eventSecret, push+strings.Repeat(" ", smallDelivery)), 413, 2},
		{"too large, without saying so", l, func() *http.Request {
			r := registryRequest(path, header, eventSecret, push+strings.Repeat(" ", smallDelivery))
			r.ContentLength = -1
			return r
		}(), 413, 2},
		{"too large, from a stranger", l, registryRequest(path, header, "x", push+strings.Repeat(" ", smallDelivery)), 401, 2},
		{"Docker Hub", hub, registryRequest("/webhooks/registry/docker.io/"+eventSecret, "", "", hubPush), 202, 1},
		{"Docker Hub, the tag again", hub, registryRequest("/webhooks/registry/docker.io/"+eventSecret, "", "", strings.Replace(hubPush, "1417566161", "1417566999", 1)), 202, 2},
		{"Docker Hub, a wrong secret", hub, registryRequest("/webhooks/registry/docker.io/x", "", "", hubPush), 401, 2},
		{"Docker Hub, no secret", hub, registryRequest("/webhooks/registry/docker.io", "Authorization", eventSecret, hubPush), 401, 2},
	}
	for _, tt := range tests {
		status, answer := tt.lab.send(tt.r)
		stored := got(tt.lab.lookup("SELECT count(*) FROM events WHERE kind = 'registry'"))(t)
		if status != tt.status || stored != fmt.Sprint(tt.stored) {
			t.Errorf("%s: %d %s and %s stored, want %d and %d", tt.name, status, answer, stored, tt.status, tt.stored)
		}
		if strings.Contains(answer, eventSecret) || status >= 400 && len(answer) < 20 {
			t.Errorf("%s: the answer is %q", tt.name, answer)
		}
	}
	for _, l := range []*lab{l, hub} {
		must(t, l.Settle())
		if log := l.log.String(); strings.Contains(log, eventSecret) {
			t.Errorf("the log has the secret:\n%s", log)
		}
	}
	_ = l.bot.db.Close() // nothing can be stored any more
	if status, answer := l.send(registryRequest(path, header, eventSecret, tcrBody("team/base", "v2", image, 2))); status != 503 {
		t.Errorf("without a database: %d %s", status, answer)
	}
}

const (
	// takesBase is a file of an app that builds, and takes what others push besides.
	takesBase = `
trigger:
  registry: {repository: registry.example.com/team/base, tag: "v\\d+"}
build: {image: registry.example.com/team/web}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, deploy: auto}
  - {name: production, cluster: prod, namespace: production, manifests: deploy/, approvals: {count: 1}}
`
	// onlyBase has no build.
	onlyBase = `
trigger:
  registry: {repository: registry.example.com/team/base}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy/, deploy: auto}
notify:
  - {wecom: ops}
`
)

// takes puts a file on the default branch of acme/web, whose manifests use team/base, and declares what it asks for.
func (l *lab) takes(t testing.TB, file string) (sha string) {
	t.Helper()
	base := got(readFiles("testdata/repo"))(t)
	files := map[string]string{".shipmate.yaml": file}
	for name, content := range base {
		if strings.HasPrefix(name, "deploy/") {
			files[name] = strings.ReplaceAll(content, "team/web", "team/base")
		}
	}
	sha = got(l.Push("root", "master", "Take what others push", files))(t)
	must(t, l.Settle())
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Declare("acme/web", []store.Declared{{App: "web", SHA: sha, Registry: "registry.example.com/team/base"}})
	}))
	return sha
}

// pushed has the registry tell of a push of team/base, and waits for what comes of it.
func (l *lab) pushed(t testing.TB, tag, digest string, at int) {
	t.Helper()
	r := registryRequest("/webhooks/registry/registry.example.com", "Authorization", eventSecret, tcrBody("team/base", tag, digest, at))
	if status, answer := l.send(r); status != 202 {
		t.Fatalf("%d %s", status, answer)
	}
	must(t, l.Settle())
}

// why is the trace of the newest event of a registry about acme/web.
func (l *lab) whyPushed(t testing.TB) string {
	t.Helper()
	text := got(l.lookup("SELECT coalesce(trace, (SELECT json_group_array(kind || ' ' || key || ' ' || reason || ' ' || due_at) FROM tasks)) FROM events WHERE kind = 'registry' AND repo = 'acme/web' ORDER BY received_at DESC LIMIT 1"))(t)
	var lines []string
	must(t, json.Unmarshal([]byte(text), &lines))
	return strings.Join(lines, "\n")
}

func allowBase(text string) string {
	return strings.ReplaceAll(text, `"team/web"`, `"team/web", "team/base"`)
}

// TestPushedImage: what somebody else pushes becomes a release of an app without a build, and is deployed.
func TestPushedImage(t *testing.T) {
	t.Parallel()
	events := withEvents(t, "{kind: tcr, secret: SECRET}")
	l := newLab(t, func(text string) string { return events(allowBase(text)) })
	head := l.takes(t, onlyBase)
	if n := got(l.lookup("SELECT count(*) FROM runs"))(t); n != "0" {
		t.Fatalf("the push started %s runs, of an app that has no build", n)
	}
	digest := l.registry.Push("registry.example.com/team/base:v1", "one")
	l.pushed(t, "v1", digest, 1)
	must(t, l.Tick(0))
	must(t, l.Settle())
	if d, want := got(l.Deployments())(t), "1 staging release 1 automatic by 332133xxxx@registry.example.com: succeeded\n"; d != want {
		t.Errorf("deployments:\n%swant\n%s\n%s", d, want, l.whyPushed(t))
	}
	rel := got(l.Release(1))(t)
	if i := rel.Images.V[0]; i.Repository != "registry.example.com/team/base" || i.Digest != digest || rel.SHA != head || rel.Subject != "image registry.example.com/team/base:v1 pushed by 332133xxxx@registry.example.com" {
		t.Errorf("the release is %+v", rel)
	}
	must(t, l.Runs(l.test, 1))
	if n := len(l.builder.Requests()); n != 0 {
		t.Errorf("there were %d builds", n)
	}
	got(l.Status(head, "shipmate/deploy/staging", "success", ""))(t)
	for _, s := range l.repo.Statuses(head) {
		if s.Context == "shipmate/build" {
			t.Errorf("a build is told of that never was: %s %s", s.State, s.Description)
		}
	}
	var said []string
	for _, m := range l.wecom.Messages(robotKey) {
		said = append(said, markup.ReplaceAllString(m.Content, ""))
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "Image pushed for web, run 1") || !strings.Contains(all, "image registry.example.com/team/base:v1 pushed by 332133xxxx@registry.example.com") {
		t.Errorf("WeCom was told:\n%s", all)
	}

	// What is known is no news.
	l.pushed(t, "v1", digest, 2)
	if why := l.whyPushed(t); !strings.Contains(why, "released: release 1 has this image already") {
		t.Errorf("told again:\n%s", why)
	}
	// A moved tag is, and the registry's word counts, not the event's.
	moved := l.registry.Push("registry.example.com/team/base:v1", "two")
	l.pushed(t, "v1", digest, 3)
	if rel := got(l.Release(2))(t); rel.Images.V[0].Digest != moved {
		t.Errorf("release 2 is %+v", rel.Images.V)
	}
	if why := l.whyPushed(t); !strings.Contains(why, "but the tag is "+moved+" by now") {
		t.Errorf("moved:\n%s", why)
	}

	// /why tells, /deploy goes to the newest one, and a commit is not built.
	issue := l.repo.OpenIssue("alice", "Something")
	done, answer, err := l.Say(issue, "alice", "/why")
	if must(t, err); !done || !strings.Contains(answer, "registry push of registry.example.com/team/base:v1 by 332133xxxx@registry.example.com: run 2 of web (succeeded)") {
		t.Errorf("%s", answer)
	}
	newer := got(l.Push("alice", "master", "Write", map[string]string{"README.md": "x"}))(t)
	l.clock.Advance(2 * time.Second)
	done, answer, err = l.Say(issue, "alice", "/deploy staging "+newer)
	if must(t, err); done || !strings.Contains(answer, "nothing is built here") {
		t.Errorf("%s", answer)
	}
	done, answer, err = l.Say(issue, "alice", "/deploy staging")
	if must(t, err); done || !strings.Contains(answer, "Release 2 is live in `staging` already.") {
		t.Errorf("%s", answer)
	}
}

// TestPushedImageNot: what makes no release, and says why.
func TestPushedImageNot(t *testing.T) {
	t.Parallel()
	type test struct {
		file, tag string
		allow     bool
		absent    bool
		want      string
	}
	for name, tt := range map[string]test{
		"a tag that does not match":      {file: takesBase, tag: "v1-rc", allow: true, want: "the tag v1-rc does not match"},
		"latest without a rule":          {file: onlyBase, tag: "latest", allow: true, want: "every tag counts but latest"},
		"a path that is not allowed":     {file: takesBase, tag: "v1", want: `refused: acme/web may not use registry.example.com/team/base; to allow it, add`},
		"an image that is gone":          {file: takesBase, tag: "v1", allow: true, absent: true, want: "is not in the registry any more"},
		"a file that does not name it":   {file: strings.ReplaceAll(takesBase, "team/base, tag", "team/other, tag"), tag: "v1", allow: true, want: "no app takes it"},
		"a file with mistakes":           {file: takesBase + "x: y\n", tag: "v1", allow: true, want: "has mistakes"},
		"an own tag that is being built": {file: strings.ReplaceAll(takesBase, "image: registry.example.com/team/web", `image: registry.example.com/team/base, tags: [v1]`), tag: "v1", allow: true, want: "run 1 of web pushes this tag itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := withEvents(t, "{kind: tcr, secret: SECRET}")
			l := newLab(t, func(text string) string {
				if tt.allow {
					text = allowBase(text)
				}
				return events(text)
			})
			if strings.Contains(tt.file, "tags: [v1]") {
				l.builder.Fail(errors.New("unauthorized: wrong password")) // it ends without a release, whatever was pushed
			}
			l.takes(t, tt.file)
			before := got(l.lookup("SELECT count(*) FROM runs"))(t)
			digest := "sha256:" + strings.Repeat("1", 64)
			if !tt.absent {
				digest = l.registry.Push("registry.example.com/team/base:"+tt.tag, "one")
			}
			l.pushed(t, tt.tag, digest, 1)
			if why := l.whyPushed(t); !strings.Contains(why, tt.want) {
				t.Errorf("%s\nwant %s", why, tt.want)
			}
			if after := got(l.lookup("SELECT count(*) FROM runs"))(t); after != before {
				t.Errorf("there is a run: %s, before %s", after, before)
			}
		})
	}
}

// TestPackagePushed: GitHub tells of its own registry by the App's one hook, and whom it names is a login.
func TestPackagePushed(t *testing.T) {
	t.Parallel()
	l := newLab(t, func(text string) string {
		return strings.Replace(text, "registries:\n", "registries:\n  ghcr.io:\n    allow: [{repositories: [\"acme/web\"], paths: [\"acme/base\"]}]\n", 1)
	})
	l.takes(t, strings.ReplaceAll(takesBase, "registry.example.com/team/base", "ghcr.io/acme/base"))
	must(t, l.bot.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Declare("acme/web", []store.Declared{{App: "web", Registry: "ghcr.io/acme/base"}})
	}))
	digest := l.registry.Push("ghcr.io/acme/base:v2", "one")
	for i, tt := range []struct{ kind, action, tag, runs string }{
		{"registry_package", "deleted", "v2", "0"},
		{"registry_package", "published", "", "0"},
		{"registry_package", "published", "v2", "1"},
		{"package", "published", "v2", "1"}, // the same push, told by a repository's hook too
	} {
		body := fmt.Sprintf(`{"action":%q,%q:{"package_type":"CONTAINER","package_version":{"version":%q,"container_metadata":{"tag":{"name":%q,"digest":%q}},"package_url":"ghcr.io/acme/base:%s"}},
			"repository":{"full_name":"acme/base"},"sender":{"login":"erin"},"installation":{"id":1}}`, tt.action, tt.kind, digest, tt.tag, digest, tt.tag)
		if status, answer := l.send(delivery(fmt.Sprint("package-", i), tt.kind, "application/json", signature(hookSecret, body), body)); status != 202 {
			t.Fatalf("%d %s", status, answer)
		}
		must(t, l.Settle())
		if n := got(l.lookup("SELECT count(*) FROM runs WHERE cause = 'registry'"))(t); n != tt.runs {
			t.Errorf("%+v: %s runs, want %s\n%s", tt, n, tt.runs, l.whyPushed(t))
		}
	}
	if rel := got(l.lookup("SELECT sender || ' ' || subject FROM releases WHERE run IN (SELECT id FROM runs WHERE cause = 'registry')"))(t); rel != "erin image ghcr.io/acme/base:v2 pushed by erin" {
		t.Errorf("the release is of %s", rel)
	}
	// A body that is signed, but of another kind than it claims.
	body := `{"registry":{"repository":"ghcr.io/acme/base","tag":"v2"},"repository":{"full_name":"acme/web"}}`
	l.send(delivery("forged", kindRegistry, "application/json", signature(hookSecret, body), body))
	must(t, l.Settle())
	if why := l.whyPushed(t); !strings.Contains(why, `it must hold "registry" and nothing else`) {
		t.Errorf("forged:\n%s", why)
	}
}

// TestPushedImageAndBuild: a pushed image says nothing of the commit that is built meanwhile, nor the other way round; its
// pusher is nobody who may not approve, and nobody's login.
func TestPushedImageAndBuild(t *testing.T) {
	t.Parallel()
	events := withEvents(t, "{kind: harbor, secret: SECRET}")
	l := newLab(t, func(text string) string { return events(allowBase(text)) })
	l.takes(t, takesBase)
	built := got(l.Push("alice", "master", "Build", map[string]string{"Dockerfile": "FROM scratch\nRUN block\n"}))(t)
	must(t, until("the commit is built", func() error {
		if l.builder.Blocked() == 0 {
			return errors.New("it is not")
		}
		return nil
	}))
	digest := l.registry.Push("registry.example.com/team/base:v3", "three")
	body := strings.Replace(strings.Replace(tcrBody("team/base", "v3", digest, 1), "pushImage", "PUSH_ARTIFACT", 1), "332133xxxx", "bob", 1)
	if status, answer := l.send(registryRequest("/webhooks/registry/registry.example.com", "Authorization", eventSecret, body)); status != 202 {
		t.Fatalf("%d %s", status, answer)
	}
	got(l.Status(built, "shipmate/deploy/staging", "success", ""))(t)
	l.builder.Release()
	got(l.Status(built, "shipmate/build", "success", "built"))(t)
	must(t, l.Settle())
	release := got(l.lookup("SELECT release FROM runs WHERE cause = 'registry'"))(t)
	issue := l.repo.OpenIssue("alice", "Something")
	if done, answer, err := l.Say(issue, "alice", "/deploy production "+release); err != nil || !done {
		t.Fatalf("%s %v", answer, err)
	}
	// It is root's and alice's commits that it is rendered with; a pusher who is called bob is not the one on GitHub.
	if done, answer, err := l.Say(issue, "bob", "/approve"); err != nil || !done {
		t.Errorf("%s %v", answer, err)
	}
	n, err := l.lookup("SELECT max(number) FROM runs")
	must(t, err)
	if n != "3" {
		t.Errorf("there are %s runs", n)
	}
}

// TestPushedImageAndRegistry: a registry that is away is asked again; one that refuses makes a run that says so.
func TestPushedImageAndRegistry(t *testing.T) {
	t.Parallel()
	events := withEvents(t, "{kind: tcr, secret: SECRET}")
	l := newLab(t, func(text string) string { return events(allowBase(text)) })
	l.takes(t, onlyBase)
	digest := l.registry.Push("registry.example.com/team/base:v1", "one")
	l.registry.Fail(errors.New("find registry.example.com/team/base:v1: dial tcp: connection refused"))
	l.pushed(t, "v1", digest, 1)
	if rel := got(l.Release(1))(t); rel.Images.V[0].Digest != digest {
		t.Errorf("the release is %+v", rel)
	}
	denied := errors.New("find registry.example.com/team/base:v2: GET https://registry.example.com/v2/: UNAUTHORIZED: authentication required")
	l.registry.Fail(denied, denied)
	l.pushed(t, "v2", l.registry.Push("registry.example.com/team/base:v2", "two"), 2)
	failure := got(l.lookup("SELECT state || ' ' || failure FROM runs WHERE number = 2"))(t)
	if !strings.Contains(failure, "failed ") || !strings.Contains(failure, `"step":"resolve"`) || !strings.Contains(failure, "check username and password") {
		t.Errorf("the run is %s\n%s", failure, l.whyPushed(t))
	}
	// And once it is mended, the same image may be told again.
	l.pushed(t, "v2", l.registry.Push("registry.example.com/team/base:v2", "two"), 3)
	got(l.Release(2))(t)
}

func TestEventsConfig(t *testing.T) {
	t.Setenv("EVENT_SECRET", eventSecret)
	for events, want := range map[string]string{
		"{kind: tcr, secret: env:EVENT_SECRET}":                                       "",
		"{kind: harbor, header: X-Token, secret: env:EVENT_SECRET}":                   "",
		"{kind: dockerhub, secret: env:EVENT_SECRET}":                                 "",
		"{secret: env:EVENT_SECRET}":                                                  "events.kind: is missing; write tcr, harbor, distribution or dockerhub",
		"{kind: quay, secret: env:EVENT_SECRET}":                                      `events.kind: "quay" is not known here; write tcr,`,
		"{kind: ghcr, secret: env:EVENT_SECRET}":                                      `events.kind: "ghcr" is not known here`,
		"{kind: tcr}":                                                                 "events.secret: is missing; write where the secret is",
		"{kind: tcr, secret: event-secret-5f3a}":                                      "events.secret: a secret does not stand in this file",
		"{kind: tcr, secret: env:NO_SUCH_VARIABLE}":                                   "events.secret: the environment variable NO_SUCH_VARIABLE is not set",
		`{kind: tcr, header: "X Token:", secret: env:EVENT_SECRET}`:                   `events.header: "X Token:" is no name of a header; write for example`,
		"{kind: dockerhub, header: X-Token, secret: env:EVENT_SECRET}":                "events.header: is nothing that Docker Hub can set; remove it, and have Docker Hub call /webhooks/registry/docker.io/ followed",
		"{kind: distribution, headers: {Authorization: x}, secret: env:EVENT_SECRET}": "events.headers: unknown key; did you mean header?",
	} {
		c, err := LoadConfig(writeConfig(t, smallest+"registries: {docker.io: {events: "+events+"}}\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %s", events, err, want)
		}
		if err == nil && (!slices.Contains(c.Secrets(), eventSecret) || strings.Contains(fmt.Sprintf("%+v", c.Registries["docker.io"].Events), eventSecret)) {
			t.Errorf("%s: the secret is not masked", events)
		}
	}
}

// TestCheckPushedImages: a file without a build passes where it takes what others push, and what it takes must be allowed.
func TestCheckPushedImages(t *testing.T) {
	server := writeConfig(t, strings.Replace(smallest, "app_id: 1,", "app_id: 1, allow: [acme/web],", 1)+"registries: {registry.example.com: {allow: [{repositories: [acme/web], paths: [team/base]}]}}\nclusters: {test: {kubeconfig: ./kubeconfig, allow: [{repositories: [acme/web], namespaces: [staging]}]}}\n"+
		"chat: {wecom: {ops: {robot_keys: [\"env:WECOM_KEY\"], allow: [acme/web]}}}\n")
	for file, want := range map[string]string{
		onlyBase: "",
		strings.Replace(onlyBase, "team/base", "team/other", 1): "trigger.registry.repository: acme/web may not use registry.example.com/team/other; to allow it, add",
		"build: {}\n" + onlyBase:                                "build.image: is missing",
		strings.Replace(onlyBase, "registry: {repository", "tags: [v1] # registry: {repository", 1): "build.image: is missing",
	} {
		name := filepath.Join(t.TempDir(), ".shipmate.yaml")
		must(t, os.WriteFile(name, []byte(file), 0o600))
		errs := errors.Join(Check(server, "acme/web", []string{name})...)
		if want == "" && errs != nil || want != "" && (errs == nil || !strings.Contains(errs.Error(), want)) {
			t.Errorf("%s\n%v, want %s", file, errs, want)
		}
	}
}
