package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// What is wrong with a push on purpose.
const (
	badBuild   = "build"
	badRollout = "rollout"
)

const defaultBranch = "master"

// A repo is a repository of the story with everything that was done in it.
type repo struct {
	*sim.Repo
	apps  []string
	grows string // an app that comes later, "" for none
	pull  int
	heard map[int64]bool // comments of the bot that were reacted to

	mu       sync.Mutex
	pushes   []*push
	comments []comment
}

// A push is one commit of a branch, with a version of its own in it.
type push struct {
	repo    *repo
	branch  string
	sha     string
	apps    []string // of the repository then
	version string
	bad     string // "", badBuild or badRollout
	last    bool   // nothing was pushed to the branch after it
}

// A comment is something that a person said.
type comment struct {
	id    int64
	login string
	text  string
}

var owners = []string{"acme", "globex", "initech", "umbrella", "hooli", "soylent"}

// makeRepos makes one repository for each owner, with a pull request to talk on: the second has two apps, the third gets
// another one in the middle of the story. alice and dave write, bob maintains,
// carol reads.
func (s *Story) makeRepos() error {
	for i, owner := range owners[:s.opt.Owners] {
		r := &repo{apps: []string{owner + "-web"}, heard: map[int64]bool{}}
		if i == 1 {
			r.apps = []string{owner + "-cart", owner + "-pay"}
		}
		if i == 2 {
			r.grows = owner + "-api"
		}
		var err error
		if r.Repo, err = s.gh.CreateRepo(owner+"/code", sim.RepoOptions{DefaultBranch: defaultBranch}); err != nil {
			return err
		}
		for login, level := range map[string]string{"alice": "write", "dave": "write", "bob": "maintain", "carol": "read"} {
			r.SetPermission(login, level, "")
		}
		if _, err := r.Commit(defaultBranch, "alice", "Begin", s.files(r, "begin", "")); err != nil {
			return err
		}
		if _, err := r.Commit("topic", "alice", "Begin a topic", map[string]string{"topic": "begun\n"}); err != nil {
			return err
		}
		if r.pull, err = r.OpenPullRequest("topic", defaultBranch, "alice", "A topic"); err != nil {
			return err
		}
		s.repos = append(s.repos, r)
	}
	return nil
}

// files are those of a commit: each has a version of its own, which ends in the image.
func (s *Story) files(r *repo, version, bad string) map[string]string {
	dockerfile := "FROM " + s.opt.Base + "\nCOPY version /www/version\n" + `ENTRYPOINT ["/bin/busybox", "httpd", "-f", "-p", "5000", "-h", "/www"]` + "\n"
	if bad == badBuild {
		dockerfile += "COPY missing /missing\n"
	}
	command := ""
	if bad == badRollout {
		command = `
          command: ["/bin/busybox", "false"]`
	}
	files := map[string]string{"version": version + "\n", "Dockerfile": dockerfile}
	for i, app := range r.apps {
		name := ".shipmate.yaml"
		if i > 0 {
			name = ".shipmate/" + app + ".yaml"
		}
		files[name] = strings.NewReplacer("APP", app, "REGISTRY", s.opt.Registry).Replace(`app: APP
trigger: {branches: [master, /^topic/]}
build: {image: REGISTRY/team/APP, cache: "off"}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy/APP/, deploy: auto, branches: [default], timeout: 5m}
  - {name: production, cluster: prod, namespace: production, manifests: deploy/APP/, approvals: {count: 1}, timeout: 5m}
notify:
  - {wecom: ops}
  - {slack: team, channel: C1}
`)
		files["deploy/"+app+"/app.yaml"] = strings.NewReplacer("APP", app, "REGISTRY", s.opt.Registry).Replace(`apiVersion: apps/v1
kind: Deployment
metadata: {name: APP}
spec:
  selector: {matchLabels: {app: APP}}
  template:
    metadata: {labels: {app: APP}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: REGISTRY/team/APP
          readinessProbe: {httpGet: {path: /version, port: 5000}, periodSeconds: 1}` + command + `
---
apiVersion: v1
kind: Service
metadata: {name: APP}
spec:
  selector: {app: APP}
  ports: [{port: 5000}]
`)
	}
	return files
}

// act pushes and says everything. In the end every repository's default branch has a good commit that nothing holds up.
func (s *Story) act(ctx context.Context) error {
	r := s.random(1)
	free := s.opt.Pushes - len(s.repos) // the last push to each default branch is kept for the end
	for n := 0; n < free; {
		repo := s.repos[r.IntN(len(s.repos))]
		if n > free/3 && repo.grows != "" {
			repo.apps, repo.grows = append(slices.Clone(repo.apps), repo.grows), ""
			n++
			if err := s.commit(repo, defaultBranch, ""); err != nil {
				return err
			}
		}
		if r.IntN(5) < 3 || n == 0 {
			if err := s.push(repo, r); err != nil {
				return err
			}
			n++
		} else if err := s.command(repo, r); err != nil {
			return err
		}
		if err := s.vote(r); err != nil {
			return err
		}
		if err := pause(ctx, around(r, s.opt.Gap)); err != nil {
			return err
		}
	}
	for _, repo := range s.repos {
		for _, app := range repo.apps { // one that is not held is refused, which does no harm
			if err := s.say(repo, "bob", "/unlock "+name(repo, app)+"staging"); err != nil {
				return err
			}
		}
	}
	for _, repo := range s.repos {
		if err := s.commit(repo, defaultBranch, ""); err != nil {
			return err
		}
	}
	return nil
}

// name is how an app is named in a command.
func name(r *repo, app string) string {
	if len(r.apps) == 1 {
		return ""
	}
	return app + " "
}

func (s *Story) push(repo *repo, r *rand.Rand) error {
	branch, bad := defaultBranch, ""
	switch r.IntN(10) {
	case 0:
		bad = badBuild
	case 1:
		bad = badRollout
	case 2, 3, 4:
		branch = "topic"
	case 5: // a branch that is there for a moment only
		if repo.Head("topic-2") != "" && r.IntN(2) == 0 {
			return repo.DeleteBranch("topic-2", "dave")
		}
		branch = "topic-2"
	}
	return s.commit(repo, branch, bad)
}

func (s *Story) commit(repo *repo, branch, bad string) error {
	repo.mu.Lock()
	defer repo.mu.Unlock()
	for _, before := range repo.pushes {
		before.last = before.last && before.branch != branch
	}
	p := &push{repo: repo, branch: branch, apps: repo.apps, version: fmt.Sprintf("%s-%d", repo.apps[0], len(repo.pushes)+1), bad: bad, last: true}
	login := []string{"alice", "dave"}[len(repo.pushes)%2]
	var err error
	p.sha, err = repo.Commit(branch, login, "Make it "+p.version, s.files(repo, p.version, bad))
	repo.pushes = append(repo.pushes, p)
	s.opt.Say("%s: %s is %.7s, version %s %s", repo.FullName(), branch, p.sha, p.version, bad)
	return err
}

func (s *Story) say(repo *repo, login, text string) error {
	id, err := repo.Comment(repo.pull, login, text)
	if err != nil {
		return err
	}
	s.opt.Say("%s: %s says %s", repo.FullName(), login, text)
	repo.mu.Lock()
	defer repo.mu.Unlock()
	repo.comments = append(repo.comments, comment{id, login, text})
	return nil
}

// command says something that a person may say at this moment, or may not.
func (s *Story) command(repo *repo, r *rand.Rand) error {
	app := name(repo, repo.apps[r.IntN(len(repo.apps))])
	switch r.IntN(12) {
	default:
		return s.say(repo, "alice", "/promote "+app+"production")
	case 0:
		return s.say(repo, "carol", "/promote "+app+"production")
	case 1:
		return s.say(repo, "alice", "/status")
	case 2:
		return s.say(repo, "alice", "thank you\n\n/help")
	case 3, 4:
		return s.say(repo, "bob", "/rollback "+app+"production it is slow")
	case 5:
		return s.say(repo, "bob", "/unlock "+app+"production")
	case 6:
		return s.say(repo, "bob", "/rollback "+app+"staging it is odd")
	case 7:
		return s.say(repo, "bob", "/unlock "+app+"staging")
	case 8:
		sha := repo.Head(defaultBranch)
		return s.say(repo, "alice", "/deploy "+app+"staging "+sha)
	}
}

var promised = regexp.MustCompile(`^Deployment (\d+): release \d+ goes to .production`)

// vote lets bob decide what the bot said since the last time.
func (s *Story) vote(r *rand.Rand) error {
	for _, repo := range s.repos {
		for _, c := range repo.Comments(repo.pull) {
			m := promised.FindStringSubmatch(c.Body)
			if m == nil || repo.heard[c.ID] || !strings.HasSuffix(c.User, "[bot]") || time.Since(c.Created) < 2*s.opt.Gap {
				continue
			}
			repo.heard[c.ID] = true
			text := "/approve " + m[1]
			if r.IntN(5) == 0 {
				text = "/reject " + m[1] + " not today"
			}
			if err := s.say(repo, "bob", text); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest waits until nothing is left to do: bob approves what waits for him.
func (s *Story) rest(ctx context.Context) error {
	asked := map[string]time.Time{}
	return until(ctx, s.opt.Patience, "the bot comes to rest", func() error {
		if err := s.gh.Flush(ctx); err != nil {
			return err
		}
		db, err := s.open()
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }() // it only reads
		var missing int
		known := map[string]bool{}
		var guids []string
		if err := db.Select(&guids, "SELECT id FROM events WHERE decided_at IS NOT NULL"); err != nil {
			return err
		}
		for _, g := range guids {
			known[g] = true
		}
		for _, d := range s.gh.Deliveries() {
			if !known[d.GUID] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d deliveries are not decided", missing)
		}
		var waiting []struct {
			Repo   string
			Number int
		}
		if err := db.Select(&waiting, `SELECT repo, number FROM deployments WHERE state = 'blocked'
			AND EXISTS (SELECT 1 FROM json_each(blocks) WHERE value ->> 'kind' = 'approval')`); err != nil {
			return err
		}
		for _, w := range waiting {
			key := w.Repo + strconv.Itoa(w.Number)
			if time.Since(asked[key]) < s.opt.Patience/4 {
				continue
			}
			asked[key] = time.Now()
			for _, r := range s.repos {
				if r.FullName() == w.Repo {
					if err := s.say(r, "bob", fmt.Sprint("/approve ", w.Number)); err != nil {
						return err
					}
				}
			}
		}
		if len(waiting) > 0 {
			return fmt.Errorf("%d deployments wait for approval", len(waiting))
		}
		left, err := tasks(db)
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "; "))
		}
		return err
	})
}
