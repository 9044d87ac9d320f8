package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

// stepTimeout is how long one thing of the story may take until it is seen.
const stepTimeout = 4 * time.Minute

// An Example is the repository that the story is played on.
type Example struct {
	*Stack
	Repo *sim.Repo
	dir  string
}

// NewExample makes acme/devops-app with its people: alice writes, bob maintains, carol reads. dir is the example's folder.
func (s *Stack) NewExample(dir string) (*Example, error) {
	repo, err := s.GitHub.CreateRepo("acme/devops-app", sim.RepoOptions{})
	if err != nil {
		return nil, err
	}
	repo.SetPermission("alice", "write", "")
	repo.SetPermission("bob", "maintain", "")
	repo.SetPermission("carol", "read", "")
	return &Example{Stack: s, Repo: repo, dir: dir}, nil
}

// Files are the example's files, with this stack's registry in them.
func (x *Example) Files() (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(x.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(x.dir, p)
		files[filepath.ToSlash(rel)] = strings.ReplaceAll(string(b), "registry.example.com", x.Registry)
		return err
	})
	return files, err
}

// until waits for something that is looked at again and again; the error of the last look says what is missing.
func until(ctx context.Context, what string, look func() error) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		var f final
		if errors.As(err, &f) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (waited until %w)", what, err, ctx.Err())
		case <-tick.C:
		}
	}
}

// final marks a look that will not change.
type final struct{ error }

// Status waits until a commit status is final, and says whether it is the wanted one.
func (x *Example) Status(ctx context.Context, sha, name, want string) (sim.Status, error) {
	var got sim.Status
	err := until(ctx, fmt.Sprintf("status %s of %.7s", name, sha), func() error {
		got = x.status(sha, name)
		switch got.State {
		case want:
			return nil
		case "", "pending":
			return fmt.Errorf("is %q: %s", got.State, got.Description)
		}
		return final{fmt.Errorf("is %s, not %s: %s", got.State, want, got.Description)}
	})
	return got, err
}

// status is what a context says of a commit now.
func (x *Example) status(sha, name string) (got sim.Status) {
	for _, s := range x.Repo.Statuses(sha) { // the newest is the last
		if s.Context == name {
			got = s
		}
	}
	return got
}

// Says waits until a context says a state and a text, whatever it says before.
func (x *Example) Says(ctx context.Context, sha, name, state, text string) error {
	return until(ctx, fmt.Sprintf("status %s of %.7s", name, sha), func() error {
		if s := x.status(sha, name); s.State != state || !strings.Contains(s.Description, text) {
			return fmt.Errorf("is %q: %s", s.State, s.Description)
		}
		return nil
	})
}

// Reply waits for the bot's answer to a command: a comment of its own, or a line in the living comment of the release that
// it is about, wherever that stands.
func (x *Example) Reply(ctx context.Context, issue int, comment int64, login, text string) (reaction, body string, err error) {
	err = until(ctx, "answer to a comment", func() error {
		reaction, body = "", ""
		for _, r := range x.Repo.Reactions(comment) {
			if r.Content != "eyes" {
				reaction = r.Content
			}
		}
		if reaction == "" {
			return errors.New("no reaction yet")
		}
		for n := 1; n <= issue; n++ { // those before are older
			for _, c := range x.Repo.Comments(n) {
				if !strings.HasSuffix(c.User, "[bot]") {
					continue
				}
				_, line, told := strings.Cut(c.Body, "- `"+text+"` by `"+login+"`: ")
				if told && reaction == "rocket" {
					body = line
				} else if n == issue && c.ID > comment && !strings.HasPrefix(c.Body, "###") {
					body = c.Body
					return nil
				}
			}
		}
		if body == "" {
			return errors.New("no reply yet")
		}
		return nil
	})
	return reaction, body, err
}

// Say comments as a person and waits for the answer, which must be a yes or a no.
func (x *Example) Say(ctx context.Context, issue int, login, text string, yes bool) (string, error) {
	id, err := x.Repo.Comment(issue, login, text)
	if err != nil {
		return "", err
	}
	reaction, body, err := x.Reply(ctx, issue, id, login, text)
	if err != nil {
		return body, err
	}
	if want := map[bool]string{true: "rocket", false: "confused"}[yes]; reaction != want {
		return body, fmt.Errorf("%s said %q and got %s, not %s: %s", login, text, reaction, want, body)
	}
	return body, nil
}

// Live waits until a namespace answers on a path with a text.
func (x *Example) Live(ctx context.Context, namespace, path, want string) error {
	return until(ctx, fmt.Sprintf("%s answers on %s", namespace, path), func() error {
		body, err := x.Get(ctx, namespace, path)
		if err != nil {
			return err
		}
		if body != want {
			return fmt.Errorf("got %q, want %q", body, want)
		}
		return nil
	})
}

// Images lists what the pods of a namespace run that are not on their way out.
func (x *Example) Images(ctx context.Context, namespace string) ([]string, error) {
	pods, err := x.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=devops-app"})
	if err != nil {
		return nil, err
	}
	var images []string
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			images = append(images, p.Spec.Containers[0].Image)
		}
	}
	return images, nil
}

// Runs checks that every pod of a namespace runs one digest.
func (x *Example) Runs(ctx context.Context, namespace, digest string) error {
	return until(ctx, namespace+" runs "+digest, func() error {
		images, err := x.Images(ctx, namespace)
		if err != nil {
			return err
		}
		if len(images) != 2 {
			return fmt.Errorf("%d pods", len(images))
		}
		for _, i := range images {
			if !strings.HasSuffix(i, "@"+digest) {
				return fmt.Errorf("a pod runs %s", i)
			}
		}
		return nil
	})
}

// Digest is what the newest pod of a namespace runs.
func (x *Example) Digest(ctx context.Context, namespace string) (string, error) {
	images, err := x.Images(ctx, namespace)
	if err != nil || len(images) == 0 {
		return "", errors.Join(err, fmt.Errorf("%s has %d pods", namespace, len(images)))
	}
	_, digest, _ := strings.Cut(images[0], "@")
	return digest, nil
}

// v2 is the guide's own test: a second endpoint.
func v2(files map[string]string) map[string]string {
	return map[string]string{"main.go": strings.Replace(files["main.go"], `	mux.HandleFunc("GET /healthz"`,
		`	mux.HandleFunc("GET /v2", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "Hello from devops-app, v2") })
	mux.HandleFunc("GET /healthz"`, 1)}
}

// Story is what the product is for: push, live in staging, promote with an approval, push v2, promote, roll back. say is
// told each step before it happens; what the far ends get is shown by whoever watches them.
func (x *Example) Story(ctx context.Context, say func(format string, args ...any)) error {
	files, err := x.Files()
	if err != nil {
		return err
	}
	say("alice pushes the example to master")
	v1, err := x.Repo.Commit("master", "alice", "devops-app, v1\n\nThe first version.", files)
	if err != nil {
		return err
	}
	if _, err := x.Status(ctx, v1, "shipmate/build", "success"); err != nil {
		return err
	}
	if _, err := x.Status(ctx, v1, "shipmate/deploy/staging", "success"); err != nil {
		return err
	}
	if err := x.Live(ctx, "staging", "/", "Hello from devops-app, v1"); err != nil {
		return err
	}
	digest1, err := x.Digest(ctx, "staging")
	if err != nil {
		return err
	}
	say("staging runs %s", digest1)

	say("alice opens a pull request with a v2 endpoint, and asks what she can say")
	if _, err := x.Repo.Commit("v2", "alice", "Answer on /v2", v2(files)); err != nil {
		return err
	}
	pr, err := x.Repo.OpenPullRequest("v2", "master", "alice", "Answer on /v2")
	if err != nil {
		return err
	}
	for _, text := range []string{"/help", "/status"} {
		if _, err := x.Say(ctx, pr, "alice", text, true); err != nil {
			return err
		}
	}
	if err := x.promote(ctx, say, pr, v1, digest1); err != nil {
		return err
	}

	say("the pull request is merged: the push to master ships v2")
	merged, err := x.Repo.MergePullRequest(pr, "alice")
	if err != nil {
		return err
	}
	if _, err := x.Status(ctx, merged, "shipmate/deploy/staging", "success"); err != nil {
		return err
	}
	if err := x.Live(ctx, "staging", "/v2", "Hello from devops-app, v2"); err != nil {
		return err
	}
	digest2, err := x.Digest(ctx, "staging")
	if err != nil {
		return err
	}
	if err := x.promote(ctx, say, pr, merged, digest2); err != nil {
		return err
	}

	say("bob rolls production back")
	if _, err := x.Say(ctx, pr, "bob", "/rollback production v2 is too slow", true); err != nil {
		return err
	}
	if err := x.Runs(ctx, "production", digest1); err != nil {
		return err
	}
	if _, err := x.Status(ctx, v1, "shipmate/deploy/production", "success"); err != nil {
		return err
	}
	say("production runs %s again", digest1)
	if v := x.GitHub.Violations(); len(v) > 0 {
		return fmt.Errorf("requests that GitHub's own description forbids: %s", strings.Join(v, "; "))
	}
	return nil
}

// promote takes what staging runs to production: alice asks, alice may not approve, bob does.
func (x *Example) promote(ctx context.Context, say func(format string, args ...any), pr int, sha, digest string) error {
	say("alice promotes to production; it waits for somebody else's approval")
	if _, err := x.Say(ctx, pr, "alice", "/promote production", true); err != nil {
		return err
	}
	err := until(ctx, "the deployment waits", func() error {
		for _, s := range x.Repo.Statuses(sha) {
			if s.Context == "shipmate/deploy/production" && s.State == "pending" && strings.Contains(s.Description, "approval") {
				return nil
			}
		}
		return errors.New("no status says so")
	})
	if err != nil {
		return err
	}
	if _, err := x.Say(ctx, pr, "carol", "/approve", false); err != nil {
		return err
	}
	say("bob approves")
	if _, err := x.Say(ctx, pr, "bob", "/approve", true); err != nil {
		return err
	}
	if _, err := x.Status(ctx, sha, "shipmate/deploy/production", "success"); err != nil {
		return err
	}
	return x.Runs(ctx, "production", digest)
}
