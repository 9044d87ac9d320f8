package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/runlog"
	"github.com/shipmate-dev/shipmate/store"
)

// unknownCommand answers somebody who addressed us by a name that is none.
func (c *call) unknownCommand(name string) outcome {
	var known []string
	for _, cmd := range table() {
		known = append(known, cmd.names(c.lang())...)
	}
	return c.near(c.no(text.NoSuchCommand, code(c.typed("/help"))), name, known)
}

// help lists what the person may say here; of a command that is named it tells everything, also to who may not say it.
func (c *call) help(ctx context.Context, args []string) (outcome, error) {
	has, err := c.bot.access.permission(ctx, c.client, c.repo.Name, c.login)
	if err != nil {
		return c.unknown(err)
	}
	if len(args) > 0 {
		name := strings.TrimLeft(args[0], "/／")
		cmd := find(name, c.lang())
		if cmd == nil {
			return c.unknownCommand(name), nil
		}
		return c.helpOn(cmd, has), nil
	}
	var lines []string
	may := c.somewhere(ctx, has)
	for _, cmd := range table() {
		if cmd.need <= has && may[cmd.otherwise()] {
			lines = append(lines, fmt.Sprintf("- %s %s", code(c.typed(cmd.usage)), c.lang().Say(cmd.help)))
		}
	}
	return func(*store.Tx) (answer, error) {
		return reply(c.lang().Say(text.HelpIntro, code(c.repo.Name))+"\n\n"+strings.Join(lines, "\n"), nil)
	}, nil
}

// somewhere tells, by what a command takes where the file lists nobody, whether there is an environment in which the person may say
// it. Where that cannot be read, their permission alone counts, since the help refuses nobody.
func (c *call) somewhere(ctx context.Context, has permission) map[permission]bool {
	may := map[permission]bool{none: true}
	if has < read {
		return may
	}
	apps, err := c.bot.apps(ctx, c.client, c.repo, c.repo.DefaultBranch, "", &decision{})
	if err != nil || len(apps) == 0 {
		may[write], may[maintain] = has >= write, has >= maintain
		return may
	}
	for _, a := range apps {
		if a.config == nil {
			continue
		}
		for _, env := range a.config.Environments {
			for otherwise, list := range map[permission][]string{write: env.Deployers, maintain: env.Approvals.By} {
				yes := has >= otherwise
				if len(list) > 0 {
					if yes, err = c.bot.access.oneOf(ctx, c.client, c.repo.Name, c.login, list); err != nil {
						yes = has >= otherwise
					}
				}
				may[otherwise] = may[otherwise] || yes
			}
		}
	}
	return may
}

// helpOn tells of one command how it is written, by which other names it goes, and who may say it.
func (c *call) helpOn(cmd *command, has permission) outcome {
	lines := []string{fmt.Sprintf("%s %s", code(c.typed(cmd.usage)), c.lang().Say(cmd.help))}
	var also []string
	for _, n := range cmd.names(c.lang())[1:] {
		also = append(also, c.typed("/"+n))
	}
	if len(also) > 0 {
		lines = append(lines, c.lang().Say(text.HelpAlso, names(also)))
	}
	switch {
	case cmd.need == none:
		lines = append(lines, c.lang().Say(text.HelpAnyone))
	case cmd.otherwise() != none:
		lines = append(lines, c.lang().Say(text.HelpListed, cmd.otherwise(), has))
	default:
		lines = append(lines, c.lang().Say(text.HelpNeeds, cmd.need, has))
	}
	return func(*store.Tx) (answer, error) { return reply(strings.Join(lines, "\n\n"), nil) }
}

// inChats refuses what is said in a chat alone.
func (c *call) inChats(ctx context.Context, args []string) (outcome, error) {
	return c.no(text.InChatsOnly, c.form()), nil
}

const (
	maxHistory = 20 // deployments of one environment
	fewHistory = 5  // of each where none is named
)

// history lists what was deployed to an environment, or to each.
func (c *call) history(ctx context.Context, args []string) (outcome, error) {
	a, args, no, err := c.app(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	envs, limit := a.config.Environments, fewHistory
	if len(args) > 1 {
		return c.usage(), nil
	}
	if len(args) > 0 {
		env, ok := a.config.Environment(strings.ToLower(args[0]))
		if !ok {
			known := a.config.EnvironmentNames()
			return c.near(c.no(text.UnknownEnvironment, code(args[0]), names(known), c.form()), args[0], known), nil
		}
		envs, limit = []pipeline.Environment{*env}, maxHistory
	}
	var parts []string
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		for _, env := range envs {
			all, err := tx.Begun(c.repo.Name, a.name, env.Name, limit)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				parts = append(parts, c.lang().Say(text.HistoryNone, code(env.Name)))
				continue
			}
			lines := []string{c.lang().Say(text.HistoryOf, code(env.Name)), ""}
			for _, d := range all {
				rel, err := tx.Release(d.Repo, d.App, d.Release)
				if err != nil {
					return err
				}
				by := d.Requester
				if d.Cause == store.CauseRecovery {
					by = "shipmate"
				}
				lines = append(lines, "- "+c.lang().Say(text.HistoryLine, d.Number, d.Release, code(rel.SHA[:7]), c.lang().Cause(d.Cause), code(by),
					c.lang().Time(d.BeganAt.UTC()), c.lang().State(d.State)))
			}
			parts = append(parts, strings.Join(lines, "\n"))
		}
		return nil
	})
	return func(*store.Tx) (answer, error) { return reply(strings.Join(parts, "\n\n"), nil) }, err
}

// private tells whether what comes from logs and clusters may be told where the command was said: a comment on a public repository is
// read by everybody.
func (c *call) private() bool { return c.repo.Private || c.via == viaAPI || c.via == viaPage }

// compareTimeout is how long a comparison may hold up its answer.
const compareTimeout = 15 * time.Second

// diff tells what a deployment would change in the cluster now.
func (c *call) diff(ctx context.Context, args []string) (outcome, error) {
	a, env, args, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	number := 0
	if len(args) > 1 {
		return c.usage(), nil
	}
	if len(args) == 1 {
		if number, err = strconv.Atoi(args[0]); err != nil || number < 1 {
			return c.no(text.NoSuchRelease, code(args[0]), c.form()), nil
		}
	}
	q, err := request(a.config, env, store.CauseDeploy, c.login, c.event)
	if err != nil {
		return nil, err
	}
	rel, lines, no, err := c.compare(ctx, a, env, number, q)
	if no != nil || err != nil {
		return no, err
	}
	said := c.lang().Say(text.DiffNone, rel.Number, code(env.Name))
	if len(lines) > 0 {
		said = c.lang().Say(text.DiffOf, rel.Number, code(env.Name)) + "\n\n" + c.block(lines)
	}
	return func(*store.Tx) (answer, error) { return reply(said, nil) }, nil
}

// compare is what the deployment of a release that a request asks for would change in the cluster now; number is the release, 0: see
// comparable.
func (c *call) compare(ctx context.Context, a app, env *pipeline.Environment, number int, q store.Request) (rel *store.Release, lines []string, no outcome, err error) {
	var newest *store.Deployment
	err = c.bot.db.View(ctx, func(tx *store.Tx) (err error) {
		if newest, err = store.Optional(tx.Current(c.repo.Name, a.name, env.Name)); err != nil {
			return err
		}
		rel, err = c.comparable(tx, a.name, env, number)
		return err
	})
	switch {
	case err != nil:
		return nil, nil, nil, err
	case rel == nil && number > 0:
		return nil, nil, c.no(text.NoSuchRelease, number, c.form()), nil
	case rel == nil:
		return nil, nil, c.no(text.NothingToCompare, code(env.Name), c.form()), nil
	case !c.private():
		page := c.bot.page("runs", rel.Run)
		if newest != nil {
			page = c.bot.page("deployments", newest.ID)
		}
		return nil, nil, c.no(text.NotInPublic, page), nil
	}
	within, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	lines, err = c.bot.engine.Compare(within, store.Deployment{Repo: rel.Repo, App: rel.App, Environment: env.Name, Release: rel.Number, Spec: store.JSON[json.RawMessage]{V: q.Spec}}, *rel, c.repo)
	if ctx.Err() != nil {
		return nil, nil, nil, ctx.Err()
	}
	if err != nil {
		why := c.bot.engine.Mask(err.Error())
		if within.Err() != nil {
			why = c.lang().Say(text.DiffTooLong, c.lang().Duration(compareTimeout))
		}
		return nil, nil, c.no(text.DiffFailed, rel.Number, code(env.Name), code(why)), nil
	}
	c.d.note("release %d would change %d lines in %s", rel.Number, len(lines), env.Name)
	return rel, lines, nil, nil
}

// comparable is the release that is named, or else the one that would go to an environment next: what a promotion would take, or
// the newest of the default branch. It is nil where there is none.
func (c *call) comparable(tx *store.Tx, app string, env *pipeline.Environment, number int) (*store.Release, error) {
	if number > 0 {
		return store.Optional(tx.Release(c.repo.Name, app, number))
	}
	if env.After != "" {
		live, err := store.Optional(tx.Live(c.repo.Name, app, env.After))
		if err != nil || live == nil {
			return nil, err
		}
		return store.Optional(tx.Release(c.repo.Name, app, live.Release))
	}
	return store.Optional(tx.ReleaseOn(c.repo.Name, app, branchPrefix+c.repo.DefaultBranch))
}

// block shows lines of a log or a cluster, without the server's secrets.
func (c *call) block(lines []string) string {
	masked := make([]string, len(lines))
	for i, l := range lines {
		masked[i] = c.bot.engine.Mask(l)
	}
	return codeBlock(masked)
}

const (
	maxLogLines  = 50    // of a step that are shown
	lookedAtLogs = 20000 // of the end of a log, in which those of one step are looked for
)

// A jobLog is what a Job of a deployment's flow wrote.
type jobLog struct {
	d    store.Deployment
	step store.Step
}

// jobLogs are those of the newest deployment to each environment of a run's release, the newest last.
func jobLogs(tx *store.Tx, all []store.Deployment) (found []jobLog, err error) {
	for i, d := range all {
		if slices.ContainsFunc(all[i+1:], func(later store.Deployment) bool { return later.Environment == d.Environment && later.RollbackOf == "" }) {
			continue
		}
		steps, err := tx.Steps(d.ID)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			if s.Result.V != nil && len(s.Result.V.Logs) > 0 {
				found = append(found, jobLog{d, s})
			}
		}
	}
	return found, nil
}

// logs shows the end of the log of a step: of the one that is named, or that failed, or that was written last. Of a deployment there is
// what its failure tells, and what the Jobs of its flow wrote.
func (c *call) logs(ctx context.Context, args []string) (outcome, error) {
	a, args, no, err := c.app(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if len(args) > 1 {
		return c.usage(), nil
	}
	head, no, err := c.head(ctx)
	if no != nil || err != nil {
		return no, err
	}
	var run *store.Run
	var steps []store.Step
	var failed *store.Deployment // the newest of the run's release that failed
	var jobs []jobLog
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		if run, err = store.Optional(tx.RunAt(c.repo.Name, a.name, head)); run == nil || err != nil {
			return err
		}
		if steps, err = tx.Steps(run.ID); err != nil {
			return err
		}
		all, err := tx.DeploymentsOf(run.ID)
		for _, d := range all {
			if d.State == store.Failed && d.Failure.V != nil {
				failed = &d
			}
		}
		if err == nil {
			jobs, err = jobLogs(tx, all)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if run == nil {
		return c.no(text.NothingBuiltYet, code(head[:7]), code(a.name)), nil
	}
	step := ""
	var job *jobLog
	switch {
	case len(args) == 1 && failed != nil && c.means(args[0], failed.Failure.V.Step):
		step = failed.Failure.V.Step
	case len(args) == 1 && slices.ContainsFunc(jobs, func(j jobLog) bool { return c.meansJob(args[0], j) }):
		for _, j := range jobs { // the newest
			if c.meansJob(args[0], j) {
				job = &j
			}
		}
		failed = nil
	case len(args) == 1:
		for _, j := range jobs {
			steps = append(steps, store.Step{Kind: j.step.Kind})
		}
		if step, no = c.step(args[0], steps, text.NoSuchStep); no != nil {
			return no, nil
		}
		failed = nil
	case failed != nil:
		step = failed.Failure.V.Step
	case run.Failure.V != nil:
		step = run.Failure.V.Step
	}
	if !c.private() {
		page := c.bot.page("runs", run.ID)
		if failed != nil {
			page = c.bot.page("deployments", failed.ID)
		}
		if job != nil {
			page = c.bot.page("deployments", job.d.ID)
		}
		return c.no(text.NotInPublic, page), nil
	}
	var intro string
	var lines []string
	if job != nil {
		intro = c.lang().Say(text.LogOfJob, code(job.step.Result.V.Object), job.d.Number, code(job.d.Environment))
		lines = lastLines(job.step.Result.V.Logs)
	} else if failed != nil {
		intro = c.lang().Say(text.LogOfDeployment, failed.Number, code(failed.Environment), c.lang().Step(step))
		f := failed.Failure.V
		lines = append(lines, strings.TrimPrefix(f.Where+": "+f.Reason, ": "))
		if f.Event != "" {
			lines = append(lines, f.Event)
		}
		lines = append(lines, lastLines(f.Logs)...)
	} else {
		last, found, err := c.bot.logTail(run.ID, step)
		if err != nil {
			return nil, err
		}
		step = cmp.Or(step, last)
		what := c.lang().Step(cmp.Or(step, pipeline.StepBuild))
		if len(found) == 0 {
			return c.no(text.NoLog, code(what)), nil
		}
		intro = c.lang().Say(text.LogOfRun, code(what), run.Number, c.lang().State(run.State))
		lines = found
	}
	return func(*store.Tx) (answer, error) { return reply(intro+"\n\n"+c.block(lines), nil) }, nil
}

// means tells whether a word is the name of a kind of step.
func (c *call) means(word, kind string) bool {
	return strings.EqualFold(word, kind) || strings.EqualFold(word, c.lang().Step(kind))
}

// meansJob tells whether a word means a Job of a flow: job, its step, the file of its manifest or its name in the cluster.
func (c *call) meansJob(word string, j jobLog) bool {
	_, rest, _ := strings.Cut(j.step.Kind, "/")
	_, file, _ := strings.Cut(rest, "/")
	return strings.EqualFold(word, "job") || word == file || word == path.Base(file) || word == j.step.Result.V.Object || c.means(word, j.step.Kind)
}

func lastLines(lines []string) []string { return lines[max(0, len(lines)-maxLogLines):] }

// logTail is the end of what a step of a run wrote; without a step it is that of the step that wrote last, which it tells.
func (b *Bot) logTail(run, step string) (of string, lines []string, err error) {
	r, err := runlog.Open(pipeline.LogFile(b.cfg.DataDir, run))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	last, err := r.Last()
	if err != nil {
		return "", nil, err
	}
	ends := map[string][]string{}
	for l, err := range r.Lines(max(0, last-lookedAtLogs)) {
		if err != nil {
			return "", nil, err
		}
		of = logStep(l.Step)
		if lines := append(ends[of], runlog.Uncoloured(l.Text)); len(lines) > 2*maxLogLines {
			ends[of] = slices.Clone(lastLines(lines))
		} else {
			ends[of] = lines
		}
	}
	return of, lastLines(ends[cmp.Or(step, of)]), nil
}

// logStep is the kind of the step that wrote a line: what the builder calls its own steps belongs to the build, or to the check before it.
func logStep(name string) string {
	first, _, _ := strings.Cut(name, " ")
	if _, ok := pipeline.CheckOf(first); ok || first == pipeline.StepFetch || first == pipeline.StepResolve {
		return first
	}
	return pipeline.StepBuild
}
