package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// TestScripts plays testdata/script: what people do, and what they see. Each script has a bot of its own with the
// repository acme/web, as testdata/repo has it, and these people: alice and dave write, bob and erin maintain, root is
// admin, carol reads, and nobody else may do anything.
//
// Its commands (! before one of them means: is refused, or is not so):
//
//	push LOGIN BRANCH DIR [MESSAGE]    pushes the files under DIR; $DIR is then the commit. ADDRESS:LOGIN for LOGIN is a commit by somebody whom
//	                                   GitHub does not know, pushed by LOGIN
//	fork LOGIN                         has LOGIN fork the repository; push and pr then take LOGIN:BRANCH
//	pr LOGIN BRANCH [BASE]             opens a pull request of BRANCH into BASE, or master; its number is $PR
//	pull VERB LOGIN [TEXT]             close, reopen, ready (no draft any more), title TEXT or base BRANCH: changes $PR
//	vague N                            has GitHub answer N times from now on that it does not know yet whether a pull request merges
//	merge LOGIN                        merges $PR; $MERGED is then the commit
//	squash LOGIN MESSAGE               the same by one commit with that message
//	local ADDRESS DIR LOGIN            has LOGIN merge a branch by ADDRESS on their own machine and push the result to master; $MERGED is then the commit
//	say LOGIN TEXT                     comments on $PR (\n is a line end), waits for the answer and prints it
//	comment LOGIN TEXT                 comments on $PR and does not wait
//	edit TEXT, delete                  changes the last comment
//	comment-text                       prints the living comment of the newest release that has one; two for one release are an error
//	comments N                         checks how many comments the bot made on $PR
//	check-run COMMIT [NAME]            prints the newest check run of that name (shipmate): status, conclusion, title, buttons, output
//	press LOGIN COMMIT BUTTON          presses a button of the commit's newest check run: approve, reject or rollback
//	rerun LOGIN COMMIT, rerun-all …    asks for that check run again, or for all of the commit's
//	answer                             waits for the answer to the last comment and prints it
//	mute LOGIN TEXT                    comments on $PR and checks that it makes the bot do nothing at all
//	status COMMIT NAME STATE [REGEXP]  waits for a commit status and prints its description
//	deployments                        waits until nothing is left to do and prints all deployments
//	runs CLUSTER RELEASE               checks what a cluster runs
//	pulls CLUSTER REPOSITORY           checks from where a cluster pulls that
//	chat LOGIN TEXT                    types "/shipmate TEXT" in Slack, waits and prints what LOGIN alone sees ("!": is refused); $LINK is
//	                                   the address in it
//	mention LOGIN TEXT                 the same by a mention of the bot
//	chat-press LOGIN LABEL [REASON]    presses a button there, and gives the reason where it is asked for
//	browse LOGIN ADDRESS               has LOGIN look at a page, signing in with GitHub where that is asked, and prints it ("!": is none)
//	submit LOGIN                       sends the form in the middle of that page, and prints what comes of it ("!": is refused)
//	direct LOGIN REGEXP [N]            looks for a message in Slack to LOGIN alone, as slack does in the channel
//	desk LOGIN TEXT, desk-press LOGIN LABEL  types TEXT to WeCom's app, or presses a button of the newest card there that has it; waits
//	                                   and prints what LOGIN is then told there ("!": is refused)
//	helper LOGIN TEXT, helper-press …  the same with the smart robot in a group; helper-alone LOGIN TEXT: where nobody else sees it
//	desk-told LOGIN REGEXP [N]         waits until nothing is left to do and looks for a message of the app to LOGIN, or for exactly N
//	callbacks                          has WeCom ask whether the addresses of both are right
//	desk-again                         has WeCom tell the bot once more what somebody did there last
//	desk-fail CODE N                   has WeCom refuse with the errcode the next N things that the app asks for
//	expire-token                       has WeCom take the app's access token for too old
//	socket VERB                        on: Slack's socket mode, from now on what people do there comes by it alone. Then the bot, which has to
//	                                   be told by the server's file, is waited for: open; and refresh or break ends the connection, and waits
//	                                   for the next one. lose has the next acknowledgement get lost
//	wecom REGEXP [N], slack REGEXP [N] waits until nothing is left to do and looks for a message, or for exactly N. Before one in Slack stands its
//	                                   channel, C1 or C2, and reply where it is in a thread, aloud where the channel sees it all the same
//	told REGEXP [N]                    the same of what the bot commented anywhere
//	page runs|deployments|orders NUMBER  prints a page of the bot
//	order NUMBER REGEXP                waits until the one comment of a release order matches and prints it
//	builds N                           checks how many builds there were
//	audited REGEXP                     looks for a line of the audit: actor, action, repository, detail
//	seen runs|deployments NUMBER REGEXP  waits until a page of the bot matches, also while something hangs
//	registry VERB [N]                  what registries do: hold (copies wait half-way), go, deny (copies), away (they can't tell what they
//	                                   have), back; forget N and remember N: the image of release N, wherever it is
//	await build, await CLUSTER, await copy  waits until a build blocks, a rollout hangs, or a copy is held
//	await github REGEXP                waits until the bot has asked GitHub for something: method and path
//	release build, release CLUSTER     lets it go on
//	grant LOGIN LEVEL [ROLE]           changes a permission, which may be that of a custom role; GitHub tells the bot
//	team LOGIN [VERB [TEAM]]           add (or nothing), remove or invite: changes who is in a team of acme, @acme/release if none is named
//	team TEAM in PARENT                nests a team in another one
//	app PERMISSION LEVEL               changes what the App may do in acme; none takes it
//	public                             lets everybody read the repository
//	github METHOD PATH STATUS TIMES    makes GitHub fail
//	server OLD NEW                     replaces a text in the server's file (\n is a line end) and restarts the bot
//	                                   $SLACK is where the simulated Slack is reached
//	tick DURATION                      lets time pass
//	clock HH:MM                        lets time pass until it is that time, UTC
//	back LOGIN BRANCH COMMIT           force-pushes a branch back to a commit
//	gone LOGIN BRANCH                  deletes a branch
//	tag LOGIN TAG COMMIT [MESSAGE]     pushes a tag, with a message an annotated one
//	untag LOGIN TAG                    deletes a tag
//	many LOGIN BRANCH DIR N            pushes the files under DIR and N more commits at once; $DIR is then the newest
//	cut N                              has GitHub list at most N commits of a push
//	asked METHOD REGEXP N              checks how often the bot asked GitHub since the last asked
//	requests MOST                      prints what the bot asked GitHub since the last asked or requests, and checks how many that are at most
//	trigger TOKEN APP BODY STATUS      calls the API for a run and prints the answer. $TOKEN is alice's, $CAROL carol's, $READER may only
//	                                   read; $KEY is the Idempotency-Key
//	api TOKEN TEXT STATUS              says a command over the API and prints the answer; $KEY is as for trigger. TEXT may be JSON of the call
//	args REGEXP                        looks for build arguments of the newest build
//	foreign COMMIT APP NAME STATE      has another App report a check run: running, or its conclusion (success, failure …)
//	posts COMMIT LOGIN NAME STATE      has a person, or an App's bot such as ci[bot], set a commit status
//	ruleset BRANCH APP NAME…           has a ruleset of BRANCH require checks of that App (any: of anybody)
//	protect BRANCH APP NAME…           the same by the classic branch protection
//	said REGEXP                        waits for a comment of the bot on $PR
//	mend                               ends every failure of GitHub
//	lost                               has the webhooks that come next get lost, until the next found
//	found                              has webhooks arrive again
//	start                              starts the bot, which has to find itself what it missed
//	down, up, crash                    stops the bot; starts it, and has GitHub deliver again what it missed; kills and starts it
func TestScripts(t *testing.T) {
	dir := "testdata/script"
	var files []string
	if testing.Short() { // the race detector: the ones in which the most happens at a time
		dir = ""
		for _, name := range []string{"push", "promote", "superseded", "cancel", "several_apps", "crash"} {
			files = append(files, "testdata/script/"+name+".txtar")
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Files:               files,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			l, err := openLab(env.WorkDir, nil)
			if err != nil {
				return err
			}
			env.Setenv("TOKEN", apiToken)
			env.Setenv("READER", readToken)
			env.Setenv("CAROL", carolToken)
			env.Setenv("SLACK", l.slackURL)
			env.Values["lab"], env.Values["asked"] = l, new(int)
			env.Defer(func() {
				for _, err := range l.Close() {
					env.T().Log(err)
					env.T().FailNow()
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push": script(3, 4, func(s *scene) error {
				files, err := readFiles(s.MkAbs(s.args[2]))
				if err == nil && len(files) == 0 {
					err = fmt.Errorf("there are no files under %s", s.args[2])
				}
				if err != nil {
					return err
				}
				message := "Change " + s.args[2]
				if len(s.args) == 4 {
					message = strings.ReplaceAll(s.args[3], `\n`, "\n")
				}
				repo, branch := s.repo, s.args[1]
				if owner, b, ok := strings.Cut(branch, ":"); ok {
					repo, branch = s.gh.Repo(owner+"/web"), b
				}
				s.clock.Advance(2 * time.Second)
				author, pusher, ok := strings.Cut(s.args[0], ":")
				if !ok {
					pusher = author
				}
				sha, err := repo.Push(branch, pusher, sim.Change{Author: author, Message: message, Files: files})
				s.Setenv(s.args[2], sha)
				return err
			}),
			"local": script(3, 3, func(s *scene) error {
				files, err := readFiles(s.MkAbs(s.args[1]))
				s.Check(err)
				s.clock.Advance(2 * time.Second)
				sha, err := s.repo.MergeLocally("master", s.args[2], sim.Change{Author: s.args[0], Message: "Change " + s.args[1], Files: files})
				s.Setenv("MERGED", sha)
				return err
			}),
			"squash": script(2, 2, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				sha, err := s.repo.SquashPullRequest(s.pr(), s.args[0], strings.ReplaceAll(s.args[1], `\n`, "\n"))
				s.Setenv("MERGED", sha)
				return err
			}),
			"back": script(3, 3, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				_, err := s.repo.ForcePush(s.args[1], s.args[2], s.args[0])
				return err
			}),
			"gone": script(2, 2, func(s *scene) error { return s.repo.DeleteBranch(s.args[1], s.args[0]) }),
			"tag": script(3, 4, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				if len(s.args) == 4 {
					return s.repo.TagAnnotated(s.args[1], s.args[2], s.args[0], s.args[3])
				}
				return s.repo.Tag(s.args[1], s.args[2], s.args[0])
			}),
			"untag": script(2, 2, func(s *scene) error { return s.repo.DeleteTag(s.args[1], s.args[0]) }),
			"many": script(4, 4, func(s *scene) error {
				files, err := readFiles(s.MkAbs(s.args[2]))
				s.Check(err)
				n, err := strconv.Atoi(s.args[3])
				s.Check(err)
				changes := []sim.Change{{Author: s.args[0], Message: "Change " + s.args[2], Files: files}}
				for i := range n {
					changes = append(changes, sim.Change{Author: s.args[0], Message: "One more", Files: map[string]string{fmt.Sprintf("more/%d.txt", i): s.args[2]}})
				}
				s.clock.Advance(2 * time.Second)
				sha, err := s.repo.Push(s.args[1], s.args[0], changes...)
				s.Setenv(s.args[2], sha)
				return err
			}),
			"cut": script(1, 1, func(s *scene) error {
				n, err := strconv.Atoi(s.args[0])
				s.gh.SetPushCommits(n)
				return err
			}),
			"clock": script(1, 1, func(s *scene) error {
				at, err := time.Parse("15:04", s.args[0])
				s.Check(err)
				now := s.clock.Now().UTC()
				next := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC)
				if !next.After(now) {
					next = next.Add(24 * time.Hour)
				}
				return s.Tick(next.Sub(now))
			}),
			"asked": script(3, 3, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				pattern, err := regexp.Compile(s.args[1])
				s.Check(err)
				all := s.gh.Requests()
				from, _ := s.Value("asked").(*int)
				n := 0
				for _, r := range all[*from:] {
					if r.Method == s.args[0] && pattern.MatchString(r.Path) {
						n++
					}
				}
				*from = len(all)
				if strconv.Itoa(n) != s.args[2] {
					return fmt.Errorf("it asked %d times", n)
				}
				return nil
			}),
			"requests": script(1, 1, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				all := s.gh.Requests()
				from, _ := s.Value("asked").(*int)
				made := all[*from:]
				*from = len(all)
				for _, r := range made {
					_, _ = fmt.Fprintf(s.Stdout(), "%s %s\n", r.Method, r.Path)
				}
				_, _ = fmt.Fprintf(s.Stdout(), "%d requests\n", len(made))
				most, err := strconv.Atoi(s.args[0])
				if err == nil && len(made) > most {
					err = fmt.Errorf("there were %d requests", len(made))
				}
				return err
			}),
			"trigger": script(4, 4, func(s *scene) error {
				status, answer, err := s.Trigger(s.args[0], s.args[1], s.Getenv("KEY"), s.args[2])
				_, _ = fmt.Fprintln(s.Stdout(), answer)
				if err == nil && strconv.Itoa(status) != s.args[3] {
					err = fmt.Errorf("the answer is %d: %s", status, answer)
				}
				return err
			}),
			"api": script(3, 3, func(s *scene) error {
				body := s.args[1]
				if !strings.HasPrefix(body, "{") {
					raw, err := json.Marshal(commandCall{Text: body})
					s.Check(err)
					body = string(raw)
				}
				status, answer, err := s.Call(s.args[0], "command", s.Getenv("KEY"), body)
				_, _ = fmt.Fprintln(s.Stdout(), answer)
				if err == nil && strconv.Itoa(status) != s.args[2] {
					err = fmt.Errorf("the answer is %d: %s", status, answer)
				}
				return err
			}),
			"args": script(1, 1, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				all := s.builder.Requests()
				if len(all) == 0 {
					return fmt.Errorf("there was no build")
				}
				args := fmt.Sprint(all[len(all)-1].Args)
				_, _ = fmt.Fprintln(s.Stdout(), args)
				if !regexp.MustCompile(s.args[0]).MatchString(args) {
					return fmt.Errorf("the newest build had %s", args)
				}
				return nil
			}),
			"fork": script(1, 1, func(s *scene) error { _, err := s.repo.Fork(s.args[0]); return err }),
			"pr": script(2, 3, func(s *scene) error {
				n, err := s.repo.OpenPullRequest(s.args[1], append(s.args, "master")[2], s.args[0], "A change")
				s.Setenv("PR", strconv.Itoa(n))
				return err
			}),
			"pull": script(2, 3, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				login, text := s.args[1], append(s.args, "")[2]
				switch s.args[0] {
				case "close":
					return s.repo.ClosePullRequest(s.pr(), login)
				case "reopen":
					return s.repo.ReopenPullRequest(s.pr(), login)
				case "ready":
					return s.repo.DraftPullRequest(s.pr(), login, false)
				case "title":
					return s.repo.EditPullRequest(s.pr(), login, text, "")
				case "base":
					return s.repo.EditPullRequest(s.pr(), login, "", text)
				}
				return fmt.Errorf("%s is none of its verbs", s.args[0])
			}),
			"vague": script(1, 1, func(s *scene) error {
				n, err := strconv.Atoi(s.args[0])
				s.gh.SetVagueMerges(n)
				return err
			}),
			"merge": script(1, 1, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				sha, err := s.repo.MergePullRequest(s.pr(), s.args[0])
				s.Setenv("MERGED", sha)
				return err
			}),
			"say": script(2, 2, func(s *scene) error {
				if err := s.comment(); err != nil {
					return err
				}
				return s.answer()
			}),
			"comment": script(2, 2, func(s *scene) error { return s.comment() }),
			"comment-text": script(0, 0, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				run, err := s.lookup("SELECT runs.id FROM messages m JOIN runs ON runs.id = substr(m.subject, 5) WHERE m.surface = 'github/comment' AND m.moment = '' AND m.ref <> '' ORDER BY runs.rowid DESC LIMIT 1")
				if err != nil {
					return err
				}
				body, err := s.Living(run)
				_, _ = fmt.Fprintln(s.Stdout(), body)
				if err == nil && body == "" {
					err = errors.New("there is none")
				}
				return err
			}),
			"comments": script(1, 1, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				n := 0
				for _, c := range s.repo.Comments(s.pr()) {
					if strings.Contains(c.Body, "<!-- shipmate ") {
						n++
					}
				}
				if strconv.Itoa(n) != s.args[0] {
					return fmt.Errorf("there are %d", n)
				}
				return nil
			}),
			"check-run": script(1, 2, func(s *scene) error {
				run, err := s.checkRun(s.args[0], append(s.args, "shipmate")[1])
				if err != nil {
					return err
				}
				_, _ = fmt.Fprintf(s.Stdout(), "%s %s: %s\n", run.Status, run.Conclusion, run.Title)
				for _, a := range run.Actions {
					_, _ = fmt.Fprintf(s.Stdout(), "[%s] %s\n", a.Label, a.Description)
				}
				for _, a := range run.Annotations {
					_, _ = fmt.Fprintf(s.Stdout(), "%s:%d %s: %s\n", a.Path, a.StartLine, a.Level, a.Message)
				}
				_, _ = fmt.Fprintf(s.Stdout(), "%s\n\n%s\n", run.Summary, run.Text)
				return nil
			}),
			"press": script(3, 3, func(s *scene) error {
				run, err := s.checkRun(s.args[1], "shipmate")
				if err != nil {
					return err
				}
				for _, a := range run.Actions {
					if strings.HasPrefix(a.Identifier, s.args[2]+":") {
						s.clock.Advance(2 * time.Second)
						return errors.Join(s.repo.PressButton(run.ID, s.args[0], a.Identifier), s.Settle())
					}
				}
				return fmt.Errorf("it has the buttons %v", run.Actions)
			}),
			"rerun": script(2, 2, func(s *scene) error {
				run, err := s.checkRun(s.args[1], "shipmate")
				if err != nil {
					return err
				}
				s.clock.Advance(2 * time.Second)
				return errors.Join(s.repo.Rerequest(run.ID, s.args[0]), s.Settle())
			}),
			"rerun-all": script(2, 2, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				return errors.Join(s.repo.RerequestSuite(s.args[1], s.args[0]), s.Settle())
			}),
			"answer": script(0, 0, func(s *scene) error { return s.answer() }),
			"edit":   script(1, 1, func(s *scene) error { return s.repo.EditComment(s.last(), "alice", s.args[0]) }),
			"delete": script(0, 0, func(s *scene) error { return s.repo.DeleteComment(s.last(), "alice") }),
			"mute": script(2, 2, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				before := len(s.gh.Requests())
				if err := s.comment(); err != nil {
					return err
				}
				if err := s.Settle(); err != nil {
					return err
				}
				for _, r := range s.gh.Requests()[before:] {
					if r.Path != "/app" { // asked once, for the App's name
						return fmt.Errorf("it made the bot ask for %s %s", r.Method, r.Path)
					}
				}
				return nil
			}),
			"status": script(3, 4, func(s *scene) error {
				description, err := s.Status(s.args[0], s.args[1], s.args[2], append(s.args, "")[3])
				_, _ = fmt.Fprintln(s.Stdout(), description)
				return err
			}),
			"deployments": script(0, 0, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				text, err := s.Deployments()
				_, _ = fmt.Fprint(s.Stdout(), text)
				return err
			}),
			"runs": script(2, 2, func(s *scene) error {
				release, err := strconv.Atoi(s.args[1])
				if err != nil {
					return err
				}
				if err := s.Settle(); err != nil {
					return err
				}
				return s.Runs(s.cluster(s.args[0]), release)
			}),
			"told": script(1, 2, func(s *scene) error {
				return s.told(func() (all []string) {
					for n := 1; n <= 50; n++ {
						for _, c := range s.repo.Comments(n) {
							if strings.HasSuffix(c.User, "[bot]") {
								all = append(all, c.Body)
							}
						}
					}
					return all
				})
			}),
			"chat": script(2, 2, func(s *scene) error {
				return s.inChat(func(user string) error { _, err := s.lab.slack.Command(user, "C1", s.args[1]); return err })
			}),
			"mention": script(2, 2, func(s *scene) error {
				return s.inChat(func(user string) error { return s.lab.slack.Mention(user, "C1", s.args[1]) })
			}),
			"chat-press": script(2, 3, func(s *scene) error {
				return s.inChat(func(user string) error {
					err := s.lab.slack.Press(user, "C1", s.args[1])
					if err == nil && len(s.args) == 3 {
						err = s.lab.slack.Submit(user, s.args[2])
					}
					return err
				})
			}),
			"browse": script(2, 2, func(s *scene) error {
				if s.lab.browsers == nil {
					s.lab.browsers = map[string]*browser{}
				}
				b := s.lab.browsers[s.args[0]]
				if b == nil {
					b = s.lab.browser()
					s.lab.browsers[s.args[0]] = b
				}
				status, at, body, err := b.follow(s.args[1], s.args[0])
				if err == nil && strings.Contains(body, `href="/auth/login?`) {
					status, at, body, err = b.follow("/auth/login?to="+url.QueryEscape(strings.TrimPrefix(at, publicURL)), s.args[0])
				}
				return s.looks(b, status, at, body, err)
			}),
			"submit": script(1, 1, func(s *scene) error {
				b := s.lab.browsers[s.args[0]]
				if b == nil {
					return fmt.Errorf("%s looks at no page", s.args[0])
				}
				_, page, _ := strings.Cut(b.page, "<main")
				form := formFields.FindStringSubmatch(page)
				if form == nil {
					return errors.New("the page has no form")
				}
				fields := url.Values{}
				for _, f := range hiddenField.FindAllStringSubmatch(form[2], -1) {
					fields.Set(f[1], f[2])
				}
				status, to, body, err := b.send(form[1], fields)
				if err == nil && to != "" {
					status, to, body, err = b.follow(to, s.args[0])
				}
				return s.looks(b, status, to, body, err)
			}),
			"direct": script(2, 3, func(s *scene) error {
				user := slackUsers[s.args[0]]
				s.args = s.args[1:]
				return s.told(func() (all []string) {
					for _, m := range s.lab.slack.Messages(user) {
						all = append(all, fmt.Sprintf("%s %s", m.Text, m.Blocks))
					}
					return all
				})
			}),
			"desk":         script(2, 2, func(s *scene) error { return s.atDesk(s.lab.wecom.Say) }),
			"desk-press":   script(2, 2, func(s *scene) error { return s.atDesk(s.lab.wecom.PressApp) }),
			"helper":       script(2, 2, func(s *scene) error { return s.withHelper(s.lab.wecom.Mention) }),
			"helper-alone": script(2, 2, func(s *scene) error { return s.withHelper(s.lab.wecom.TellSmart) }),
			"helper-press": script(2, 2, func(s *scene) error { return s.withHelper(s.lab.wecom.PressSmart) }),
			"desk-told": script(2, 3, func(s *scene) error {
				user := s.args[0] + ".w"
				s.args = s.args[1:]
				return s.told(func() []string { return s.deskMessages(user) })
			}),
			"callbacks":  script(0, 0, func(s *scene) error { return s.lab.wecom.CheckCallbacks() }),
			"desk-again": script(0, 0, func(s *scene) error { return errors.Join(s.lab.wecom.Again(), s.Settle()) }),
			"desk-fail": script(2, 2, func(s *scene) error {
				code, err := strconv.Atoi(s.args[0])
				s.Check(err)
				n, err := strconv.Atoi(s.args[1])
				s.lab.wecom.FailNextApp(code, n)
				return err
			}),
			"expire-token": script(0, 0, func(s *scene) error { s.lab.wecom.ExpireToken(); return nil }),
			"socket": script(1, 1, func(s *scene) error {
				before, _ := s.lab.slack.Sockets()
				switch s.args[0] {
				case "on":
					s.lab.slack.SetSocketMode(appToken)
					return nil
				case "lose":
					s.lab.slack.LoseAcks(1)
					return nil
				case "open":
					before = 0
				case "refresh":
					s.lab.slack.Disconnect("refresh_requested")
				case "break":
					s.lab.slack.Disconnect("")
				default:
					return fmt.Errorf("%s is none of its verbs", s.args[0])
				}
				return until("the bot has a connection", func() error {
					if made, open := s.lab.slack.Sockets(); made <= before || open == 0 {
						return errors.New("it has none")
					}
					return nil
				})
			}),
			"wecom": script(1, 2, func(s *scene) error {
				return s.told(func() (all []string) {
					for _, m := range s.lab.wecom.Messages(robotKey) {
						all = append(all, markup.ReplaceAllString(m.Content, ""))
					}
					return all
				})
			}),
			"slack": script(1, 2, func(s *scene) error {
				return s.told(func() (all []string) {
					for _, channel := range []string{"C1", "C2"} {
						for _, m := range s.lab.slack.Messages(channel) {
							if m.EphemeralFor != "" { // it is an answer
								continue
							}
							where := channel
							if m.ThreadTS != "" {
								where += " reply"
							}
							if m.Broadcast {
								where += " aloud"
							}
							all = append(all, fmt.Sprintf("%s %s %s", where, m.Text, m.Blocks))
						}
					}
					return all
				})
			}),
			"order": script(2, 2, func(s *scene) error {
				pattern, err := regexp.Compile(s.args[1])
				s.Check(err)
				var text string
				err = until("the comment of order "+s.args[0], func() (err error) {
					if text, err = s.Order(s.args[0]); err == nil && !pattern.MatchString(text) {
						err = fmt.Errorf("it is:\n%s", text)
					}
					return err
				})
				_, _ = fmt.Fprintln(s.Stdout(), text)
				return err
			}),
			"page": script(2, 2, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				text, err := s.Page(s.args[0], s.args[1])
				_, _ = fmt.Fprintln(s.Stdout(), text)
				return err
			}),
			"seen": script(3, 3, func(s *scene) error {
				pattern, err := regexp.Compile(s.args[2])
				s.Check(err)
				return until("the page says so", func() error {
					text, err := s.Page(s.args[0], s.args[1])
					if err == nil && !pattern.MatchString(text) {
						err = fmt.Errorf("it is:\n%s", text)
					}
					return err
				})
			}),
			"pulls": script(2, 2, func(s *scene) error {
				if image := s.cluster(s.args[0]).Image(); !strings.HasPrefix(image, s.args[1]+"@") {
					return fmt.Errorf("it pulls %s", image)
				}
				return nil
			}),
			"registry": script(1, 2, func(s *scene) error {
				n, err := strconv.Atoi(append(s.args, "0")[1])
				s.Check(err)
				digest := ""
				if n > 0 {
					rel, err := s.Release(n)
					s.Check(err)
					digest = rel.Images.V[0].Digest
				}
				return s.lab.registry.Do(s.args[0], digest)
			}),
			"builds": script(1, 1, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				if n := len(s.builder.Requests()); strconv.Itoa(n) != s.args[0] {
					return fmt.Errorf("there were %d builds", n)
				}
				return nil
			}),
			"audited": script(1, 1, func(s *scene) error {
				lines, err := s.lookup("SELECT group_concat(actor || ' ' || action || ' ' || repo || ' ' || detail, char(10)) FROM audit")
				if err == nil && !regexp.MustCompile(s.args[0]).MatchString(lines) {
					err = fmt.Errorf("the audit has:\n%s", lines)
				}
				return err
			}),
			"await": script(1, 2, func(s *scene) error {
				return until("something waits", func() error {
					if s.args[0] == "github" {
						pattern, err := regexp.Compile(append(s.args, "")[1])
						s.Check(err)
						if slices.ContainsFunc(s.gh.Requests(), func(r sim.Request) bool { return pattern.MatchString(r.Method + " " + r.Path) }) {
							return nil
						}
						return fmt.Errorf("GitHub was not asked")
					}
					if s.args[0] == "copy" {
						if s.lab.registry.Held() == 0 {
							return errors.New("no copy does")
						}
						return nil
					}
					if s.args[0] == "build" && s.builder.Blocked() > 0 || s.args[0] != "build" && s.cluster(s.args[0]).Waiting() > 0 {
						return nil
					}
					return fmt.Errorf("%s does not", s.args[0])
				})
			}),
			"release": script(1, 1, func(s *scene) error {
				if s.args[0] == "build" {
					s.builder.Release()
				} else {
					s.cluster(s.args[0]).Release()
				}
				return nil
			}),
			"grant": script(2, 3, func(s *scene) error {
				s.repo.SetPermission(s.args[0], s.args[1], append(s.args, "")[2])
				return s.Settle()
			}),
			"team": script(1, 3, func(s *scene) error {
				team := "release"
				if len(s.args) == 3 {
					team = s.args[2]
				}
				switch verb := append(s.args, "add")[1]; verb {
				case "add":
					s.gh.AddTeamMember("acme", team, s.args[0], "member")
				case "remove":
					s.gh.RemoveTeamMember("acme", team, s.args[0])
				case "invite":
					s.gh.InviteTeamMember("acme", team, s.args[0])
				case "in":
					s.gh.NestTeam("acme", s.args[0], team)
				default:
					return fmt.Errorf("%s is none of its verbs", verb)
				}
				return s.Settle()
			}),
			"app": script(2, 2, func(s *scene) error {
				i, _ := s.gh.Installation("acme")
				if i.Permissions[s.args[0]] = s.args[1]; s.args[1] == "none" {
					delete(i.Permissions, s.args[0])
				}
				s.gh.SetInstallation("acme", i.Permissions, false)
				return nil
			}),
			"public": script(0, 0, func(s *scene) error { s.repo.SetPublic(true); return nil }),
			"github": script(4, 4, func(s *scene) error {
				status, err := strconv.Atoi(s.args[2])
				if err != nil {
					return err
				}
				times, err := strconv.Atoi(s.args[3])
				s.gh.Fail(s.args[0], s.args[1], status, times, 0)
				return err
			}),
			"server": script(2, 2, func(s *scene) error {
				if !strings.Contains(s.lab.server, s.args[0]) {
					return fmt.Errorf("the server's file has no %q", s.args[0])
				}
				s.lab.server = strings.Replace(s.lab.server, s.args[0], strings.ReplaceAll(s.args[1], `\n`, "\n"), 1)
				if err := s.Stop(); err != nil {
					return err
				}
				return s.Start()
			}),
			"tick": script(1, 1, func(s *scene) error {
				d, err := time.ParseDuration(s.args[0])
				if err != nil {
					return err
				}
				return s.Tick(d)
			}),
			"foreign": script(4, 4, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				s.repo.Foreign(s.args[0], s.args[1], s.args[2], strings.TrimPrefix(s.args[3], "running"))
				return nil
			}),
			"posts": script(4, 4, func(s *scene) error {
				s.clock.Advance(2 * time.Second)
				return s.repo.ForeignStatus(s.args[0], s.args[1], s.args[2], s.args[3])
			}),
			"ruleset": script(3, 9, func(s *scene) error {
				s.repo.AddRuleOf(s.args[0], strings.TrimPrefix(s.args[1], "any"), s.args[2:]...)
				return nil
			}),
			"protect": script(3, 9, func(s *scene) error {
				s.repo.RequireChecksOf(s.args[0], strings.TrimPrefix(s.args[1], "any"), s.args[2:]...)
				return nil
			}),
			"said": script(1, 1, func(s *scene) error {
				pattern, err := regexp.Compile(s.args[0])
				s.Check(err)
				return until("the bot says so", func() error {
					var all []string
					for _, c := range s.repo.Comments(s.pr()) {
						if c.User == "shipmate[bot]" {
							all = append(all, c.Body)
						}
					}
					if slices.ContainsFunc(all, pattern.MatchString) {
						return nil
					}
					return fmt.Errorf("it says:\n%s", strings.Join(all, "\n\n"))
				})
			}),
			"mend": script(0, 0, func(s *scene) error { s.gh.Recover(); return nil }),
			"lost": script(0, 0, func(s *scene) error {
				if err := s.Settle(); err != nil {
					return err
				}
				s.gh.SetHook("", "")
				return nil
			}),
			"found": script(0, 0, func(s *scene) error {
				if err := s.gh.Flush(context.Background()); err != nil {
					return err
				}
				s.gh.SetHook(s.url+"/webhooks/github", hookSecret)
				return nil
			}),
			"down": script(0, 0, func(s *scene) error { return s.lab.Stop() }),
			"start": script(0, 0, func(s *scene) error {
				if err := s.gh.Flush(context.Background()); err != nil {
					return err
				}
				return s.Start()
			}),
			"up": script(0, 0, func(s *scene) error {
				if err := s.gh.Flush(context.Background()); err != nil {
					return err
				}
				if err := s.Start(); err != nil {
					return err
				}
				return s.Redeliver()
			}),
			"crash": script(0, 0, func(s *scene) error {
				if err := s.Crash(); err != nil {
					return err
				}
				return s.Start()
			}),
		},
	})
}

// scene is a lab at one command of a script.
type scene struct {
	*testscript.TestScript
	*lab
	args []string
}

// script makes a command of a function: its error is a no.
func script(least, most int, fn func(*scene) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < least || len(args) > most {
			ts.Fatalf("%d to %d arguments are needed", least, most)
		}
		err := fn(&scene{ts, ts.Value("lab").(*lab), slices.Clone(args)})
		switch {
		case err == nil && neg:
			ts.Fatalf("it should not be so")
		case err != nil && !neg:
			ts.Fatalf("%v", err)
		}
	}
}

func (s *scene) cluster(name string) *fakeCluster {
	return map[string]*fakeCluster{"test": s.test, "prod": s.prod}[name]
}

// checkRun is the newest check run of a name once the bot has come to rest.
func (s *scene) checkRun(sha, name string) (newest sim.CheckRun, err error) {
	if err := s.Settle(); err != nil {
		return newest, err
	}
	for _, run := range s.repo.CheckRuns(sha) {
		if run.Name == name {
			newest = run
		}
	}
	if newest.ID == 0 {
		err = fmt.Errorf("%.7s has no check run %s", sha, name)
	}
	return newest, err
}

func (s *scene) pr() int {
	n, err := strconv.Atoi(s.Getenv("PR"))
	if err != nil { // no pull request: an issue does
		n = s.repo.OpenIssue("alice", "Something")
		s.Setenv("PR", strconv.Itoa(n))
	}
	return n
}

func (s *scene) comment() error {
	id, err := s.Comment(s.pr(), s.args[0], strings.ReplaceAll(s.args[1], `\n`, "\n"))
	s.Setenv("COMMENT", strconv.FormatInt(id, 10))
	return err
}

func (s *scene) last() int64 {
	id, err := strconv.ParseInt(s.Getenv("COMMENT"), 10, 64)
	s.Check(err)
	return id
}

func (s *scene) answer() error {
	reaction, reply, err := s.Answer(s.pr(), s.last())
	s.Check(err)
	_, _ = fmt.Fprintln(s.Stdout(), reply)
	if reaction != "rocket" {
		return fmt.Errorf("the answer was %s: %s", reaction, reply)
	}
	return nil
}

// markup is what WeCom's markdown has besides text.
var markup = regexp.MustCompile(`</?font[^>]*>|\*\*`)

// told looks for a message that matches once the bot has come to rest.
func (s *scene) told(messages func() []string) error {
	if err := s.Settle(); err != nil {
		return err
	}
	pattern, err := regexp.Compile(s.args[0])
	s.Check(err)
	all := messages()
	n := 0
	for _, m := range all {
		if pattern.MatchString(m) {
			n++
		}
	}
	if n == 0 && len(s.args) == 1 || len(s.args) == 2 && strconv.Itoa(n) != s.args[1] {
		return fmt.Errorf("%d of %d messages match:\n%s", n, len(all), strings.Join(all, "\n\n"))
	}
	return nil
}

var (
	formFields  = regexp.MustCompile(`(?s)<form method="post" action="([^"]+)">(.*?)</form>`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)">`)
	linkInChat  = regexp.MustCompile(`[<(](https://[^|>)]+)[|)]`)
	digits      = regexp.MustCompile(`(?:link|绑定) (\d{6})<`)
)

// looks prints a page that somebody looks at; $DIGITS are those that it shows.
func (s *scene) looks(b *browser, status int, at, body string, err error) error {
	if err != nil {
		return err
	}
	b.page = body
	_, main, _ := strings.Cut(body, "<main")
	_, _ = fmt.Fprintln(s.Stdout(), main)
	if d := digits.FindStringSubmatch(main); d != nil {
		s.Setenv("DIGITS", d[1])
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s answers %d", at, status)
	}
	return nil
}

// slackUsers are who people are in Slack; mallory is in no server's file.
var slackUsers = map[string]string{"alice": "U01", "bob": "U02", "carol": "U03", "mallory": "U04", "dave": "U05", "erin": "U06", "root": "U07"}

// inChat has somebody do something in Slack, and prints what they alone see of it once the bot has come to rest.
func (s *scene) inChat(do func(user string) error) error {
	user := slackUsers[s.args[0]]
	return s.talk(func() error { return do(user) }, func() (all []string) {
		for _, m := range s.lab.slack.Messages("C1") {
			if m.EphemeralFor != user {
				continue
			}
			text := m.Text
			for _, b := range m.Buttons() {
				text += "[" + b.Label + "]"
			}
			all = append(all, text)
		}
		return all
	})
}

// atDesk is inChat with WeCom's app, which answers its callbacks before it tells anybody anything.
func (s *scene) atDesk(do func(user, text string) error) error {
	user := s.args[0] + ".w"
	told := func() []string { return s.deskMessages(user) }
	return s.talk(func() error {
		before := len(told())
		if err := do(user, s.args[1]); err != nil {
			return err
		}
		return until("the app answers", func() error {
			if len(told()) == before {
				return errors.New("it says nothing")
			}
			return nil
		})
	}, told)
}

// withHelper is inChat with WeCom's smart robot.
func (s *scene) withHelper(do func(user, text string) error) error {
	return s.talk(func() error { return do(s.args[0]+".w", s.args[1]) }, func() (all []string) {
		for _, m := range s.lab.wecom.SmartMessages() {
			all = append(all, m.Content+cardText(m.Card))
		}
		return all
	})
}

// deskMessages are what a member has from WeCom's app, as it looks now.
func (s *scene) deskMessages(user string) (all []string) {
	for _, m := range s.lab.wecom.AppMessages(user) {
		text := markup.ReplaceAllString(m.Content, "") + cardText(m.Card)
		if m.Replaced != "" {
			text += " → " + m.Replaced
		}
		all = append(all, text)
	}
	return all
}

// cardText is what people read on a card: its title, its facts, its text, and its buttons in brackets.
func cardText(c *sim.RobotCard) string {
	if c == nil {
		return ""
	}
	all := []string{strings.TrimSpace(c.MainTitle.Title + " " + c.MainTitle.Desc)}
	for _, f := range c.HorizontalContents {
		all = append(all, f.KeyName+" "+f.Value)
	}
	if all = append(all, c.SubTitle); len(c.Buttons) > 0 {
		buttons := ""
		for _, b := range c.Buttons {
			buttons += "[" + b.Text + "]"
		}
		all = append(all, buttons)
	}
	return strings.Join(all, "\n")
}

// talk has somebody do something in a chat, and prints what there is to be read of it once the bot has come to rest.
func (s *scene) talk(do func() error, read func() []string) error {
	if err := s.Settle(); err != nil { // a button is what the newest message shows
		return err
	}
	s.clock.Advance(2 * time.Second)
	before := len(read())
	if err := errors.Join(do(), s.Settle()); err != nil {
		return err
	}
	said := strings.Join(read()[before:], "\n")
	if link := linkInChat.FindStringSubmatch(said); link != nil {
		s.Setenv("LINK", link[1])
	}
	_, _ = fmt.Fprintln(s.Stdout(), said)
	if strings.Contains(said, "🔴") {
		return errors.New("it was refused")
	}
	return nil
}
