package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// A decision is what an event comes to: what is written in one transaction, and the trace of how it was reached.
type decision struct {
	trace []string
	apply []func(*store.Tx) error
}

func (d *decision) note(format string, args ...any) {
	d.trace = append(d.trace, fmt.Sprintf(format, args...))
}

func (d *decision) do(fn func(*store.Tx) error) { d.apply = append(d.apply, fn) }

// event decides one stored event, see settle, and writes that in a transaction of its own.
func (b *Bot) event(ctx context.Context, id string, _ int) (time.Time, error) {
	write, err := b.settle(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	return time.Time{}, b.db.Update(ctx, write)
}

// settle decides one stored event. Reading the world comes first; write does what follows, in one transaction together with
// the mark that the event is decided, so that it has its effect exactly once.
func (b *Bot) settle(ctx context.Context, id string) (write func(*store.Tx) error, err error) {
	var e store.Event
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { e, err = tx.Event(id); return err }); err != nil {
		return nil, err
	}
	if !e.DecidedAt.IsZero() {
		return func(*store.Tx) error { return nil }, nil
	}
	b.tracer.deciding(id)
	d := &decision{trace: e.Trace.V}
	d.note("%s of %s, received %s", e.Kind, repoOr(e.Repo), e.ReceivedAt.Format(time.RFC3339))
	if err := b.decide(ctx, e, d); err != nil {
		return nil, err
	}
	return func(tx *store.Tx) error {
		if e, err := tx.Event(id); err != nil || !e.DecidedAt.IsZero() {
			return err // nil: the event was decided meanwhile
		}
		for _, fn := range d.apply {
			if err := fn(tx); err != nil {
				return err
			}
		}
		if e.Via == store.ViaLog { // decided in its turn, so that its own task has nothing left to do
			if err := tx.Drop(store.TaskEvent, id); err != nil {
				return err
			}
		}
		return tx.Decide(id, d.trace)
	}, nil
}

func repoOr(repo *string) string {
	if repo == nil {
		return "no repository"
	}
	return *repo
}

func (b *Bot) decide(ctx context.Context, e store.Event, d *decision) error {
	switch e.Kind {
	case "push", "issue_comment", "pull_request", "check_run", "check_suite", "status", "member", "membership", "organization", "team", "team_add", "repository":
	case kindCommand:
		return b.command(ctx, e, d)
	case kindLook:
		return b.lookAgain(ctx, e, d)
	case kindGap:
		return b.gap(ctx, e, d)
	case kindReplay:
		return b.replay(ctx, e, d)
	case kindSchedule:
		return b.schedule(ctx, e, d)
	case kindTrigger:
		return b.trigger(ctx, e, d)
	case kindRegistry:
		return b.registryPush(ctx, e, d)
	case "registry_package", "package":
		return b.packagePushed(ctx, e, d)
	default:
		d.note("nothing is done on a %s", e.Kind)
		return nil
	}
	payload, err := github.ParseWebHook(e.Kind, e.Body)
	if err != nil {
		d.note("the body cannot be read, so nothing is done: %v", err)
		return nil
	}
	switch p := payload.(type) {
	case *github.PushEvent:
		r := cmp.Or(p.GetRepo(), &github.PushEventRepository{})
		return b.withRepo(e, d, p.GetInstallation(), &github.Repository{FullName: r.FullName, ID: r.ID, DefaultBranch: r.DefaultBranch, Private: r.Private, HTMLURL: r.HTMLURL},
			func(repo store.Repo) error {
				d.do(func(tx *store.Tx) error { return rebased(tx, repo.Name, p.GetRef(), p.GetSender().GetLogin()) })
				return b.push(ctx, e, p, repo, d)
			})
	case *github.PullRequestEvent:
		return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(repo store.Repo) error { return b.pullRequest(ctx, e, p, repo, d) })
	case *github.IssueCommentEvent:
		return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(repo store.Repo) error { return b.comment(ctx, e, p, repo, d) })
	case *github.CheckRunEvent:
		return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(repo store.Repo) error { return b.checkRun(ctx, e, p, repo, d) })
	case *github.CheckSuiteEvent:
		return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(repo store.Repo) error { return b.checkSuite(ctx, e, p, repo, d) })
	case *github.StatusEvent:
		return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(repo store.Repo) error { return b.statusSet(e, p, repo, d) })
	case *github.RepositoryEvent:
		b.peopleChanged(e, d)
		if a := p.GetAction(); a == "publicized" || a == "privatized" { // who sees its pages, and what is posted, goes by that
			return b.withRepo(e, d, p.GetInstallation(), p.GetRepo(), func(store.Repo) error { return nil })
		}
		return nil
	case *github.MemberEvent, *github.MembershipEvent, *github.OrganizationEvent, *github.TeamEvent, *github.TeamAddEvent:
		b.peopleChanged(e, d)
		return nil
	default: // the body is null
		d.note("the body holds no %s, so nothing is done", e.Kind)
	}
	return nil
}

// withRepo goes on only for a repository that may use this server.
func (b *Bot) withRepo(e store.Event, d *decision, inst *github.Installation, r *github.Repository, fn func(store.Repo) error) error {
	repo := store.Repo{Name: r.GetFullName(), ID: r.GetID(), Installation: inst.GetID(), DefaultBranch: r.GetDefaultBranch(), Private: r.GetPrivate(), HTMLURL: r.GetHTMLURL()}
	if repo.Name == "" || repo.Installation == 0 || repo.DefaultBranch == "" {
		d.note("it names no repository, installation or default branch, so nothing is done")
		return nil
	}
	if err := b.cfg.MayUseServer(repo.Name); err != nil {
		d.note("refused: %v", err)
		return nil
	}
	d.do(func(tx *store.Tx) error {
		known, err := store.Optional(tx.Repo(repo.Name))
		if err != nil {
			return err
		}
		if known != nil && e.Via == store.ViaLog { // it may tell how things were
			if newer, err := tx.HeardSince(repo.Name, e.DeliveredAt.Time); err != nil || newer {
				return err
			}
		}
		if known == nil {
			if err := tx.Wake(taskDeclare, repo.Name); err != nil {
				return err
			}
		}
		return tx.PutRepo(repo)
	})
	return fn(repo)
}

// asNow is withRepo for an event that does not come from GitHub, which is asked what the repository is now.
func (b *Bot) asNow(ctx context.Context, e store.Event, d *decision, fn func(*github.Client, store.Repo) error) error {
	var known store.Repo
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { known, err = tx.Repo(*e.Repo); return err }); err != nil {
		return err
	}
	c := b.hub.client(known.Installation)
	owner, name := split(known.Name)
	r, _, err := c.Repositories.Get(ctx, owner, name)
	if declined(err) {
		d.note("the repository cannot be read any more, so nothing is done: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	return b.withRepo(e, d, &github.Installation{ID: &known.Installation}, r, func(repo store.Repo) error { return fn(c, repo) })
}

// begin queues the run of a plan that no push stands behind. skip, which may be nil, says in the transaction why there is
// none after all.
func (d *decision) begin(e store.Event, cfg *pipeline.Config, plan pipeline.Plan, run store.Run, skip func(*store.Tx) (string, error)) error {
	requests, err := automatic(cfg, plan, run)
	if err != nil {
		return err
	}
	d.do(func(tx *store.Tx) error {
		known, err := knownRun(tx, e, run)
		if err != nil || known != nil {
			return err
		}
		if skip != nil {
			if why, err := skip(tx); err != nil || why != "" {
				d.note("%s", why)
				return err
			}
		}
		_, err = newRun(tx, run, cfg, requests)
		return err
	})
	return nil
}

// newRun queues a run and returns its id.
func newRun(tx *store.Tx, run store.Run, cfg *pipeline.Config, requests []store.Request) (id string, err error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return "", err
	}
	run.Config.V, run.Deploys.V = text, requests
	steps := cfg.RunSteps()
	if run.Cause == store.CausePull { // nothing is pushed
		steps = slices.DeleteFunc(steps, func(s string) bool { return s == pipeline.StepResolve })
	}
	err = tx.NewRun(&run, steps...)
	return run.ID, err
}

// brokenRun records a run that fails at once, because its file has mistakes: whoever pushed sees them where they look.
func brokenRun(tx *store.Tx, run store.Run, mistakes error) error {
	run.Config.V = json.RawMessage("{}")
	if err := tx.NewRun(&run, pipeline.StepConfig); err != nil {
		return err
	}
	lines := strings.Split(mistakes.Error(), "\n")
	return tx.EndRun(run.ID, store.RunFailed, lines[0], &store.Failure{Step: pipeline.StepConfig, Reason: lines[0], Logs: lines,
		Hint: "bot check shows the same before you push"})
}

// request asks for a deployment to an environment, as the file says now.
func request(cfg *pipeline.Config, env *pipeline.Environment, cause, login, event string) (store.Request, error) {
	spec, err := json.Marshal(pipeline.Spec{Environment: *env, Notify: cfg.Notify})
	return store.Request{Environment: env.Name, Cause: cause, Requester: login, Event: event, Spec: spec}, err
}

// An app is one declared application of a repository, as one commit would build it.
type app struct {
	name     string
	file     string
	reviewed *pipeline.Config // the default branch's file; nil when it has mistakes
	config   *pipeline.Config // what rules a run of the commit; nil when either file has mistakes
	err      error            // the mistakes
}

// apps reads the apps of a repository: the default branch's files say which there are and what they may; from the
// commit's files comes how it is built.
//
// reviewed is where the default branch's files are read; sha is the commit, empty where none is built.
func (b *Bot) apps(ctx context.Context, c *github.Client, repo store.Repo, reviewed, sha string, d *decision) ([]app, error) {
	var files, shipped []repoFile
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { files, err = repoFiles(gctx, c, repo.Name, reviewed); return err })
	if sha != "" && sha != reviewed {
		g.Go(func() (err error) { shipped, err = repoFiles(gctx, c, repo.Name, sha); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if sha == "" || sha == reviewed {
		shipped = files
	}
	if len(files) == 0 {
		d.note("the default branch %s has no .shipmate.yaml, so nothing is done", repo.DefaultBranch)
	}
	var apps []app
	for _, f := range files {
		a := app{file: f.Name}
		a.reviewed, a.err = pipeline.Parse(f.Name, f.Data)
		if a.err != nil {
			d.note("%s of %s has mistakes: %v", f.Name, repo.DefaultBranch, a.err)
			a.reviewed, a.name = nil, nameOf(f.Name, repo.Name)
			apps = append(apps, a)
			continue
		}
		a.reviewed = a.reviewed.WithDefaults(repo.Name, repo.DefaultBranch)
		a.name = a.reviewed.App
		var own *pipeline.Config
		if i := slices.IndexFunc(shipped, func(s repoFile) bool { return s.Name == f.Name }); i >= 0 {
			if own, a.err = pipeline.Parse(f.Name, shipped[i].Data); a.err != nil {
				d.note("%s of %.7s has mistakes: %v", f.Name, sha, a.err)
			}
		}
		if a.err == nil {
			a.config = pipeline.Effective(a.reviewed, own)
			if sha == "" {
				d.note("%s of %s is read", f.Name, repo.DefaultBranch)
			} else {
				d.note("%s: build from %.7s, everything else from %s", f.Name, sha, repo.DefaultBranch)
			}
		}
		apps = append(apps, a)
	}
	seen := map[string]string{}
	for i := range apps {
		a := &apps[i]
		if other, ok := seen[a.name]; ok {
			a.err = fmt.Errorf("%s: app: %q is declared by %s too; rename one", a.file, a.name, other)
			a.reviewed, a.config = nil, nil
			d.note("%v", a.err)
			continue
		}
		seen[a.name] = a.file
	}
	return apps, nil
}

// nameOf is what an app is called whose file cannot be read.
func nameOf(file, repo string) string {
	base := strings.TrimSuffix(strings.TrimSuffix(file[strings.LastIndex(file, "/")+1:], ".yaml"), ".yml")
	if base == ".shipmate" {
		_, base = split(repo)
	}
	return base
}

// firstLine is the subject of a commit message.
func firstLine(message string) string {
	s, _, _ := strings.Cut(message, "\n")
	return strings.TrimSpace(s)
}

// authorOf is the login of a commit's author, or the name that the commit gives where GitHub knows none.
func authorOf(c *github.HeadCommit) string {
	if l := c.GetAuthor().GetLogin(); l != "" {
		return l
	}
	return c.GetAuthor().GetName()
}

// comment obeys the commands of a comment.
func (b *Bot) comment(ctx context.Context, e store.Event, p *github.IssueCommentEvent, repo store.Repo, d *decision) error {
	login := p.GetComment().GetUser().GetLogin()
	if p.GetAction() != "created" {
		d.note("a comment that is %s is never a command", p.GetAction())
		return nil
	}
	if p.GetComment().GetUser().GetType() != "User" || p.GetSender().GetLogin() != login {
		d.note("%s is no person, so nothing is read", login)
		return nil
	}
	if p.GetIssue().GetNumber() == 0 {
		d.note("it stands on no issue and no pull request, so nothing is read")
		return nil
	}
	lines, more := commands(p.GetComment().GetBody(), b.slug(), b.cfg.GitHub.BareCommands, b.lang)
	if len(lines) == 0 {
		d.note("it holds no command")
		return nil
	}
	c := b.hub.client(repo.Installation)
	owner, name := split(repo.Name)
	reply := store.Reply{Event: e.ID, Repo: repo.Name, Issue: p.GetIssue().GetNumber(), Comment: p.GetComment().GetID(), Reaction: "rocket"}
	call := &call{bot: b, client: c, repo: repo, login: login, via: "github", event: e.ID, language: b.lang, issue: reply.Issue, said: p.GetComment().GetCreatedAt().Time, heard: e.ReceivedAt.Time, d: d}
	if p.GetIssue().IsPullRequest() {
		call.pull = p.GetIssue().GetNumber()
	}
	g, gctx := errgroup.WithContext(ctx)
	// Seen: said before the work begins. It does no harm twice, GitHub keeps one reaction of a kind.
	g.Go(func() error {
		err := b.hub.write(repo, "eyes "+e.ID, true, func(c *github.Client, owner, name string) error {
			_, _, err := c.Reactions.CreateIssueCommentReaction(gctx, owner, name, p.GetComment().GetID(), "eyes")
			return err
		})
		if declined(err) || errors.As(err, new(*limited)) {
			return nil // on a comment that is gone: it is void below; or without room: the answer does not wait for it
		}
		return err
	})
	// Read again: an edit or a deletion since makes it void.
	var now *github.IssueComment // nil when it is gone
	g.Go(func() (err error) {
		now, _, err = c.Issues.GetComment(gctx, owner, name, p.GetComment().GetID())
		return ignoreNotFound(err)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if now.GetBody() != p.GetComment().GetBody() {
		d.note("the comment was edited or deleted since, so it is void")
		reply.Reaction, reply.Body = "confused", b.lang.Say(text.CommentEdited)
		if now == nil {
			reply.Body = b.lang.Say(text.CommentDeleted)
		}
		d.do(onceFor(e, reply.Comment, d, func(tx *store.Tx) error { return tx.PutReply(reply) }))
		return nil
	}
	all, err := call.inTime(ctx, e, lines)
	if err != nil {
		return err
	}
	if more {
		all = append(all, call.no(text.TooManyCommands, maxCommands))
	}
	d.do(onceFor(e, reply.Comment, d, func(tx *store.Tx) error {
		said, refused, err := answers(tx, all)
		if err != nil {
			return err
		}
		if refused {
			reply.Reaction = "confused"
		}
		for _, a := range said {
			if a.run != "" { // the living comment of its release tells it
				reply.About = a.run
			} else if a.text != "" && (a.order == nil || a.order.Pull != reply.Issue) { // else the order's own comment tells it
				reply.Body = b.append(reply.Body, text.Markdown(a.text))
			}
		}
		return tx.PutReply(reply)
	}))
	return nil
}
