package faults

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/jmoiron/sqlx"

	"github.com/shipmate-dev/shipmate/internal/sim"
	"github.com/shipmate-dev/shipmate/store"
)

func (s *Story) file(name string) string { return filepath.Join(s.opt.Dir, "data", name) }

// open opens the bot's database to read.
func (s *Story) open() (*sqlx.DB, error) {
	return sqlx.Open("sqlite", "file:"+s.file("shipmate.db")+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
}

// tasks lists what is left to do. What sleeps until some time without having failed is periodic work.
func tasks(db *sqlx.DB) ([]string, error) {
	var left []string
	err := db.Select(&left, `SELECT kind || ' ' || replace(key, char(10), ' ') || ' ' || CASE WHEN buried_at IS NULL THEN 'due ' || due_at ELSE 'buried' END || ' ' || reason FROM tasks
		WHERE attempts > 0 OR buried_at IS NOT NULL OR kind IN ('event', 'run', 'prepare', 'env', 'report', 'say', 'reply') OR lease_until IS NOT NULL ORDER BY id`)
	return left, err
}

// A row is a run or a deployment, as far as people are told of it.
type row struct {
	ID      string `db:"id"`
	Repo    string `db:"repo"`
	App     string `db:"app"`
	Number  int    `db:"number"`
	Env     string `db:"environment"`
	Ref     string `db:"ref"`
	SHA     string `db:"sha"`
	Cause   string `db:"cause"`
	Event   string `db:"event"`
	Run     string `db:"run"`
	Release int    `db:"release"`
	State   string `db:"state"`
	Reason  string `db:"reason"`
	GitHub  int64  `db:"github_id"`
	Live    bool   `db:"live"`
	Several bool   `db:"several"` // its repository had several apps when the run was made
}

// state is what GitHub is told of a state.
func state(of string) string {
	switch of {
	case store.Succeeded:
		return "success"
	case store.Failed, store.Rejected:
		return "failure"
	case store.Cancelled, store.Superseded, store.Expired:
		return "error"
	}
	return "pending"
}

// check stops the bot and holds everything that it left against what was done.
func (s *Story) check(ctx context.Context) error {
	images := map[string]string{}
	for _, repo := range s.repos {
		for _, app := range repo.apps {
			for _, env := range []string{"staging", "production"} {
				image, err := s.opt.Stage.Image(ctx, env, app)
				if err != nil {
					return err
				}
				images[env+"/"+app] = image
			}
			p := repo.newest(defaultBranch)
			if version, ok, err := s.opt.Stage.Answer(ctx, "staging", app); ok && (err != nil || version != p.version) {
				s.wrong.add("%s answers %q in staging, not %q: %v", app, version, p.version, err)
			}
		}
	}
	if err := s.bot.stop(); err != nil {
		s.wrong.add("SIGTERM: %v", err)
	}
	db, err := s.open()
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it only reads
	var runs, deploys []row
	const several = "EXISTS (SELECT 1 FROM runs o WHERE o.repo = r.repo AND o.app <> r.app AND o.created_at <= r.created_at) AS several"
	err = errors.Join(
		db.Select(&runs, "SELECT id, repo, app, number, ref, sha, cause, event, state, reason, release, "+several+" FROM runs r ORDER BY repo, number"),
		db.Select(&deploys, `SELECT `+several+`, d.id, d.repo, d.app, d.number, d.environment, d.cause, d.event, d.run, d.release, d.state, d.reason, d.github_id, r.sha, r.ref,
			d.id = (SELECT id FROM deployments l WHERE l.repo = d.repo AND l.app = d.app AND l.environment = d.environment AND l.state = 'succeeded'
				ORDER BY l.finished_at DESC, l.number DESC LIMIT 1) IS TRUE AS live
			FROM deployments d JOIN runs r ON r.id = d.run ORDER BY d.repo, d.number`))
	if err != nil {
		return err
	}
	return errors.Join(
		s.checkDeliveries(db, runs),
		s.checkCommands(db, deploys),
		s.checkRuns(runs, deploys),
		s.checkStatuses(runs, deploys),
		s.checkDeployments(deploys),
		s.checkReleases(ctx, db, deploys, images),
		s.checkChats(),
		s.checkAudit(ctx),
		s.checkRest(db))
}

func (r *repo) newest(branch string) *push {
	i := slices.IndexFunc(r.pushes, func(p *push) bool { return p.branch == branch && p.last })
	return r.pushes[i]
}

// checkDeliveries: each has one event that is decided, and a push one run for each of its apps.
func (s *Story) checkDeliveries(db *sqlx.DB, runs []row) error {
	var events []struct {
		ID      string
		Decided bool
		Trace   string
	}
	if err := db.Select(&events, "SELECT id, decided_at IS NOT NULL AS decided, coalesce(trace, '') AS trace FROM events"); err != nil {
		return err
	}
	sent := map[string]sim.Delivery{}
	for _, d := range s.gh.Deliveries() {
		sent[d.GUID] = d
	}
	if len(events) != len(sent) {
		s.wrong.add("%d deliveries became %d events", len(sent), len(events))
	}
	trace := map[string]string{}
	for _, e := range events {
		d, ok := sent[e.ID]
		trace[e.ID] = e.Trace
		if !ok || !e.Decided {
			s.wrong.add("event %s (%s): sent %v, decided %v", e.ID, d.Event, ok, e.Decided)
		}
	}
	for guid, d := range sent {
		if d.Event != "push" {
			continue
		}
		var p struct {
			Ref, After string
			Deleted    bool
			Repository struct {
				Name string `json:"full_name"`
			}
		}
		if err := json.Unmarshal(d.Payload, &p); err != nil {
			return err
		}
		repo := s.repos[slices.IndexFunc(s.repos, func(r *repo) bool { return r.FullName() == p.Repository.Name })]
		for _, app := range repo.apps {
			n, want := 0, 1
			for _, r := range runs {
				if r.Event == guid && r.App == app && r.SHA == p.After && r.Ref == p.Ref && r.Cause == store.CausePush {
					n++
				}
			}
			if p.Deleted {
				want = 0
			}
			was := s.pushOf(row{Repo: repo.FullName(), SHA: p.After})
			if was != nil && !slices.Contains(was.apps, app) && (n == 0 || was.branch != defaultBranch) { // it came later
				want = n
			}
			if n != want {
				s.wrong.add("push of %.7s to %s of %s: %d runs of %s, not %d: %s", p.After, p.Ref, repo.FullName(), n, app, want, trace[guid])
			}
		}
	}
	return nil
}

// verb is what a comment asks for.
var verb = regexp.MustCompile(`(?m)^/([a-z]+)`)

// doing are the commands that make one deployment, or a request for one, when they are obeyed.
var doing = regexp.MustCompile(`^/(promote|rollback) `)

// checkCommands: each comment with a command is answered once and has its effect once, or none when it is refused.
func (s *Story) checkCommands(db *sqlx.DB, deploys []row) error {
	var replies []struct {
		Event, Repo, Reaction, Body string
		Comment                     int64
	}
	if err := db.Select(&replies, "SELECT event, repo, reaction, body, comment FROM replies"); err != nil {
		return err
	}
	audited := map[string]int{}
	for _, repo := range s.repos {
		comments := repo.Comments(repo.pull)
		for _, c := range repo.comments {
			n := 0
			for _, r := range replies {
				if r.Comment != c.id {
					continue
				}
				n++
				posted := 0
				for _, p := range comments {
					if strings.Contains(p.Body, r.Event) {
						posted++
					}
				}
				if want := min(len(r.Body), 1); posted != want {
					s.wrong.add("%q of %s was replied to %d times, not %d", c.text, c.login, posted, want)
				}
				var reactions []string // but for the eyes, a courtesy that is left out where GitHub limits
				for _, on := range repo.Reactions(c.id) {
					if on.Content != "eyes" {
						reactions = append(reactions, on.Content)
					}
				}
				if want := []string{r.Reaction}; !slices.Equal(reactions, want) {
					s.wrong.add("%q of %s has the reactions %v, not %v", c.text, c.login, reactions, want)
				}
				made := 0
				for _, d := range deploys {
					if d.Event == r.Event && d.Cause != store.CauseRecovery {
						made++
					}
				}
				if doing.MatchString(c.text) && (made == 1) != (r.Reaction == "rocket") || made > 1 {
					s.wrong.add("%q of %s (%s) made %d deployments: %s", c.text, c.login, r.Reaction, made, r.Body)
				}
				if r.Reaction == "rocket" {
					audited[verb.FindStringSubmatch(c.text)[1]]++
				}
				if c.login == "carol" && r.Reaction == "rocket" {
					s.wrong.add("carol, who may only read, was obeyed: %s", c.text)
				}
			}
			if n != 1 {
				s.wrong.add("%q of %s in %s was answered %d times", c.text, c.login, repo.FullName(), n)
			}
		}
	}
	for _, action := range []string{"promote", "rollback", "approve", "reject", "unlock"} {
		var n int
		if err := db.Get(&n, "SELECT count(*) FROM audit WHERE action = ?", action); err != nil {
			return err
		}
		if n != audited[action] {
			s.wrong.add("%d times %s in the audit, %d in comments that were obeyed", n, action, audited[action])
		}
	}
	s.opt.Say("commands that were obeyed: %v", audited)
	return nil
}

// checkRuns: every run and deployment has ended as what was pushed deserves.
func (s *Story) checkRuns(runs, deploys []row) error {
	seen := map[string]int{}
	for _, r := range runs {
		p := s.pushOf(r)
		if p == nil {
			s.wrong.add("run %d of %s is of %.7s, which nobody pushed", r.Number, r.App, r.SHA)
			continue
		}
		seen[r.State]++
		ok := r.State == store.RunSucceeded && p.bad != badBuild || r.State == store.RunFailed && p.bad == badBuild || r.State == store.RunSuperseded && (!p.last || s.deleted(p))
		if !ok {
			s.wrong.add("run %d of %s, version %s, bad %q, last of its branch %v: %s %s", r.Number, r.App, p.version, p.bad, p.last, r.State, r.Reason)
		}
	}
	for _, d := range deploys {
		p := s.pushOf(d)
		seen[d.Env+" "+d.State]++
		if !store.Final(d.State) || d.State == store.Expired || d.State == store.Failed && p.bad != badRollout || d.State == store.Succeeded && p.bad == badRollout {
			s.wrong.add("deployment %d of %s to %s, version %s, bad %q: %s %s", d.Number, d.App, d.Env, p.version, p.bad, d.State, d.Reason)
		}
	}
	s.opt.Say("%d runs, %d deployments: %v", len(runs), len(deploys), seen)
	return nil
}

func (s *Story) pushOf(r row) *push {
	for _, repo := range s.repos {
		if repo.FullName() == r.Repo {
			if i := slices.IndexFunc(repo.pushes, func(p *push) bool { return p.sha == r.SHA }); i >= 0 {
				return repo.pushes[i]
			}
		}
	}
	return nil
}

func (s *Story) deleted(p *push) bool { return p.repo.Head(p.branch) == "" }

// checkStatuses: the newest status of every context of every commit says what the newest run or deployment that stands
// for it came to, each of those is told, and no other context is there.
func (s *Story) checkStatuses(runs, deploys []row) error {
	for _, repo := range s.repos {
		name := func(r row, what string) string {
			if r.Several {
				return "shipmate/" + r.App + "/" + what
			}
			return "shipmate/" + what
		}
		for _, p := range repo.pushes {
			type said struct{ state, page string }
			want, got := map[string]said{}, map[string]said{}
			for _, r := range runs {
				if r.SHA == p.sha && r.Repo == repo.FullName() {
					want[name(r, "build")] = said{state(r.State), "/runs/" + r.ID}
				}
			}
			for _, d := range deploys {
				if d.SHA == p.sha && d.Repo == repo.FullName() {
					want[name(d, "deploy/"+d.Env)] = said{state(d.State), "/deployments/" + d.ID}
				}
			}
			for _, st := range repo.Statuses(p.sha) {
				got[st.Context] = said{st.State, strings.TrimPrefix(st.TargetURL, "http://ship.example.com")}
			}
			for name, w := range want {
				if got[name] != w {
					s.wrong.add("%s of %s, version %s: GitHub shows %v, it is %v", name, repo.FullName(), p.version, got[name], w)
				}
				delete(got, name)
			}
			for name, g := range got {
				s.wrong.add("%s of %s, version %s: GitHub shows %v, which stands for nothing", name, repo.FullName(), p.version, g)
			}
		}
	}
	return nil
}

// checkDeployments: one on GitHub for each of ours, and in the end it says the same.
func (s *Story) checkDeployments(deploys []row) error {
	for _, repo := range s.repos {
		theirs := map[string][]sim.Deployment{} // by our id
		for _, d := range repo.Deployments() {
			var payload struct{ Shipmate string }
			if err := json.Unmarshal(d.Payload, &payload); err != nil {
				return fmt.Errorf("payload %s: %w", d.Payload, err)
			}
			theirs[payload.Shipmate] = append(theirs[payload.Shipmate], d)
		}
		for _, d := range deploys {
			if d.Repo != repo.FullName() {
				continue
			}
			on := theirs[d.ID]
			delete(theirs, d.ID)
			want := state(d.State)
			if want == "success" && !d.Live {
				want = "inactive"
			}
			if len(on) != 1 || on[0].ID != d.GitHub || on[0].State() != want || on[0].SHA != d.SHA {
				s.wrong.add("deployment %d of %s to %s is %s, live %v, GitHub id %d: GitHub has %v", d.Number, d.App, d.Env, d.State, d.Live, d.GitHub, on)
			}
		}
		for id, d := range theirs {
			s.wrong.add("GitHub has %v for %q, which is no deployment", d, id)
		}
	}
	return nil
}

// checkReleases: each has a digest of its own, whose image has that commit's version in it, and the live one is what the
// cluster runs; in staging that is the newest commit of the default branch.
func (s *Story) checkReleases(ctx context.Context, db *sqlx.DB, deploys []row, images map[string]string) error {
	var releases []struct {
		Repo, App, SHA, Images string
		Number                 int
	}
	if err := db.Select(&releases, "SELECT repo, app, sha, images, number FROM releases"); err != nil {
		return err
	}
	of, named := map[string]string{}, map[string]string{} // app and number → image, image → app and number
	sha := map[string]string{}
	for _, r := range releases {
		var list []struct{ Repository, Digest string }
		if err := json.Unmarshal([]byte(r.Images), &list); err != nil || len(list) != 1 {
			return fmt.Errorf("release %d of %s: %s: %w", r.Number, r.App, r.Images, err)
		}
		image, key := list[0].Repository+"@"+list[0].Digest, fmt.Sprintf("%s release %d", r.App, r.Number)
		p := s.pushOf(row{Repo: r.Repo, SHA: r.SHA})
		if other := named[image]; other != "" && sha[other] != r.SHA {
			s.wrong.add("%s and %s are both %s", other, key, image)
		}
		named[image], of[key], sha[key] = key, image, r.SHA
		version, err := versionIn(ctx, image)
		if err != nil || p == nil || version != p.version {
			s.wrong.add("%s is of %.7s; %s holds version %q: %v", key, r.SHA, image, version, err)
		}
	}
	for _, d := range deploys {
		if !d.Live {
			continue
		}
		if got, want := images[d.Env+"/"+d.App], of[fmt.Sprintf("%s release %d", d.App, d.Release)]; got != want {
			s.wrong.add("%s of %s: deployment %d of release %d, %s, is live; the cluster runs %s", d.Env, d.App, d.Number, d.Release, want, got)
		}
	}
	for _, repo := range s.repos {
		p := repo.newest(defaultBranch)
		for _, app := range repo.apps {
			if version, err := versionIn(ctx, images["staging/"+app]); err != nil || version != p.version {
				s.wrong.add("%s runs version %q in staging, the newest commit of %s is %s: %v", app, version, defaultBranch, p.version, err)
			}
		}
	}
	return nil
}

// versionIn reads the version out of an image in the registry.
func versionIn(ctx context.Context, image string) (string, error) {
	ref, err := ggcr.NewDigest(image, ggcr.Insecure)
	if err != nil {
		return "", err
	}
	img, err := remote.Image(ref, remote.WithContext(ctx))
	if err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil || len(layers) == 0 {
		return "", errors.Join(err, errors.New("the image has no layer"))
	}
	content, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }() // it was only read
	for files := tar.NewReader(content); ; {
		h, err := files.Next()
		if err != nil {
			return "", fmt.Errorf("www/version: %w", err)
		}
		if strings.TrimPrefix(h.Name, "/") == "www/version" {
			b, err := io.ReadAll(files)
			return strings.TrimSpace(string(b)), err
		}
	}
}

// checkChats: no moment is told twice. A chat may offer no way to find a message again; what was sent in the instant
// before a kill may then be sent twice, and says so.
func (s *Story) checkChats() error {
	link := regexp.MustCompile(`http://ship\.example\.com/(?:runs|deployments)/[a-z0-9]+`)
	marked := func(text string) bool { return strings.Contains(text, repeatMark) }
	var all []sim.RobotMessage
	for i := range robots {
		all = append(all, s.wecom.Messages(fmt.Sprint(robotKey, i))...)
	}
	slices.SortFunc(all, func(a, b sim.RobotMessage) int { return a.At.Compare(b.At) })
	told, repeats := map[string]time.Time{}, 0
	for _, m := range all {
		if link.FindString(m.Content) == "" && !strings.Contains(m.Content, omittedMark) {
			s.wrong.add("a WeCom message leads nowhere: %s", m.Content)
		}
		if marked(m.Content) {
			repeats++
			continue
		}
		if before, twice := told[m.Content]; twice {
			s.wrong.add("WeCom was told twice, at %s and at %s, and not that it may be a repeat: %s", before.Format(time.TimeOnly), m.At.Format(time.TimeOnly), m.Content)
		}
		told[m.Content] = m.At
	}
	living, doubled := map[string]bool{}, 0
	for _, m := range s.slack.Messages(channel) {
		page := link.FindString(string(m.Blocks) + m.Text)
		if m.ThreadTS != "" { // a reply is of one moment
			page = "a moment: " + m.ThreadTS + m.Text + string(m.Blocks)
		}
		if !living[page] {
			living[page] = true
			continue
		}
		doubled++
		if s.findable { // it is found again and edited
			s.wrong.add("Slack has another message of %s: %s", page, m.Text)
		} else if !marked(s.posted.of(m.TS)) {
			s.wrong.add("Slack was told twice of %s, and not that it may be a repeat: %s", page, s.posted.of(m.TS))
		}
	}
	s.opt.Say("%d WeCom messages, %d of them repeats; %d Slack messages, %d of them repeats", len(all), repeats, len(s.slack.Messages(channel)), doubled)
	return nil
}

func (s *Story) checkAudit(ctx context.Context) error {
	key, err := os.ReadFile(s.file("data.key"))
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, s.file("shipmate.db"), []byte(strings.TrimSpace(string(key))))
	if err != nil {
		return err
	}
	err = db.View(ctx, func(tx *store.Tx) error {
		_, err := tx.VerifyAudit()
		return err
	})
	if err != nil {
		s.wrong.add("%v", err)
	}
	return db.Close()
}

// checkRest: nothing is left over, nothing was sent that GitHub forbids, and no secret is anywhere.
func (s *Story) checkRest(db *sqlx.DB) error {
	left, err := tasks(db)
	if err != nil {
		return err
	}
	for _, t := range left {
		s.wrong.add("a task is left: %s", t)
	}
	var steps []string
	if err := db.Select(&steps, "SELECT owner || ' ' || kind || ' ' || state FROM steps WHERE state IN ('pending', 'running', 'interrupted')"); err != nil {
		return err
	}
	for _, step := range steps {
		s.wrong.add("a step has not ended: %s", step)
	}
	for _, v := range s.gh.Violations() {
		s.wrong.add("GitHub's description forbids: %s", v)
	}
	log := s.Log()
	for line := range strings.Lines(log) {
		if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			s.wrong.add("the log has %s", strings.TrimSpace(line))
		}
	}
	seen := map[string]string{"the log": log}
	for _, r := range s.gh.Requests() {
		seen["a request to GitHub"] += r.Path + r.Body + "\n"
	}
	err = filepath.WalkDir(filepath.Join(s.opt.Dir, "data"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(p, ".key") {
			return err
		}
		b, err := os.ReadFile(p)
		seen[p] = string(b)
		return err
	})
	for where, content := range seen {
		for _, secret := range []string{hookSecret, slackToken, robotKey} {
			if strings.Contains(content, secret) {
				s.wrong.add("%s shows the secret %s", where, secret)
			}
		}
	}
	return err
}
