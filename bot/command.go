package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// A command is one row of the table: what people can say.
type command struct {
	name  string
	also  string // other names; the Chinese ones mean it where the surface speaks Chinese
	usage string
	need  permission // of whoever says it; an environment may ask for more
	help  text.Key
	acts  bool // rather than only read: one that comes late is not obeyed before its author confirms it
	run   func(c *call, ctx context.Context, args []string) (outcome, error)
}

// An outcome is what a command does, in one transaction with everything else that its event does, and its answer.
type outcome func(*store.Tx) (answer, error)

// An answer is what a command is answered with.
type answer struct {
	text string // in the marks of text.Quote
	run  string // the run whose release it is about: on GitHub that one's living comment tells it; empty: it is a reply of its own
	// The release order that it is about, whose one comment tells it where that is; nil: it is about none.
	order *store.Order
}

// reply is an answer about no release.
func reply(text string, err error) (answer, error) { return answer{text: text}, err }

// tells is an answer that the living comment of a release tells.
func tells(run, text string, err error) (answer, error) { return answer{text: text, run: run}, err }

// A Refusal is the answer to a command that is not obeyed, in words for the person, in the marks of text.Quote.
type Refusal struct{ Text string }

func (r *Refusal) Error() string { return text.Plain(r.Text) }

// table is every command, in the order of the help. It is a function because the help reads it.
func table() []command {
	return []command{
		{"help", "帮助", "/help [command]", none, text.HelpHelp, false, (*call).help},
		{"status", "状态", "/status [env]", read, text.HelpStatus, false, (*call).status},
		{"history", "历史", "/history [env]", read, text.HelpHistory, false, (*call).history},
		{"why", "原因", "/why [delivery|run|deployment]", write, text.HelpWhy, false, (*call).why},
		{"diff", "对比", "/diff env [release]", write, text.HelpDiff, false, (*call).diff},
		{"logs", "日志", "/logs [step]", write, text.HelpLogs, false, (*call).logs},
		{"deploy", "部署", "/deploy env [release|sha] [when green]", write, text.HelpDeploy, true, (*call).deploy},
		{"promote", "发布", "/promote env [release]", read, text.HelpPromote, true, (*call).promote},                  // the environment's deployers, or write
		{"rollback", "回滚", "/rollback env [to release] [reason…]", read, text.HelpRollback, true, (*call).rollback}, // the same
		{"approve", "批准", "/approve [id]", read, text.HelpApprove, true, (*call).approve},
		{"reject", "驳回", "/reject [id] reason…", read, text.HelpReject, true, (*call).reject},
		{"lock", "锁定", "/lock env|all [for 2h] reason…", write, text.HelpLock, true, (*call).lock},
		{"unlock", "解锁", "/unlock env|all", write, text.HelpUnlock, true, (*call).unlock},
		{"pause", "暂停", "/pause env", read, text.HelpPause, true, (*call).pause},
		{"resume", "继续", "/resume env", read, text.HelpResume, true, (*call).resume},
		{"abort", "中止", "/abort env", read, text.HelpAbort, true, (*call).abort},
		{"cancel", "取消", "/cancel [run|deployment] [number]", read, text.HelpCancel, true, (*call).cancel}, // write, or who started it
		{"rebuild", "重试", "/rebuild [check]", write, text.HelpRebuild, true, (*call).rebuild},
		{"ok-to-test", "允许测试", "/ok-to-test sha", write, text.HelpOkToTest, true, (*call).okToTest},
		{"order", "release 发布单", `/order create env app@release… "reason", /order show|run|cancel id`, read, text.HelpOrder, true, (*call).order},
		{"subscribe", "订阅", "/subscribe app [events]", write, text.HelpSubscribe, true, (*call).subscribe},
		{"unsubscribe", "退订", "/unsubscribe app", write, text.HelpUnsubscribe, true, (*call).subscribe},
		{"link", "绑定", "/link [code]", none, text.HelpLink, true, (*call).inChats}, // there it is heard before it is a command
	}
}

// names are those that mean the command in a language, its own first.
func (c *command) names(lang text.Lang) []string {
	names := []string{c.name}
	for _, n := range strings.Fields(c.also) {
		if n[0] < utf8.RuneSelf || lang == text.Zh {
			names = append(names, n)
		}
	}
	return names
}

// votes tells whether the command is a vote, which is a person's alone.
func (c *command) votes() bool { return c.name == "approve" || c.name == "reject" }

// otherwise is the permission that the command takes in an environment whose file lists nobody for it; none where no list says who
// may say it, or the permission of its row is needed in any case.
func (c *command) otherwise() permission {
	switch c.name {
	case "promote", "rollback", "pause", "resume", "abort":
		return write
	case "approve", "reject":
		return maintain
	}
	return none
}

// find finds a command by any of its names in a language.
func find(name string, lang text.Lang) *command {
	name = strings.ToLower(name)
	for _, c := range table() {
		if slices.Contains(c.names(lang), name) {
			return &c
		}
	}
	return nil
}

// A call is who says commands, and where. It is all that a command knows of its surface: the answers are rendered by
// whoever made it.
type call struct {
	bot      *Bot
	client   *github.Client
	repo     store.Repo
	login    string
	via      string // github, api, page, or a chat: its kind and name
	event    string
	language text.Lang // of the surface
	pull     int       // the pull request that it was said on, 0 for none
	issue    int       // the pull request or issue that it was said on, 0 for none
	sha      string    // the commit that it was said at, where the surface shows one: a check run
	said     time.Time // when, by the surface's clock
	heard    time.Time // when it came to us, by our clock
	about    string    // the app that it is about, empty: the arguments name one of several
	several  bool      // the repository has several apps, so that commands have to name one; app finds it out
	channel  string    // of the chat, where something can be said there besides answers
	named    string    // the app that was named in a chat, where the forms of commands name it too
	bound    string    // what a button in a chat showed: what is approved by it, the deployment gone back from, or that whose release is promoted; empty: it is not known
	d        *decision

	cmd *command
}

func (c *call) lang() text.Lang { return c.language }

// obey decides the lines that a person said, in their order. Their outcomes are to be had by answers, in the transaction
// that decides the event. An error means that it could not be decided and is to be tried again.
func (c *call) obey(ctx context.Context, lines []line) (all []outcome, err error) {
	for _, l := range lines {
		fn, err := c.run(ctx, l)
		if err != nil {
			return nil, err
		}
		all = append(all, fn)
	}
	return all, nil
}

// answers carries outcomes out. A refusal is an answer too, and refused tells that there was one.
func answers(tx *store.Tx, all []outcome) (said []answer, refused bool, err error) {
	for _, fn := range all {
		a, err := fn(tx)
		var no *Refusal
		if errors.As(err, &no) {
			refused, a = true, answer{text: no.Text}
			var l leaving
			if errors.As(err, &l) {
				if err := l.leave(tx); err != nil {
					return nil, false, err
				}
			}
		} else if err != nil {
			return nil, false, err
		}
		said = append(said, a)
	}
	return said, refused, nil
}

// no is an outcome that refuses.
func (c *call) no(key text.Key, args ...any) outcome {
	return func(*store.Tx) (answer, error) { return answer{}, c.refuse(key, args...) }
}

func (c *call) refuse(key text.Key, args ...any) error {
	r := &Refusal{c.lang().Say(key, args...)}
	c.d.note("refused: %s", r)
	return r
}

// form is how the command is written.
func (c *call) form() string { return code(c.typed(c.cmd.usage)) }

// typed is how a command has to be written here: in a chat with the app as the first argument.
func (c *call) typed(form string) string {
	if !c.inChat() {
		return c.bot.typed(form)
	}
	return c.bot.typedIn(c.via, form, c.named)
}

// typed is how a command has to be written in a comment: /name alone means us only where the server lets it.
func (b *Bot) typed(form string) string {
	if b.cfg.GitHub.BareCommands {
		return form
	}
	return "/shipmate " + strings.TrimPrefix(form, "/")
}

func (c *call) usage() outcome { return c.no(text.Usage, c.form()) }

// near adds a guess to a refusal.
func (c *call) near(no outcome, name string, known []string) outcome {
	guess := nearest(name, known)
	if guess == "" {
		return no
	}
	return func(tx *store.Tx) (answer, error) {
		_, err := no(tx)
		var r *Refusal
		if errors.As(err, &r) {
			r.Text += " " + c.lang().Say(text.NearestName, guess)
		}
		return answer{}, err
	}
}

// run obeys one line. An error means that it could not be decided and is to be tried again.
func (c *call) run(ctx context.Context, l line) (outcome, error) {
	own := *c // each line's outcome speaks of its own command
	c = &own
	c.cmd = find(l.Name, c.lang())
	c.d.note("command %s by %s", strings.Join(append([]string{"/" + l.Name}, l.Args...), " "), c.login)
	if c.cmd == nil { // only one that was addressed to us comes here
		return c.unknownCommand(l.Name), nil
	}
	if l.Err != nil {
		return c.no(text.OpenQuote, c.form()), nil
	}
	if c.via == viaAPI && c.cmd.votes() {
		return c.no(text.NoTokenVotes), nil
	}
	if answer, err := c.needs(ctx, c.cmd.need); answer != nil || err != nil {
		return answer, err
	}
	fn, err := c.cmd.run(c, ctx, l.Args)
	var r *Refusal
	if errors.As(err, &r) {
		return func(*store.Tx) (answer, error) { return answer{}, r }, nil
	}
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) (a answer, err error) {
		err = tx.Nested(func() error { a, err = fn(tx); return err })
		if err == nil {
			c.d.note("obeyed /%s", l.Name)
			err = c.record(tx, l, a)
		}
		return a, err
	}, nil
}

// names lists names in code spans: in them nobody is notified.
func names(list []string) string {
	if len(list) == 0 {
		return "—"
	}
	quoted := make([]string, len(list))
	for i, n := range list {
		quoted[i] = code(n)
	}
	return strings.Join(quoted, ", ")
}

// code marks what is shown as code or was typed: every surface renders it as nothing but text.
func code(s string) string { return text.Quote(s) }

// target takes the app (where there are several) and the environment off the arguments.
func (c *call) target(ctx context.Context, args []string) (a app, env *pipeline.Environment, rest []string, no outcome, err error) {
	a, args, no, err = c.app(ctx, args)
	if no != nil || err != nil {
		return a, nil, nil, no, err
	}
	if len(args) == 0 {
		return a, nil, nil, c.usage(), nil
	}
	env, ok := a.config.Environment(strings.ToLower(args[0]))
	if !ok {
		known := a.config.EnvironmentNames()
		return a, nil, nil, c.near(c.no(text.UnknownEnvironment, code(args[0]), names(known), c.form()), args[0], known), nil
	}
	return a, env, args[1:], nil, nil
}

func nearest(name string, known []string) string {
	if n := pipeline.Nearest(strings.ToLower(name), known); n != "" {
		return code(n)
	}
	return ""
}

func isEnvironment(a app, name string) bool {
	if a.config == nil {
		return false
	}
	_, ok := a.config.Environment(strings.ToLower(name))
	return ok
}

// app takes the app off the arguments: it is implied where there is one.
func (c *call) app(ctx context.Context, args []string) (a app, rest []string, no outcome, err error) {
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, "", c.d)
	if err != nil {
		return a, nil, nil, err
	}
	if len(apps) == 0 {
		return a, nil, c.no(text.NoFile, code(c.repo.DefaultBranch)), nil
	}
	c.several = len(apps) > 1
	i := -1
	if c.about != "" {
		if i = slices.IndexFunc(apps, func(a app) bool { return a.name == c.about }); i >= 0 {
			args = slices.Insert(slices.Clone(args), 0, c.about)
		}
	} else if len(args) > 0 {
		i = slices.IndexFunc(apps, func(a app) bool { return a.name == args[0] })
	}
	switch {
	case i >= 0 && (len(apps) > 1 || c.about != "" || !isEnvironment(apps[i], args[0]) || len(args) > 1 && isEnvironment(apps[i], args[1])):
		a, args = apps[i], args[1:]
	case len(apps) == 1 && c.about == "":
		a = apps[0]
	default:
		var known []string
		for _, a := range apps {
			known = append(known, a.name)
		}
		return a, nil, c.no(text.WhichApp, names(known), c.form()), nil
	}
	if a.err != nil {
		return a, nil, c.no(text.FileMistakes, code(a.file), code(a.err.Error())), nil
	}
	return a, args, nil, nil
}

// place is how people write an environment of an app that was named in a command.
func (c *call) place(a app, env *pipeline.Environment) string {
	return scope{a.name, env.Name}.name(c.several)
}

// place is how people write an environment of an app, where no command named it.
func place(tx *store.Tx, repo, app, env string) (string, error) {
	apps, err := tx.Apps(repo)
	return scope{app, env}.name(len(apps) > 1), err
}

// mistakes refuses what needs the file of an app, as it is now, where that has mistakes or is gone; nil where it is well.
func (c *call) mistakes(apps []app, name string) (a app, no outcome) {
	i := slices.IndexFunc(apps, func(x app) bool { return x.name == name })
	switch {
	case i < 0:
		return a, c.no(text.NoFile, code(c.repo.DefaultBranch))
	case apps[i].config == nil:
		return a, c.no(text.FileMistakes, code(apps[i].file), code(fmt.Sprint(apps[i].err)))
	}
	return apps[i], nil
}

// deploy takes the newest release of a commit to an environment; one that does not exist yet is built first.
func (c *call) deploy(ctx context.Context, args []string) (outcome, error) {
	a, env, args, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if len(args) > 0 && strings.EqualFold(args[0], "now!") {
		return c.breakGlass(ctx, a, env, args[1:])
	}
	args, green := whenGreen(args)
	adopt := len(args) > 0 && strings.EqualFold(args[0], "adopt")
	if adopt {
		args = args[1:]
	}
	if len(args) > 1 || adopt && green {
		return c.usage(), nil
	}
	if no, err := c.listed(ctx, env.Deployers, write); no != nil || err != nil {
		return no, err
	}
	q, err := request(a.config, env, store.CauseDeploy, c.login, c.event)
	if err != nil {
		return nil, err
	}
	q.Pull = c.issue
	if adopt {
		if q.Spec, err = json.Marshal(pipeline.Spec{Environment: *env, Notify: a.config.Notify, Adopt: true}); err != nil {
			return nil, err
		}
		if len(args) == 0 {
			return c.showAdoption(ctx, a, env, q)
		}
		if len(args[0]) >= 7 {
			return c.no(text.NoSuchRelease, code(args[0]), c.form()), nil // what is not built yet was not shown
		}
	}
	if green {
		q.Green, q.At = true, c.bot.db.Now()
	}
	if len(args) == 1 && len(args[0]) < 7 {
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return c.no(text.NoSuchRelease, code(args[0]), c.form()), nil
		}
		return c.green(q, func(tx *store.Tx) (answer, error) {
			rel, err := c.release(tx, a.name, n)
			if err != nil {
				return answer{}, err
			}
			return c.start(tx, env, rel, q)
		}), nil
	}
	return c.deployHead(ctx, a, env, args, q)
}

// showAdoption tells what a deployment would take over from others, and how it is said that it shall.
func (c *call) showAdoption(ctx context.Context, a app, env *pipeline.Environment, q store.Request) (outcome, error) {
	rel, lines, no, err := c.compare(ctx, a, env, 0, q)
	if no != nil || err != nil {
		return no, err
	}
	said := c.lang().Say(text.DiffNone, rel.Number, code(env.Name))
	if len(lines) > 0 {
		said = c.lang().Say(text.AdoptOf, rel.Number, code(env.Name), code(c.typed(fmt.Sprintf("/deploy %s adopt %d", c.place(a, env), rel.Number)))) + "\n\n" + c.block(lines)
	}
	return func(*store.Tx) (answer, error) { return reply(said, nil) }, nil
}

// deployHead takes the newest release of a commit that a request means to an environment; args are the commit, or empty
// for the head.
func (c *call) deployHead(ctx context.Context, a app, env *pipeline.Environment, args []string, q store.Request) (outcome, error) {
	sha, ref, no, err := c.commit(ctx, args, func(head string) string {
		form := "/deploy " + c.place(a, env)
		switch {
		case q.Cause == store.CauseNow: // it names no commit: who says it again sees the newest
			form += strings.TrimPrefix(line{Args: append([]string{"now!"}, strings.Fields(q.Note)...)}.String(), "/")
		case q.Green:
			form += " " + head + " when green"
		default:
			form += " " + head
		}
		return code(c.typed(form))
	})
	if no != nil || err != nil {
		return no, err
	}
	if q.Cause != store.CauseNow && !pipeline.Allows(env, ref, c.repo.DefaultBranch) {
		return c.no(text.WrongBranch, code(env.Name), code(strings.TrimPrefix(ref, "refs/heads/"))), nil
	}
	// What a build of this commit would be, in case there is none.
	owner, name := split(c.repo.Name)
	gc, _, err := c.client.Repositories.GetCommit(ctx, owner, name, sha, nil)
	if err != nil {
		return nil, err
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, sha, c.d)
	if err != nil {
		return nil, err
	}
	built, no := c.mistakes(apps, a.name)
	if no != nil {
		return no, nil
	}
	author := gc.GetAuthor().GetLogin()
	if author == "" {
		author = gc.GetCommit().GetAuthor().GetName()
	}
	run := store.Run{Repo: c.repo.Name, App: a.name, Ref: ref, SHA: sha, Subject: firstLine(gc.GetCommit().GetMessage()), Author: author,
		Sender: c.login, Cause: store.CauseCommand, Pull: c.pull, Event: c.event}
	return c.green(q, func(tx *store.Tx) (answer, error) {
		rel, err := tx.ReleaseOf(c.repo.Name, a.name, sha)
		if err == nil && rel.Ref == ref {
			return c.start(tx, env, rel, q)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return answer{}, err
		}
		if err := c.locked(tx, a.name, env.Name); err != nil {
			return answer{}, err
		}
		if built.config.Build.Image == "" {
			return c.newestPushed(tx, built.config, env, sha, ref, len(args) == 0, q)
		}
		building, err := tx.RunOf(c.repo.Name, a.name, sha)
		if err == nil && building.Ref == ref && !store.Final(building.State) {
			c.d.note("run %d of this commit is under way: deploy when it succeeds", building.Number)
			return tells(building.ID, c.lang().Say(text.DeployAfterBuild, code(env.Name), code(sha[:7])), tx.RequestDeploy(building, q))
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return answer{}, err
		}
		c.d.note("there is no release of %.7s: build it", sha)
		id, err := newRun(tx, run, built.config, []store.Request{q})
		return tells(id, c.lang().Say(text.DeployAfterBuild, code(env.Name), code(sha[:7])), err)
	}), nil
}

// commit finds the commit that a /deploy means, and the branch that it is on. exact is the command that means a head, and no other.
func (c *call) commit(ctx context.Context, args []string, exact func(head string) string) (sha, ref string, no outcome, err error) {
	owner, name := split(c.repo.Name)
	branch := c.repo.DefaultBranch
	var head string
	if c.pull != 0 {
		pr, _, err := c.client.PullRequests.Get(ctx, owner, name, c.pull)
		if err != nil {
			return "", "", nil, err
		}
		if !strings.EqualFold(pr.GetHead().GetRepo().GetFullName(), c.repo.Name) {
			return "", "", c.no(text.Fork), nil
		}
		branch, head = pr.GetHead().GetRef(), pr.GetHead().GetSHA()
	} else {
		if head, err = headOf(ctx, c.client, c.repo.Name, "refs/heads/"+branch); err != nil {
			return "", "", nil, err
		}
		if head == "" {
			return "", "", c.no(text.NoSuchCommit, code("HEAD"), code(branch)), nil
		}
	}
	ref = "refs/heads/" + branch
	if len(args) == 1 {
		// A commit counts when the branch holds it: a fork's commits can be named in this repository too.
		cmp, _, err := c.client.Repositories.CompareCommits(ctx, owner, name, args[0], head, &github.ListOptions{PerPage: 1})
		if err != nil {
			if declined(err) {
				return "", "", c.no(text.NoSuchCommit, code(args[0]), code(branch)), nil
			}
			return "", "", nil, err
		}
		if s := cmp.GetStatus(); s != "ahead" && s != "identical" {
			return "", "", c.no(text.NoSuchCommit, code(args[0]), code(branch)), nil
		}
		if sha = cmp.GetBaseCommit().GetSHA(); !strings.HasPrefix(sha, strings.ToLower(args[0])) { // GitHub takes names of branches too, which move
			return "", "", c.no(text.NoSuchCommit, code(args[0]), code(branch)), nil
		}
		return sha, ref, nil, nil
	}
	// The head that whoever commented could have seen: GitHub's own times of the pushes decide.
	pushes, _, err := activity(ctx, c.client, c.repo.Name, ref, "")
	if err != nil {
		if declined(err) {
			return "", "", c.no(text.HeadUnknown, exact(head)), nil
		}
		return "", "", nil, err
	}
	for _, p := range pushes {
		if !p.Timestamp.Before(c.said.Truncate(time.Second)) {
			c.d.note("%s was pushed at %s, the comment is of %s", p.After, p.Timestamp, c.said)
			return "", "", c.no(text.HeadMoved, code(branch), code(p.Before[:min(7, len(p.Before))]), code(p.After[:min(7, len(p.After))]), exact(head)), nil
		}
	}
	if len(pushes) == 0 || pushes[0].After != head {
		return "", "", c.no(text.HeadUnknown, exact(head)), nil
	}
	c.d.note("the head %.7s of %s was there when the comment was written", head, branch)
	return head, ref, nil, nil
}

func (c *call) release(tx *store.Tx, app string, n int) (store.Release, error) {
	rel, err := tx.Release(c.repo.Name, app, n)
	if errors.Is(err, store.ErrNotFound) {
		return rel, c.refuse(text.NoSuchRelease, n, c.form())
	}
	return rel, err
}

// start makes the deployment of a release that exists.
func (c *call) start(tx *store.Tx, env *pipeline.Environment, rel store.Release, q store.Request) (answer, error) {
	if q.Cause != store.CauseNow && !pipeline.Allows(env, rel.Ref, c.repo.DefaultBranch) {
		return answer{}, c.refuse(text.WrongBranch, code(env.Name), code(strings.TrimPrefix(rel.Ref, "refs/heads/")))
	}
	if err := c.locked(tx, rel.App, env.Name); err != nil {
		return answer{}, err
	}
	live, err := tx.Live(rel.Repo, rel.App, env.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return answer{}, err
	}
	if err == nil && live.Release == rel.Number && !pipeline.Adopts(q.Spec) {
		open, err := tx.OpenDeployments(rel.Repo, rel.App, env.Name)
		if err != nil {
			return answer{}, err
		}
		if len(open) == 0 {
			return answer{}, c.refuse(text.AlreadyLive, rel.Number, code(env.Name))
		}
	}
	d, err := pipeline.NewDeployment(tx, rel, q)
	if err != nil {
		return answer{}, err
	}
	c.d.note("deployment %d: release %d to %s", d.Number, rel.Number, env.Name)
	err = tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: q.Cause, Repo: c.repo.Name, Subject: "deployment/" + d.ID,
		Detail: fmt.Sprintf("release %d of %s to %s", rel.Number, rel.App, env.Name)})
	return tells(rel.Run, c.lang().Say(text.Started, d.Number, rel.Number, code(env.Name), c.bot.page("deployments", d.ID)), err)
}

// promote takes what is live in the environment before to this one: the same release, so the same digests.
func (c *call) promote(ctx context.Context, args []string) (outcome, error) {
	a, env, args, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if no, err := c.listed(ctx, env.Deployers, write); no != nil || err != nil {
		return no, err
	}
	if env.After == "" {
		return c.no(text.NothingBefore, code(env.Name), code(c.typed("/deploy "+c.place(a, env)))), nil
	}
	if len(args) > 1 {
		return c.usage(), nil
	}
	q, err := request(a.config, env, store.CausePromote, c.login, c.event)
	if err != nil {
		return nil, err
	}
	q.Pull = c.issue
	return func(tx *store.Tx) (answer, error) {
		var rel store.Release
		if len(args) == 1 {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return answer{}, c.refuse(text.NoSuchRelease, code(args[0]), c.form())
			}
			if rel, err = c.release(tx, a.name, n); err != nil {
				return answer{}, err
			}
		} else {
			live, err := tx.Live(c.repo.Name, a.name, env.After)
			if errors.Is(err, store.ErrNotFound) {
				return answer{}, c.refuse(text.NothingLive, code(env.After))
			}
			if err != nil {
				return answer{}, err
			}
			if rel, err = tx.Release(c.repo.Name, a.name, live.Release); err != nil {
				return answer{}, err
			}
		}
		if c.bound != "" { // or who presses twice would take the place of what they have just asked for, and of its votes
			open, err := tx.OpenDeployments(c.repo.Name, a.name, env.Name)
			if err != nil {
				return answer{}, err
			}
			if slices.ContainsFunc(open, func(d store.Deployment) bool { return d.Release == rel.Number }) {
				return answer{}, c.refuse(text.ButtonChanged)
			}
		}
		return c.start(tx, env, rel, q)
	}, nil
}

// rollback goes back to what an environment had before, with the stored objects of that deployment.
func (c *call) rollback(ctx context.Context, args []string) (outcome, error) {
	if number, reason := namedOrder(args); number > 0 {
		return c.rollbackOrder(ctx, number, strings.Join(reason, " "))
	}
	a, env, args, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if no, err := c.listed(ctx, env.Deployers, write); no != nil || err != nil {
		return no, err
	}
	to := 0
	if len(args) > 0 && args[0] == "to" {
		if len(args) < 2 {
			return c.usage(), nil
		}
		if to, err = strconv.Atoi(args[1]); err != nil || to < 1 {
			return c.no(text.NoSuchRelease, code(args[1]), c.form()), nil
		}
		args = args[2:]
	} else if len(args) > 0 {
		if _, err := strconv.Atoi(args[0]); err == nil { // a release without its "to" is no reason
			return c.usage(), nil
		}
	}
	reason := strings.Join(args, " ")
	if no, err := c.imageGone(ctx, a, env, to); no != nil || err != nil {
		return no, err
	}
	return func(tx *store.Tx) (answer, error) {
		current, err := tx.Current(c.repo.Name, a.name, env.Name)
		if errors.Is(err, store.ErrNotFound) {
			return answer{}, c.refuse(text.NothingLive, code(env.Name))
		}
		if err != nil {
			return answer{}, err
		}
		if c.bound != "" {
			back, err := store.Optional(tx.RollbackOf(current.ID)) // one that was asked for and has not begun yet
			if err != nil {
				return answer{}, err
			}
			if c.bound != current.ID || back != nil {
				return answer{}, c.refuse(text.ButtonChanged)
			}
		}
		target, err := c.rollbackTarget(tx, a, env, to)
		if err == nil && to > 0 && current.State == store.Succeeded && current.Release == to {
			return answer{}, c.refuse(text.AlreadyLive, to, code(env.Name))
		}
		if errors.Is(err, store.ErrNotFound) {
			return answer{}, c.refuse(text.NothingToRollBackTo, code(env.Name))
		}
		if err != nil {
			return answer{}, err
		}
		changed, beside, err := tx.Touched(current)
		if err != nil {
			return answer{}, err
		}
		lives := 0 // what stayed live while it was on its way
		if store.Active(current.State) {
			live, err := store.Optional(tx.Live(c.repo.Name, a.name, env.Name))
			if err != nil {
				return answer{}, err
			}
			if live != nil {
				lives = live.Release
			}
			if _, err := tx.Cancel(current, c.login); err != nil {
				return answer{}, err
			}
		}
		d, err := pipeline.NewRollback(tx, current, target, store.CauseRollback, c.login, c.event)
		if err != nil {
			return answer{}, err
		}
		c.d.note("deployment %d: back to release %d", d.Number, d.Release)
		before := ""
		if beside && !changed && target.Release == lives {
			before = c.lang().Say(text.BackFromBeside, current.Number, current.Release, target.Release) + " "
		}
		said := before + c.lang().Say(text.RollbackStarted, d.Number, code(env.Name), d.Release, code(c.typed("/unlock "+c.place(a, env))), c.bot.page("deployments", d.ID))
		ran, err := tx.JobsSince(target)
		if err != nil {
			return answer{}, err
		}
		if len(ran) > 0 {
			said += " " + c.lang().Say(text.JobsRanSince, names(ran))
		}
		passed, passedAudit := c.passed(c.bot.cfg.Floor(env.Cluster, env.Approvals).Count)
		err = errors.Join(
			tx.PutHold(store.Hold{Repo: c.repo.Name, App: a.name, Environment: env.Name, By: c.login, Reason: text.Fit(reason, maxReason), Issue: c.issue}),
			c.passLocks(tx, d),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "rollback", Repo: c.repo.Name, Subject: "deployment/" + d.ID,
				Detail: fmt.Sprintf("%s back from release %d to %d%s: %s", env.Name, current.Release, d.Release, passedAudit, reason)}))
		return tells(d.Run, said+passed, err)
	}, nil
}
