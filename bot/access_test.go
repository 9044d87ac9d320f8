package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/store"
)

// rulesFile has an environment of each kind that makes a difference to who may what.
const rulesFile = `app: web
build: {image: registry.example.com/team/web}
environments:
  - {name: open, cluster: test, namespace: staging, manifests: deploy/, deploy: auto}
  - {name: listed, after: open, cluster: test, namespace: staging, manifests: deploy/, deployers: [dina, "@acme/dev"]}
  - {name: voted, after: open, cluster: test, namespace: staging, manifests: deploy/, approvals: {count: 1, by: [vera, "@acme/release"]}}
  - {name: own, after: open, cluster: test, namespace: staging, manifests: deploy/, approvals: {count: 1, self: true}}
  - {name: floor, after: open, cluster: prod, namespace: production, manifests: deploy/}
`

// A person of the table of who may what.
type person struct {
	login    string
	has      permission // what GitHub says that they have, a custom role by its base
	role     string     // the custom role
	deployer bool       // deployers of the environment listed names them
	approver bool       // approvals.by of the environment voted names them
	part     string     // what part they have in the release that waits, as a refusal says it
}

var people = []person{
	{login: "outsider"},
	{login: "reader", has: read},
	{login: "triager", has: triage},
	{login: "writer", has: write},
	{login: "maintainer", has: maintain},
	{login: "admin", has: admin},
	{login: "custom-reader", has: read, role: "Auditor"},
	{login: "custom-writer", has: write, role: "Engineer"},
	{login: "custom-maintainer", has: maintain, role: "Release engineer"},
	{login: "member", has: read, deployer: true},          // of @acme/dev
	{login: "nested", has: read, deployer: true},          // of a team in @acme/dev
	{login: "pending", has: write},                        // invited to both teams
	{login: "writing-member", has: write, deployer: true}, // of @acme/dev
	{login: "dina", has: read, deployer: true},
	{login: "vera", has: read, approver: true},
	{login: "release-member", has: read, approver: true}, // of @acme/release
	{login: "requester", has: maintain, approver: true, part: "asked for it"},
	{login: "pusher", has: maintain, approver: true, part: "wrote"},
	{login: "pull-author", has: maintain, approver: true, part: "opened pull request"},
	{login: "merger", has: maintain, approver: true, part: "wrote"}, // the merge commit
	{login: "co-author", has: maintain, approver: true, part: "co-wrote"},
}

// A right is who may, and what a refusal of everybody else has to name.
type right func(environment string, p person) (missing string)

// from is a permission on the repository.
func from(need permission) right {
	return func(_ string, p person) string {
		if p.has >= need {
			return ""
		}
		return "needs " + need.String() + " on `acme/web`"
	}
}

// deploying is being one of the environment's deployers, or having write.
func deploying(environment string, p person) string {
	if no := from(read)(environment, p); no != "" {
		return no
	}
	switch {
	case environment != "listed":
		return from(write)(environment, p)
	case p.deployer:
		return ""
	}
	return "`deployers` does not name you"
}

// voting is being one of the environment's approvers, or having maintain, and approving being none of those whose work it is.
func voting(approve bool) right {
	return func(environment string, p person) string {
		if no := from(read)(environment, p); no != "" || environment == "open" || environment == "listed" { // where nothing is voted on
			return no
		}
		if environment == "voted" {
			if !p.approver {
				return "`approvals.by` does not name you"
			}
		} else if no := from(maintain)(environment, p); no != "" {
			return no
		}
		if approve && environment != "own" && p.part != "" {
			return "since you " + p.part
		}
		return ""
	}
}

// both is two rights that are both needed.
func both(a, b right) right {
	return func(environment string, p person) string {
		if no := a(environment, p); no != "" {
			return no
		}
		return b(environment, p)
	}
}

// rights has a line for each way to say a row of the table: ENV is an environment, ID the number of what waits there.
var rights = []struct {
	say string
	may right
}{
	{"/help", from(none)},
	{"/link", from(none)},
	{"/status", from(read)},
	{"/history open", from(read)},
	{"/why", from(write)},
	{"/diff open", from(write)},
	{"/logs", from(write)},
	{"/deploy ENV 1", both(from(write), deploying)},
	{"/promote ENV", deploying},
	{"/rollback ENV", deploying},
	{"/approve ID", voting(true)},
	{"/reject ID not now", voting(false)},
	{"/lock ENV for 1h a reason", from(write)},
	{"/unlock ENV", both(from(write), from(maintain))}, // somebody else's
	{"/pause ENV", deploying},
	{"/resume ENV", deploying},
	{"/abort ENV", deploying},
	{"/cancel deployment ID", both(from(read), func(environment string, p person) string {
		if p.login == "requester" || environment == "open" || environment == "listed" { // who started it; there is nothing to cancel
			return ""
		}
		return from(write)(environment, p)
	})},
	{"/rebuild", from(write)},
	{"/ok-to-test 0123456789012345678901234567890123456789", from(write)},
	{"/order show 1", from(read)},
	{"/subscribe web", from(write)},
	{"/unsubscribe web", from(write)},
}

// TestWhoMay holds every person against every command and every environment: who may is never refused for want of a right,
// who may not always is, and told what is missing and what to do about it, in both languages.
func TestWhoMay(t *testing.T) {
	muchOfTheSame(t)
	t.Parallel()
	l := newLab(t, nil)
	for _, p := range people {
		l.repo.SetPermission(p.login, p.has.String(), p.role)
		if p.part != "" {
			l.gh.AddTeamMember("acme", "release", p.login, "member")
		}
	}
	for login, team := range map[string]string{"member": "dev", "nested": "backend", "writing-member": "dev", "release-member": "release"} {
		l.gh.AddTeamMember("acme", team, login, "member")
	}
	l.gh.NestTeam("acme", "backend", "dev")
	l.gh.InviteTeamMember("acme", "dev", "pending")
	l.gh.InviteTeamMember("acme", "release", "pending")

	// One release is live everywhere. Another, of which everybody has a part, waits where somebody has to agree.
	first := got(l.Push("root", "master", "Rules", map[string]string{".shipmate.yaml": rulesFile}))(t)
	got(l.Status(first, "shipmate/deploy/open", "success", ""))(t)
	issue := l.repo.OpenIssue("root", "Releases")
	say := func(login, command string) {
		t.Helper()
		if done, reply, err := l.Say(issue, login, command); err != nil || !done {
			t.Fatalf("%s: %v: %s", command, err, reply)
		}
	}
	for env, approver := range map[string]string{"voted": "vera", "own": "bob", "floor": "bob"} {
		say("alice", "/promote "+env)
		got(l.Status(first, "shipmate/deploy/"+env, "pending", "approval"))(t)
		say(approver, "/approve")
		got(l.Status(first, "shipmate/deploy/"+env, "success", ""))(t)
	}
	got(l.Push("pusher", "topic", "Work\n\nCo-authored-by: Co <co-author@users.noreply.github.com>", map[string]string{"app.txt": "2"}))(t)
	pull := got(l.repo.OpenPullRequest("topic", "master", "pull-author", "Work"))(t)
	l.clock.Advance(2 * time.Second)
	second := got(l.repo.MergePullRequest(pull, "merger"))(t)
	got(l.Status(second, "shipmate/deploy/open", "success", ""))(t)
	for _, env := range []string{"voted", "own", "floor"} {
		say("requester", "/promote "+env)
		got(l.Status(second, "shipmate/deploy/"+env, "pending", "approval"))(t)
	}
	must(t, l.Settle())
	numbers := map[string]string{}
	must(t, l.bot.db.Update(context.Background(), func(tx *store.Tx) error {
		all, err := tx.Waiting("acme/web")
		for _, d := range all {
			numbers[d.Environment] = fmt.Sprint(d.Number)
		}
		for _, env := range []string{"open", "listed", "voted", "own", "floor"} {
			err = errors.Join(err, tx.PutHold(store.Hold{Repo: "acme/web", App: "web", Environment: env, By: "root", Reason: "it went back"}))
		}
		return err
	}))
	if len(numbers) != 3 {
		t.Fatalf("what waits: %v", numbers)
	}

	rows := map[string]bool{}
	for _, r := range rights {
		lines, _ := commands(r.say, "", true, text.En)
		rows[lines[0].Name] = true
	}
	for _, cmd := range table() {
		if !rows[cmd.name] {
			t.Errorf("nothing says who may /%s", cmd.name)
		}
	}
	cells := 0
	for i, p := range people {
		if i%4 == 3 {
			l.clock.Advance(61 * time.Minute) // GitHub lets an installation ask for so much in an hour
		}
		for _, r := range rights {
			environments := []string{"open", "listed", "voted", "own", "floor"}
			if !strings.Contains(r.say, "ENV") && !strings.Contains(r.say, "ID") {
				environments = environments[:1]
			}
			for _, env := range environments {
				cells++
				said := strings.NewReplacer("ENV", env, "ID", numbers[env]).Replace(r.say)
				missing := r.may(env, p)
				answer, err := l.decide(p.login, said, text.En)
				if err != nil {
					t.Errorf("%s says %s (%s): %v", p.login, said, env, err)
					continue
				}
				if missing == "" {
					if lacksRight(answer) {
						t.Errorf("%s says %s (%s) and is refused: %s", p.login, said, env, answer)
					}
					continue
				}
				if !strings.Contains(answer, missing) || !hasRemedy(answer) {
					t.Errorf("%s says %s (%s), and misses %q, but is answered: %s", p.login, said, env, missing, answer)
				}
				if strings.Contains(answer, "@") && !strings.Contains(answer, "`@") {
					t.Errorf("%s says %s (%s) and somebody is mentioned: %s", p.login, said, env, answer)
				}
				chinese, err := l.decide(p.login, said, text.Zh)
				if err != nil || chinese == answer || !containsHan(chinese) {
					t.Errorf("%s says %s (%s) and is answered in Chinese (%v): %s", p.login, said, env, err, chinese)
				}
			}
		}
	}
	t.Logf("%d cells", cells)
}

// lacksRight tells whether an answer is a refusal for want of a right.
func lacksRight(answer string) bool {
	for _, mark := range []string{"This needs ", "does not name you", "someone else's approval", "could not be checked", "can't be approved yet"} {
		if strings.Contains(answer, mark) {
			return true
		}
	}
	return false
}

// hasRemedy tells whether a refusal says whom to ask or what to do.
func hasRemedy(answer string) bool {
	for _, mark := range []string{"Who has it: `", "Ask one of them", "Who may: `", "Settings"} {
		if strings.Contains(answer, mark) {
			return true
		}
	}
	return false
}

func containsHan(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r >= 0x4e00 && r <= 0x9fff })
}

var errUndo = errors.New("undo what was decided")

// decide has somebody say a command and returns its answer; nothing that it does is kept.
func (l *lab) decide(login, said string, language text.Lang) (string, error) {
	ctx := context.Background()
	var repo store.Repo
	if err := l.bot.db.View(ctx, func(tx *store.Tx) (err error) { repo, err = tx.Repo("acme/web"); return err }); err != nil {
		return "", err
	}
	now := l.clock.Now()
	c := &call{bot: l.bot, client: l.bot.hub.client(repo.Installation), repo: repo, login: login, via: "test", language: language, said: now, heard: now, d: &decision{}}
	lines, _ := commands(said, "", true, text.En)
	if len(lines) != 1 {
		return "", fmt.Errorf("%q is %d commands", said, len(lines))
	}
	all, err := c.obey(ctx, lines)
	if err != nil {
		return "", err
	}
	var given []answer
	err = l.bot.db.Update(ctx, func(tx *store.Tx) (err error) {
		if given, _, err = answers(tx, all); err == nil {
			err = errUndo
		}
		return err
	})
	if !errors.Is(err, errUndo) {
		return "", err
	}
	return text.Markdown(given[0].text), nil
}
