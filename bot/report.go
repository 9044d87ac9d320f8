package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// taskSay is the kind of the task that says one subject's state on one surface; its key is subject, newline, surface.
const taskSay = store.TaskSay

// Surfaces on GitHub; those of chats are those of a chatPlace.
const (
	surfaceStatus     = "github/status"
	surfaceDeployment = "github/deployment"
	surfaceRun        = "github/run"     // the check run; of a run
	surfaceComment    = "github/comment" // the living comment; of a run
)

// typed is how a command has to be written here.
func (s subject) typed(form string) string {
	if s.form == nil {
		return form
	}
	return s.form(form)
}

// A subject is a run or a deployment with all that is said about it.
type subject struct {
	key     string
	form    func(string) string // how a command has to be written here; nil: as it is
	turn    *turn               // in a chat that is told by turns; nil elsewhere
	repo    store.Repo
	run     store.Run
	image   string             // the repository of its image
	several bool               // the repository had several apps when the run was made: names of statuses tell them apart
	deploys []store.Deployment // of a run: those of its release that went by themselves
	d       *store.Deployment  // set when the subject is a deployment
	rel     store.Release      // of the deployment
	votes   []store.Approval   // on the deployment
	rules   pipeline.Approvals // of the deployment: what its environment asks for, raised to the cluster's floor
	spec    pipeline.Spec      // of the deployment
	back    *store.Deployment  // the deployment that went back from this one, or nil
	live    bool               // the deployment is what is live
	current bool               // no other deployment began in its environment since
	changed bool               // the deployment has begun to change what was live before
	lives   int                // the release that is live there, 0 for none
	undo    int                // the release that the deployment can be gone back from to, 0 for none; only within a view
	newest  bool               // it speaks for its commit (and environment), and nothing newer does
	notify  []pipeline.Notify
	steps   []store.Step // of a run
	order   *store.Order // the release order that the deployment is a part of, or nil
	ofParts int          // how many parts that has
	asks    string       // what a vote on the order is bound to, while the deployment asks for it
	chain   []pipeline.Environment
}

// load reads a subject.
func (b *Bot) load(ctx context.Context, key string) (s subject, err error) {
	s.key, s.form = key, b.typed
	kind, id, _ := strings.Cut(key, "/")
	err = b.db.View(ctx, func(tx *store.Tx) error {
		runID := id
		if kind == "deployment" {
			d, err := tx.Deployment(id)
			if err != nil {
				return err
			}
			s.d, runID = &d, d.Run
			if err := json.Unmarshal(d.Spec.V, &s.spec); err != nil {
				return err
			}
			if s.notify, err = b.notified(tx, d.Repo, d.App, s.spec.Notify); err != nil {
				return err
			}
			if s.rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
				return err
			}
			if s.votes, err = tx.Approvals(d.ID); err != nil {
				return err
			}
			s.rules = b.cfg.Floor(s.spec.Environment.Cluster, s.spec.Environment.Approvals)
			if _, wants, ok := pipeline.Asking(d); ok {
				s.rules = wants
			}
			if s.changed, _, err = tx.Touched(d); err != nil {
				return err
			}
			if d.OrderID != "" {
				if s.order, err = store.Optional(tx.Order(d.OrderID)); err != nil {
					return err
				}
				parts, err := tx.OrderParts(d.OrderID)
				if err != nil {
					return err
				}
				s.ofParts = len(parts)
				if s.order != nil && s.order.State == store.OrderWaiting && d.Part == 1 {
					standing, err := b.engine.StandingOf(tx, *s.order)
					if err != nil {
						return err
					}
					s.asks = standing.Bound
				}
			}
			live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
			if err != nil {
				return err
			}
			s.live = live != nil && live.ID == d.ID
			if live != nil {
				s.lives = live.Release
			}
			current, err := store.Optional(tx.Current(d.Repo, d.App, d.Environment))
			if err != nil {
				return err
			}
			s.current = current != nil && current.ID == d.ID
			if s.back, err = store.Optional(tx.RollbackOf(d.ID)); err != nil {
				return err
			}
		}
		if s.run, err = tx.Run(runID); err != nil {
			return err
		}
		var cfg pipeline.Config
		if err := json.Unmarshal(s.run.Config.V, &cfg); err != nil {
			return err
		}
		s.image, s.chain = cfg.Build.Image, cfg.Environments
		if s.run.Image.V != nil {
			s.image = s.run.Image.V.Repository
		}
		if s.repo, err = tx.Repo(s.run.Repo); err != nil {
			return err
		}
		if s.several, err = tx.Several(s.run); err != nil {
			return err
		}
		if s.d != nil {
			newest, err := tx.DeploymentOf(s.run.Repo, s.run.App, s.run.SHA, s.d.Environment)
			s.newest = newest.ID == s.d.ID
			return err
		}
		all, err := tx.DeploymentsOf(s.run.ID)
		if err != nil {
			return err
		}
		s.deploys = slices.DeleteFunc(all, func(d store.Deployment) bool { return d.Cause != store.CauseAutomatic })
		newest, err := store.Optional(tx.RunAt(s.run.Repo, s.run.App, s.run.Head()))
		if err != nil {
			return err
		}
		s.newest = newest != nil && newest.ID == s.run.ID // a run that builds nothing has nothing to say of a commit
		if s.run.Cause != store.CausePull {               // whose author looks at GitHub
			if s.notify, err = b.notified(tx, s.run.Repo, s.run.App, cfg.Notify); err != nil {
				return err
			}
		}
		s.steps, err = tx.Steps(s.run.ID)
		return err
	})
	s.notify = slices.DeleteFunc(s.notify, func(n pipeline.Notify) bool { return n.Webhook != "" }) // which is told in its own way
	return s, err
}

// report wakes what has to say something about a subject. It does no more than that, so that a surface that is slow or
// down holds up no other.
func (b *Bot) report(ctx context.Context, key string, _ int) (time.Time, error) {
	if strings.HasPrefix(key, "order/") {
		return time.Time{}, b.reportOrder(ctx, key)
	}
	s, err := b.load(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	surfaces := []string{surfaceStatus}
	for _, check := range s.checks() {
		name, _ := pipeline.CheckOf(check.Kind)
		surfaces = append(surfaces, surfaceCheck+name)
	}
	if s.d != nil {
		surfaces = append(surfaces, surfaceDeployment)
	}
	surfaces = append(surfaces, noticeSurfaces(s)...)
	return time.Time{}, b.db.Update(ctx, func(tx *store.Tx) error {
		for _, surface := range surfaces {
			if err := tx.Wake(taskSay, key+"\n"+surface); err != nil {
				return err
			}
		}
		for _, surface := range []string{surfaceRun, surfaceComment} { // they tell of the release and all its deployments
			if err := tx.Wake(taskSay, "run/"+s.run.ID+"\n"+surface); err != nil {
				return err
			}
		}
		for _, n := range s.notify {
			to, about := chatOf(n), key
			if to.edits() {
				about = "run/" + s.run.ID // one living message for a release, wherever it goes
			}
			if err := tx.Wake(taskSay, about+"\n"+to.surface()); err != nil {
				return err
			}
		}
		return errors.Join(wakeReplaced(tx, s), wakePastNotices(tx, s))
	})
}

// wakeReplaced has the living message of the release that a deployment takes the place of looked at again: what it offers makes no
// sense any more.
func wakeReplaced(tx *store.Tx, s subject) error {
	if s.d == nil || s.d.BeganAt.IsZero() || s.d.State != store.Applying && !store.Final(s.d.State) {
		return nil
	}
	before, err := store.Optional(tx.Live(s.d.Repo, s.d.App, s.d.Environment))
	if s.d.State == store.Succeeded {
		before, err = store.Optional(tx.LiveBefore(*s.d))
	}
	if err != nil || before == nil || before.Run == s.run.ID {
		return err
	}
	key := "run/" + before.Run
	for _, n := range s.notify {
		to := chatOf(n)
		begun, err := tx.Message(key, to.surface(), "")
		if err != nil {
			return err
		}
		if begun.Ref != "" && to.edits() {
			if err := tx.Wake(taskSay, key+"\n"+to.surface()); err != nil {
				return err
			}
		}
	}
	return nil
}

// say compares what should be said about a subject on one surface with what was said last, and sends the difference.
func (b *Bot) say(ctx context.Context, key string, attempts int) (time.Time, error) {
	subjectKey, surface, _ := strings.Cut(key, "\n")
	if strings.HasPrefix(subjectKey, "order/") {
		return time.Time{}, final(b.sayOrder(ctx, subjectKey), attempts)
	}
	s, err := b.load(ctx, subjectKey)
	if err != nil {
		return time.Time{}, err
	}
	if s.d != nil && (surface == surfaceStatus || surface == surfaceDeployment) {
		if until, yes := s.passing(b.db.Now()); yes {
			return until, nil
		}
	}
	var again time.Time
	switch part := strings.Split(surface, "/"); {
	case surface == surfaceRun:
		again, err = b.sayRun(ctx, s)
	case surface == surfaceComment:
		again, err = b.sayComment(ctx, s)
	case surface == surfaceStatus:
		err = b.sayStatus(ctx, s)
	case surface == surfaceDeployment:
		err = b.sayDeployment(ctx, s)
	case strings.HasPrefix(surface, surfaceCheck):
		err = b.sayCheck(ctx, s, part[2])
	case strings.HasPrefix(surface, surfaceNotice):
		_, where, _ := strings.Cut(strings.TrimPrefix(surface, surfaceNotice), "/")
		if to, ok := chatAt(where); ok && b.rations(to) {
			again, err = b.enqueue(ctx, s, surface, to)
		} else {
			err = b.sayNotice(ctx, s, surface)
		}
	default:
		to, ok := chatAt(surface)
		switch {
		case !ok:
			err = giveUp{fmt.Errorf("no surface is called %q", surface)}
		case b.rations(to):
			again, err = b.enqueue(ctx, s, surface, to)
		case to.edits():
			again, err = b.sayLiving(ctx, s, to)
		default:
			again, err = b.sayMoment(ctx, s, to)
		}
	}
	return again, final(err, attempts)
}

// final gives up what GitHub declines, but not at once: a commit or a comment that is new may not be known everywhere yet.
func final(err error, attempts int) error {
	const declines = 3
	if declined(err) && attempts+1 >= declines {
		return giveUp{err}
	}
	return err
}

// inFlight is how long GitHub may still carry out a request that we lost sight of: it ends each after 10 s (REST API
// documentation, "Troubleshooting the REST API", Timeouts), and the rest is for the way there.
const inFlight = 15 * time.Second

// answered is said of a message that was asked for and that GitHub answered with an error: if it is there, it is there now.
const answered = "answered"

// pending is the error of looking in vain for what an earlier attempt made that may be carried out only now; nil when that
// cannot be any more, and it may be made.
func (b *Bot) pending(repo store.Repo, tried store.Message) error {
	if until := tried.At.Add(inFlight); tried.Said == asked && b.db.Now().Before(until) {
		return &limited{repo.Installation, until}
	}
	return nil
}

// create marks that something is asked for, asks for it, and marks an answer that was an error.
func (b *Bot) create(ctx context.Context, tried store.Message, ask func() error) error {
	mark := func(said string) error {
		tried.Said = said
		return b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(tried) })
	}
	if err := mark(asked); err != nil {
		return err
	}
	err := ask()
	if statusCode(err) != 0 {
		err = errors.Join(err, mark(answered))
	}
	return err
}

// asked is said of a message that may have been sent: it is written before the attempt, where a second one would be seen.
const asked = "asked"

// hash tells what is said from what was said.
func hash(what any) (string, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// once sends what is to be said unless the same was said before. send gets what is known of the last time and returns the
// provider's reference.
func (b *Bot) once(ctx context.Context, s subject, surface, moment string, what any, send func(last store.Message) (ref string, err error)) error {
	said, err := hash(what)
	if err != nil {
		return err
	}
	var last store.Message
	if err := b.db.View(ctx, func(tx *store.Tx) (err error) { last, err = tx.Message(s.key, surface, moment); return err }); err != nil {
		return err
	}
	if last.Said == said {
		return nil
	}
	ref, err := send(last)
	if err != nil {
		return err
	}
	last.Said, last.Ref = said, ref
	return b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(last) })
}

// told is how GitHub's commit statuses and deployments call a state (architecture.md, "The nouns").
func told(state string) string {
	switch state {
	case store.Succeeded:
		return "success"
	case store.Failed, store.Rejected:
		return "failure"
	case store.Cancelled, store.Superseded, store.Expired:
		return "error"
	}
	return "pending"
}

// A commitStatus is what a commit status says.
type commitStatus struct{ State, Context, Description, URL string }

// statusPrefix is what the names of a subject's statuses begin with.
func (s subject) statusPrefix() string {
	if s.several {
		return "shipmate/" + s.run.App + "/"
	}
	return "shipmate/"
}

func (b *Bot) statusOf(s subject) commitStatus {
	prefix := s.statusPrefix()
	if s.d != nil {
		return commitStatus{told(s.d.State), prefix + "deploy/" + s.d.Environment, text.Fit(deployWords(s, b.lang), text.MaxStatus), b.page("deployments", s.d.ID)}
	}
	return commitStatus{told(s.run.State), prefix + "build", text.Fit(buildWords(s, b.lang), text.MaxStatus), b.page("runs", s.run.ID)}
}

func (b *Bot) sayStatus(ctx context.Context, s subject) error {
	if !s.newest {
		return nil // a newer run or deployment speaks for this commit
	}
	st := b.statusOf(s)
	return b.once(ctx, s, surfaceStatus, "", st, func(store.Message) (string, error) {
		return "", b.hub.write(s.repo, s.key+" status", s.urgent(), func(c *github.Client, owner, name string) error {
			return putStatus(ctx, c, owner, name, s.run.Head(), st)
		})
	})
}

func putStatus(ctx context.Context, c *github.Client, owner, name, sha string, st commitStatus) error {
	_, _, err := c.Repositories.CreateStatus(ctx, owner, name, sha, &github.RepoStatus{State: &st.State, Context: &st.Context, Description: &st.Description, TargetURL: &st.URL})
	return err
}

// instant is how long what goes by may last without GitHub being told: each state costs up to four requests there.
const instant = 3 * time.Second

// passing tells whether a deployment is in a state that is about to go by, so that it need not be told. until is when it is told
// after all; the zero time where another follows in any case.
func (s subject) passing(now time.Time) (until time.Time, yes bool) {
	switch {
	case s.d.State == store.Queued && s.d.Objects != nil: // nothing blocks it any more, so it begins
		return time.Time{}, true
	case s.d.State == store.Queued:
		until = s.d.CreatedAt.Add(instant)
	case store.Active(s.d.State) && s.d.State != store.Paused:
		until = s.d.BeganAt.Add(instant)
	}
	return until, now.Before(until)
}

// urgent tells what goes before progress: an end, and what rests until something happens, such as an approval.
func (s subject) urgent() bool {
	state := s.run.State
	if s.d != nil {
		state = s.d.State
	}
	return store.Final(state) || state == store.Blocked || s.d != nil && restsForPerson(*s.d)
}

func (b *Bot) githubEnvironment(s subject) string {
	if s.several {
		return s.d.App + "/" + s.d.Environment
	}
	return s.d.Environment
}

// deploymentStatus is what the GitHub deployment that stands for ours says.
func (b *Bot) deploymentStatus(s subject) commitStatus {
	st := commitStatus{State: told(s.d.State), Description: text.Fit(deployWords(s, b.lang), text.MaxStatus), URL: b.page("deployments", s.d.ID)}
	if st.State == "success" && !s.live {
		st.State = "inactive" // we mark our own previous ones
	}
	return st
}

// sayDeployment keeps the GitHub deployment that stands for ours. It is created once, found again by our id in its payload.
func (b *Bot) sayDeployment(ctx context.Context, s subject) error {
	id := s.d.GitHubID
	if id == 0 {
		var err error
		if id, err = b.findOrCreate(ctx, s); err != nil {
			return err
		}
		if err := b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetGitHubID(s.d.ID, id) }); err != nil {
			return err
		}
	}
	st := b.deploymentStatus(s)
	return b.once(ctx, s, surfaceDeployment, "", st, func(store.Message) (string, error) {
		return "", b.hub.write(s.repo, s.key+" deployment", s.urgent(), func(c *github.Client, owner, name string) error {
			return putDeploymentStatus(ctx, c, owner, name, id, st)
		})
	})
}

func putDeploymentStatus(ctx context.Context, c *github.Client, owner, name string, id int64, st commitStatus) error {
	_, _, err := c.Repositories.CreateDeploymentStatus(ctx, owner, name, id, &github.DeploymentStatusRequest{
		State: &st.State, Description: &st.Description, LogURL: &st.URL, AutoInactive: github.Bool(false)})
	return err
}

// createMoment marks in the messages that a GitHub deployment may have been created.
const createMoment = "create"

func (b *Bot) findOrCreate(ctx context.Context, s subject) (id int64, err error) {
	var tried store.Message
	err = b.db.View(ctx, func(tx *store.Tx) (err error) {
		tried, err = tx.Message(s.key, surfaceDeployment, createMoment)
		return err
	})
	if err != nil {
		return 0, err
	}
	env := b.githubEnvironment(s)
	if tried.Said != "" { // an earlier attempt may have reached GitHub
		if id, err = b.findDeployment(ctx, s, env); id != 0 || err != nil {
			return id, err
		}
		if err := b.pending(s.repo, tried); err != nil {
			return 0, err
		}
	}
	err = b.hub.write(s.repo, s.key+" deployment", s.urgent(), func(c *github.Client, owner, name string) error {
		return b.create(ctx, tried, func() error {
			d, _, err := c.Repositories.CreateDeployment(ctx, owner, name, &github.DeploymentRequest{
				Ref: &s.run.SHA, Environment: &env, AutoMerge: github.Bool(false), RequiredContexts: &[]string{},
				Payload:     map[string]string{"shipmate": s.d.ID},
				Description: github.String(text.Fit(b.lang.Say(text.DeployTitle, s.d.App, s.d.Release, s.d.Environment), text.MaxStatus)),
			})
			id = d.GetID()
			return err
		})
	})
	return id, err
}

// findDeployment looks for the GitHub deployment with our id in its payload; 0 when there is none.
func (b *Bot) findDeployment(ctx context.Context, s subject, env string) (int64, error) {
	owner, name := split(s.repo.Name)
	opt := &github.DeploymentsListOptions{SHA: s.run.SHA, Environment: env, ListOptions: github.ListOptions{PerPage: 100}}
	for {
		list, resp, err := b.hub.client(s.repo.Installation).Repositories.ListDeployments(ctx, owner, name, opt)
		if err != nil {
			return 0, err
		}
		for _, d := range list {
			if payloadID(d.Payload) == s.d.ID {
				return d.GetID(), nil
			}
		}
		if resp.NextPage == 0 {
			return 0, nil
		}
		opt.Page = resp.NextPage
	}
}

// payloadID reads our id back. GitHub returns a payload as an object, or as a string that holds one.
func payloadID(raw json.RawMessage) string {
	var p struct {
		ID string `json:"shipmate"`
	}
	var quoted string
	if json.Unmarshal(raw, &quoted) == nil {
		raw = []byte(quoted)
	}
	_ = json.Unmarshal(raw, &p) // another's payload has no id of ours
	return p.ID
}

// clockSkew is how far GitHub's clock and ours may be apart.
const clockSkew = 10 * time.Minute

// reply answers a comment: the reaction, and a comment where there is something to say.
func (b *Bot) reply(ctx context.Context, event string, attempts int) (time.Time, error) {
	var r store.Reply
	var repo store.Repo
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		if r, err = tx.Reply(event); err != nil {
			return err
		}
		repo, err = tx.Repo(r.Repo)
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	s := subject{key: "command/" + event, repo: repo}
	if r.Issue == 0 {
		return time.Time{}, b.answerInChat(ctx, s, event, r)
	}
	if r.Comment != 0 { // 0: a button was pressed
		err = b.react(ctx, s, r)
	}
	if err != nil || r.Body == "" {
		return time.Time{}, err
	}
	err = b.once(ctx, s, "github/reply", "", r.Body, func(last store.Message) (ref string, err error) {
		return b.postComment(ctx, s, r.Issue, r.Body, markOf(event), last)
	})
	return time.Time{}, final(err, attempts)
}

// react sets the reaction on the comment that is answered.
func (b *Bot) react(ctx context.Context, s subject, r store.Reply) error {
	return b.once(ctx, s, "github/reaction", "", r.Reaction, func(store.Message) (string, error) {
		return "", b.hub.write(s.repo, s.key, true, func(c *github.Client, owner, name string) error {
			_, _, err := c.Reactions.CreateIssueCommentReaction(ctx, owner, name, r.Comment, r.Reaction)
			if declined(err) {
				return nil // a comment that is gone cannot be reacted to; its author is still answered
			}
			return err
		})
	})
}

// markOf is invisible in a comment of ours, and lets one be found that was sent just before a crash.
func markOf(what string) string { return "<!-- shipmate " + what + " -->" }

// postComment makes a comment with a mark, unless an earlier attempt did. That one may have said what was so then.
func (b *Bot) postComment(ctx context.Context, s subject, issue int, body, mark string, last store.Message) (ref string, err error) {
	if last.Said == asked || last.Said == answered {
		ref, said, err := b.findComment(ctx, s.repo, issue, mark, last.At.Add(-clockSkew))
		if err != nil || ref != "" && said == body+"\n\n"+mark {
			return ref, err
		}
		if ref != "" {
			id, _ := strconv.ParseInt(ref, 10, 64) // it was read as a number
			return ref, b.hub.write(s.repo, s.key, true, func(c *github.Client, owner, name string) error {
				_, _, err := c.Issues.EditComment(ctx, owner, name, id, &github.IssueComment{Body: github.String(body + "\n\n" + mark)})
				return err
			})
		}
		if err := b.pending(s.repo, last); err != nil {
			return "", err
		}
	}
	err = b.hub.write(s.repo, s.key, true, func(c *github.Client, owner, name string) error {
		return b.create(ctx, last, func() error {
			n, _, err := c.Issues.CreateComment(ctx, owner, name, issue, &github.IssueComment{Body: github.String(body + "\n\n" + mark)})
			ref = fmt.Sprint(n.GetID())
			return err
		})
	})
	return ref, err
}

// findComment looks for a comment of ours by its mark, among those since a time; ref is "" when there is none.
func (b *Bot) findComment(ctx context.Context, repo store.Repo, issue int, mark string, since time.Time) (ref, body string, err error) {
	owner, name := split(repo.Name)
	opt := &github.IssueListCommentsOptions{Since: &since, ListOptions: github.ListOptions{PerPage: 100}}
	for {
		list, resp, err := b.hub.client(repo.Installation).Issues.ListComments(ctx, owner, name, issue, opt)
		if err != nil {
			return "", "", err
		}
		for _, c := range list {
			if strings.Contains(c.GetBody(), mark) && c.GetUser().GetType() == "Bot" {
				return fmt.Sprint(c.GetID()), c.GetBody(), nil
			}
		}
		if resp.NextPage == 0 {
			return "", "", nil
		}
		opt.Page = resp.NextPage
	}
}
