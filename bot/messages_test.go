package bot

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

var updateMessages = flag.Bool("update", false, "write testdata/messages, which make messages shows")

// A shownMessage is one message as a provider is sent it: what chat/preview draws.
type shownMessage struct {
	Scene   string          `json:"scene"`
	Payload json.RawMessage `json:"payload"`
}

// A messageScene is one message that a chat can be told.
type messageScene struct {
	name    string
	message func(b *Bot, to chatPlace, l text.Lang) chat.Message
}

var noon = store.Time{Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}

func after(d time.Duration) store.Time { return store.Time{Time: noon.Add(d)} }

const (
	sceneSHA    = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
	sceneDigest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	hostileText = "<@all> <!channel> [bank](https://evil.example) **x** <font color=\"warning\">y</font>"
)

// sceneRun is a run of devops-app that has succeeded.
func sceneRun(change func(*store.Run)) subject {
	r := store.Run{ID: "r13", Repo: "acme/devops-app", App: "devops-app", Number: 13, Ref: "refs/heads/master", SHA: sceneSHA, Subject: "login: mend the redirect (#41)", Author: "alice", Sender: "alice",
		State: store.RunSucceeded, Release: 7, Digest: sceneDigest, CreatedAt: noon, StartedAt: noon, FinishedAt: after(80 * time.Second)}
	change(&r)
	return subject{key: "run/r13", run: r, repo: store.Repo{Name: "acme/devops-app", HTMLURL: "https://github.com/acme/devops-app", Private: true}, image: "registry.example.com/team/devops-app"}
}

// sceneDeploy is its deployment to production, which waits for nothing.
func sceneDeploy(state string, change func(*subject)) subject {
	s := sceneRun(func(*store.Run) {})
	s.key, s.live, s.ofParts = "deployment/d21", state == store.Succeeded, 2
	s.d = &store.Deployment{ID: "d21", Repo: "acme/devops-app", App: "devops-app", Number: 21, Environment: "production", Release: 7, Cause: store.CausePromote, Requester: "alice", State: state,
		CreatedAt: noon, BeganAt: after(time.Minute), FinishedAt: after(100 * time.Second), ExpiresAt: after(24 * time.Hour),
		Scope: store.JSON[*store.Scope]{V: &store.Scope{From: 6, Total: 2, Commits: []store.ScopeCommit{{SHA: sceneSHA, Subject: "login: mend the redirect (#41)", Author: "alice", Pull: 41}, {SHA: "abcdef0123", Subject: "docs", Author: "carol"}}, Jobs: []string{"Job/migrate"}}},
		Rules: store.JSON[*store.Rules]{V: &store.Rules{Bound: "b1"}}}
	s.rel = store.Release{Number: 7, SHA: sceneSHA, Images: store.JSON[[]store.Image]{V: []store.Image{{Repository: s.image, Digest: sceneDigest}}}}
	s.rules = pipeline.Approvals{Count: 2, By: []string{"bob", "erin", "frank"}}
	s.spec = pipeline.Spec{Environment: pipeline.Environment{Name: "production", Cluster: "prod", Namespace: "production"}}
	if change != nil {
		change(&s)
	}
	return s
}

// waits has a deployment wait for approval.
func waits(s *subject) {
	s.d.BeganAt, s.d.FinishedAt = store.Time{}, store.Time{}
	s.votes = []store.Approval{{Login: "bob", Vote: "approve", Bound: "b1"}}
	s.d.Blocks.V = []store.Block{{Kind: store.BlockApproval, Have: 1, Need: 2, By: []string{"bob", "erin", "frank"}}}
}

// unapproved has a deployment that went without approval.
func unapproved(s *subject) {
	s.d.Cause, s.d.RatifyBy, s.d.Note = store.CauseNow, after(24*time.Hour), "the site is down"
}

// messageScenes lists every message that a chat can be told.
func messageScenes() []messageScene {
	subjectScene := func(name string, s subject) messageScene {
		return messageScene{name, func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			s.form = func(form string) string { return b.typedIn(to.chat(), form, s.run.App) }
			n := pipeline.Notify{Mention: map[string]string{"failed": "author", "waiting": "approvers"}}
			if n.WeCom = to.name; to.kind == "slack" {
				n.WeCom, n.Slack, n.Channel = "", to.name, to.channel
			}
			called, err := b.mentions(context.Background(), s, n, moment(s))
			if err != nil {
				panic(err)
			}
			m := b.message(s, l, called)
			m.Key, m.Buttons = s.key, b.chatButtons(s, l)
			return m
		}}
	}
	run := func(name string, change func(*store.Run)) messageScene { return subjectScene(name, sceneRun(change)) }
	deploy := func(name, state string, change func(*subject)) messageScene {
		return subjectScene(name, sceneDeploy(state, change))
	}
	notice := func(name, what string, s subject) messageScene {
		return messageScene{name, func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			s.form = func(form string) string { return b.typedIn(to.chat(), form, s.run.App) }
			m, err := b.noticeMessage(context.Background(), s, what, to, l)
			if err != nil {
				panic(err)
			}
			return m
		}}
	}
	failed := func(reason string, logs ...string) store.JSON[*store.Failure] {
		return store.JSON[*store.Failure]{V: &store.Failure{Step: "build", Where: "Dockerfile:7", Reason: reason, Logs: logs}}
	}
	crash := store.JSON[*store.Failure]{V: &store.Failure{Step: "observe", Where: "Deployment/devops-app, pod devops-app-5d", Reason: "CrashLoopBackOff", Logs: []string{"listen :8080", "panic: no DATABASE_URL"}, Event: "Back-off restarting failed container"}}
	tests := sceneRun(func(r *store.Run) {
		r.State, r.Failure.V, r.Release, r.Digest = store.RunFailed, &store.Failure{Step: "check/unit", Reason: "exit code: 1"}, 0, ""
	})
	tests.steps = []store.Step{{Kind: "check/unit", State: store.StepFailed, Result: store.JSON[*store.StepResult]{V: &store.StepResult{Failure: &store.Failure{Reason: "exit code: 1"},
		Tests: &store.Tests{Total: 12, Failed: 2, Failing: []store.FailedTest{{Name: "TestLogin", Message: "got 302"}, {Name: "TestLogout", Message: "timeout"}}}}}}}
	back := &store.Deployment{Release: 6, Cause: store.CauseRecovery, State: store.Succeeded}
	return []messageScene{
		run("build started", func(r *store.Run) {
			r.State, r.Release, r.Digest, r.FinishedAt = store.RunRunning, 0, "", store.Time{}
		}),
		run("build succeeded", func(*store.Run) {}),
		run("build failed", func(r *store.Run) {
			r.State, r.Release, r.Digest, r.Failure = store.RunFailed, 0, "", failed("go build ./...: exit code: 1", "# acme/devops-app", "./login.go:41:9: undefined: redirect", "exit status 1")
		}),
		subjectScene("tests failed", tests),
		run("build cancelled", func(r *store.Run) {
			r.State, r.Release, r.Digest, r.Reason = store.RunCancelled, 0, "", "by bob"
		}),
		run("build superseded", func(r *store.Run) {
			r.State, r.Release, r.Digest, r.Reason = store.RunSuperseded, 0, "", "by run 14 of 5e6f708"
		}),
		run("image pushed", func(r *store.Run) {
			r.Image.V = &store.PushedImage{Repository: "registry.example.com/team/devops-app", Tag: "v1.4.0"}
		}),
		deploy("deployment waits", store.Blocked, waits),
		deploy("deployment waits, rules changed", store.Blocked, func(s *subject) {
			waits(s)
			s.d.Rules.V.Changes = []store.RulesChange{{At: noon.Time, Void: []string{"frank"}, Rules: []store.RuleChange{{Key: "approvals.count", Old: "1", New: "2"}}}}
		}),
		deploy("deployment started", store.Progressing, func(s *subject) { s.d.FinishedAt, s.d.Progress = store.Time{}, "2/3" }),
		deploy("deployment rests", store.Paused, func(s *subject) {
			s.d.FinishedAt, s.spec.Environment.Strategy.Canary = store.Time{}, &pipeline.Canary{Steps: []pipeline.StrategyStep{{Weight: 10, Pause: pipeline.Rest{Manual: true}}}}
			text, err := json.Marshal(s.spec)
			if err != nil {
				panic(err)
			}
			s.d.Spec.V = text
			s.d.Blocks.V = []store.Block{{Kind: store.BlockPause, Since: noon.Time, Text: "pause/1/manual"}}
		}),
		deploy("deployment rests for a time", store.Paused, func(s *subject) {
			s.d.FinishedAt, s.d.Blocks.V = store.Time{}, []store.Block{{Kind: store.BlockPause, Since: noon.Time, Until: noon.Add(5 * time.Minute), Text: "pause/1/5m"}}
		}),
		deploy("deployment aborted", store.Cancelled, func(s *subject) { s.d.Reason = "by dave" }),
		deploy("deployment is paused", store.Paused, func(s *subject) {
			s.d.FinishedAt, s.d.Blocks.V = store.Time{}, []store.Block{{Kind: store.BlockPause, By: []string{"dave"}, Since: noon.Time}}
		}),
		deploy("deployment goes on", store.Progressing, func(s *subject) {
			s.d.FinishedAt, s.d.ResumedAt, s.d.ResumedBy = store.Time{}, after(time.Hour), "dave"
		}),
		deploy("deployment waits at a step", store.Paused, func(s *subject) {
			s.d.FinishedAt, s.d.Rules.V.Bound, s.d.Rules.V.Step = store.Time{}, "b1 approve/2/2", "approve/2/2"
			s.d.Blocks.V = []store.Block{{Kind: store.BlockApproval, Have: 0, Need: 2, By: []string{"bob", "erin"}, Text: "approve/2/2"}}
			s.rules = pipeline.Approvals{Count: 2, By: []string{"bob", "erin"}}
		}),
		deploy("deployment succeeded", store.Succeeded, func(s *subject) {
			s.votes = []store.Approval{{Login: "bob", Vote: "approve", Bound: "b1"}, {Login: "erin", Vote: "approve", Bound: "b1"}}
		}),
		deploy("deployment failed", store.Failed, func(s *subject) { s.d.Failure = crash }),
		deploy("deployment failed and went back", store.Failed, func(s *subject) { s.d.Failure, s.back = crash, back }),
		deploy("rolled back", store.Succeeded, func(s *subject) {
			s.d.RollbackOf, s.d.Cause, s.d.Note, s.d.Release = "d20", store.CauseRollback, "too slow", 6
		}),
		deploy("deployment rejected", store.Rejected, func(s *subject) { s.d.BeganAt, s.d.Reason = store.Time{}, "erin: not on a Friday" }),
		deploy("deployment expired", store.Expired, func(s *subject) { s.d.BeganAt = store.Time{} }),
		deploy("deployment superseded", store.Superseded, func(s *subject) { s.d.BeganAt, s.d.Reason = store.Time{}, "by deployment 22" }),
		deploy("part of a release order waits", store.Blocked, func(s *subject) {
			waits(s)
			s.order = &store.Order{ID: "o3", Number: 3, Environment: "production", State: store.OrderWaiting}
			s.d.OrderID, s.d.Part, s.d.Blocks.V = "o3", 1, []store.Block{{Kind: store.BlockPart, Have: 0, Need: 2, By: []string{"bob", "erin"}}}
		}),
		notice("reminder", noticeReminder, sceneDeploy(store.Blocked, func(s *subject) { waits(s); s.d.RemindedAt = after(12 * time.Hour) })),
		notice("without approval", noticeNow, sceneDeploy(store.Succeeded, unapproved)),
		notice("without approval, overdue", noticeOverdue, sceneDeploy(store.Succeeded, func(s *subject) { unapproved(s); s.d.RemindedAt = after(24 * time.Hour) })),
		notice("without approval, refused", noticeRefused, sceneDeploy(store.Succeeded, func(s *subject) {
			unapproved(s)
			s.votes = []store.Approval{{Login: "bob", Vote: "reject", Reason: "it was no emergency"}}
		})),
		notice("without approval, agreed", noticeAgreed, sceneDeploy(store.Succeeded, func(s *subject) { unapproved(s); s.d.RatifiedBy = "bob" })),
		{"hold", func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			s := sceneRun(func(*store.Run) {})
			s.form = func(form string) string { return b.typedIn(to.chat(), form, s.run.App) }
			h := store.Hold{App: s.run.App, Environment: "production", By: "bob", Since: store.Time{Time: b.db.Now().Add(-48 * time.Hour)}, Reason: "too slow"}
			h.Since = noon
			m := b.holdMessage(s, h, &store.Deployment{ID: "d20"}, "production", l)
			m.Fields[2].Value = l.Duration(48 * time.Hour) // by the clock
			return m
		}},
		{"image gone", func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			s := sceneRun(func(*store.Run) {})
			s.form = func(form string) string { return b.typedIn(to.chat(), form, s.run.App) }
			return b.goneMessage(s, store.Gone{App: s.run.App, Environment: "production", Release: 6, Deployment: "d20", Image: "registry.example.com/team/devops-app@" + sceneDigest}, "production", l)
		}},
		{"release, kept true", func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			if !to.edits() {
				return chat.Message{}
			}
			staging := sceneDeploy(store.Succeeded, func(s *subject) { s.d.Environment, s.d.ID, s.d.Number, s.lives = "staging", "d20", 20, 7 })
			production := sceneDeploy(store.Blocked, waits)
			for _, s := range []*subject{&staging, &production} {
				s.form = func(form string) string { return b.typedIn(to.chat(), form, s.run.App) }
			}
			return b.living(view{subject: sceneRun(func(*store.Run) {}), envs: []subject{staging, production}}, func(string) bool { return true }, l)
		}},
		{"results in one message", func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			if to.edits() {
				return chat.Message{}
			}
			var all []result
			for n, state := range []string{store.RunFailed, store.RunFailed, store.RunSucceeded, store.RunSucceeded, store.RunCancelled} {
				s := sceneRun(func(r *store.Run) {
					r.Number, r.State, r.Reason, r.ID = 13+n, state, "by bob", fmt.Sprint("r", 13+n)
					if state == store.RunFailed {
						r.Failure = failed("exit code: 1")
					}
				})
				m := b.message(s, l, nil)
				if state == store.RunFailed {
					m.Mentions = []chat.Person{{GitHub: "alice", ID: b.cfg.ChatUser(to.kind, to.name, "alice")}}
				}
				all = append(all, result{message: m})
			}
			return b.resultsMessage(all, l, &turn{omitted: 12})
		}},
		{"may be a repeat", func(b *Bot, to chatPlace, l text.Lang) chat.Message {
			m := subjectScene("", sceneRun(func(*store.Run) {})).message(b, to, l)
			m.Fields = append([]chat.Field{{Name: l.Field(text.Note), Value: l.Say(text.MayRepeat, l.Time(noon.Time))}}, m.Fields...)
			return m
		}},
		run("hostile texts", func(r *store.Run) {
			r.State, r.Subject, r.Ref, r.Sender = store.RunFailed, hostileText, "refs/heads/"+hostileText, hostileText
			r.Failure = failed(hostileText, hostileText, "```", "> quote")
		}),
	}
}

// messageBot speaks to chats at a far end that keeps what it is sent.
func messageBot(t *testing.T) (*Bot, func() []byte) {
	t.Helper()
	var last []byte
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cgi-bin/gettoken" {
			_, _ = io.WriteString(w, `{"errcode":0,"access_token":"access-token-1","expires_in":7200}`)
			return
		}
		last, _ = io.ReadAll(r.Body)
		if strings.HasPrefix(r.URL.Path, "/cgi-bin/") {
			_, _ = io.WriteString(w, `{"errcode":0}`)
			return
		}
		_, _ = io.WriteString(w, `{"ok":true,"channel":"C1","ts":"1.1"}`)
	}))
	t.Cleanup(far.Close)
	l := newLab(t, func(s string) string {
		i, j := strings.Index(s, "chat:\n"), strings.Index(s, "secrets:\n")
		return s[:i] + strings.ReplaceAll(`chat:
  wecom:
    en: {robot_keys: [file:robot], base_url: FAR/, language: en}
    zh: {robot_keys: [file:robot], base_url: FAR/, language: zh}
    card: {robot_keys: [file:robot], base_url: FAR/, language: zh, card: true}
    app-en: {corp_id: ww0123, agent_id: 1000002, secret: file:corp, token: file:callback, aes_key: file:aes, base_url: FAR/, language: en}
    app-zh: {corp_id: ww0123, agent_id: 1000002, secret: file:corp, token: file:callback, aes_key: file:aes, base_url: FAR/, language: zh}
  slack:
    en: {bot_token: file:slack, signing_secret: file:signing, base_url: FAR/api/, language: en}
    zh: {bot_token: file:slack, signing_secret: file:signing, base_url: FAR/api/, language: zh}
people:
  - {github: alice, wecom: {en: alice.w, zh: alice.w, card: alice.w}, slack: {en: U01, zh: U01}}
  - {github: bob, wecom: {en: bob.w, zh: bob.w, card: bob.w}, slack: {en: U02, zh: U02}}
`, "FAR", far.URL) + s[j:]
	})
	return l.bot, func() []byte { return last }
}

// payload is a request as JSON to read: WeCom's body, or Slack's form with its blocks laid open and without the token.
func payloadOf(body []byte) (json.RawMessage, error) {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		var blocks any
		if err := json.Unmarshal([]byte(form.Get("blocks")), &blocks); err != nil {
			return nil, err
		}
		v = map[string]any{"text": form.Get("text"), "blocks": blocks}
	}
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return json.RawMessage(taskID.ReplaceAllString(strings.TrimSpace(out.String()), `${1}TASK"`)), err
}

// taskID is what a card is known by, another each time.
var taskID = regexp.MustCompile(`("task_id":")[^"]*"`)

var (
	// A Chinese message has names, numbers, commands and what people and programs wrote in Latin letters, but no sentence of ours.
	latinSentence = regexp.MustCompile(`[A-Za-z]+ [a-z]+ [a-z]+`)
	cited         = strings.NewReplacer("login: mend the redirect", "", "the site is down", "", "not on a Friday", "", "it was no emergency", "", "Back-off restarting failed container", "", "go build ./...: exit code: 1", "", "no DATABASE_URL", "", "/rollback production to N", "", hostileText, "")
)

// TestMessagesShown renders every message that a chat can be told for every provider in both languages; testdata/messages has them,
// and make messages shows them. What is told in one language has no sentence of the other.
func TestMessagesShown(t *testing.T) {
	t.Parallel()
	b, last := messageBot(t)
	for _, to := range []chatPlace{{"wecom", "en", ""}, {"wecom", "zh", ""}, {"wecom", "card", ""}, {"wecom", "app-en", "erin.w"}, {"wecom", "app-zh", "erin.w"}, {"slack", "en", "C1"}, {"slack", "zh", "C1"}} {
		l := b.cfg.chatLanguage(to.chat())
		var all []shownMessage
		for _, scene := range messageScenes() {
			service := b.chats[to.chat()]
			m := scene.message(b, to, l)
			if m.Title == "" { // there is none of it there
				continue
			}
			if r, ok := service.(*chat.WeComRobot); ok && r.Room().Free == 0 {
				r, err := chat.NewWeComRobot(b.cfg.Chat.WeCom[to.name].Chat(), http.DefaultClient, time.Now)
				must(t, err)
				b.chats[to.chat()], service = r, r
			}
			if _, ok := service.(*chat.WeComApp); ok && len(all)%20 == 19 { // before its budget for one member is used up
				a, err := chat.NewWeComApp(b.cfg.Chat.WeCom[to.name].Chat(), http.DefaultClient, time.Now)
				must(t, err)
				b.chats[to.chat()], service = a, a
			}
			if _, err := service.Send(context.Background(), to.channel, m); err != nil {
				t.Fatalf("%s: %v", scene.name, err)
			}
			payload := got(payloadOf(last()))(t)
			all = append(all, shownMessage{scene.name, payload})
			words := cited.Replace(string(payload))
			if l == text.En && strings.ContainsFunc(strings.NewReplacer("＜", "", "＞", "").Replace(words), func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
				t.Errorf("%s: Chinese in an English message: %s", scene.name, payload)
			}
			if scene.name == "hostile texts" {
				continue
			}
			for _, p := range []string{`<font color=\"[a-z]*\">`, `</font>`, `https?://[^)|" ]*`, `"[a-z_]+":`} {
				words = regexp.MustCompile(p).ReplaceAllString(words, " | ")
			}
			if found := latinSentence.FindString(words); l == text.Zh && found != "" {
				t.Errorf("%s: %q in a Chinese message: %s", scene.name, found, payload)
			}
		}
		var out strings.Builder
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		must(t, e.Encode(all))
		file := filepath.Join("testdata", "messages", to.kind+"-"+to.name+".json")
		if *updateMessages {
			must(t, os.WriteFile(file, []byte(out.String()), 0o644))
			continue
		}
		if want, _ := os.ReadFile(file); string(want) != out.String() {
			t.Errorf("%s is not what is sent any more; see what differs after go test ./bot -run TestMessagesShown -update", file)
		}
	}
}
