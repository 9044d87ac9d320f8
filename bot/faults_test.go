package bot

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/e2e/faults"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// The environment by which TestFaults is asked for, and by which it starts the process that is killed.
const (
	faultsEnv    = "SHIPMATE_FAULTS"        // not empty: play
	faultsConfig = "SHIPMATE_FAULTS_CONFIG" // the server's file
	faultsParts  = "SHIPMATE_FAULTS_PARTS"  // the address of the simulated builder and clusters
)

// TestFaults is the short form of make faults: real processes and real SIGKILLs, a real registry, and a builder and
// clusters that are simulated in this process, so that what they were asked for outlives the bot.
func TestFaults(t *testing.T) {
	if os.Getenv(faultsEnv) == "" {
		t.Skip("make faults-short plays it")
	}
	opt, repeat, err := faults.FromEnv("make faults-short", 20, 8)
	must(t, err)
	stage := &simulatedStage{objects: map[string]*unstructured.Unstructured{}, applied: map[string]time.Time{}}
	images := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	defer images.Close()
	mux := http.NewServeMux()
	parts := httptest.NewServer(mux)
	defer parts.Close()
	opt.Owners, opt.Dir, opt.Stage = 3, t.TempDir(), stage
	opt.Gap, opt.Stretch, opt.Patience = 400*time.Millisecond, 1500*time.Millisecond, 90*time.Second
	opt.Registry, opt.Base = strings.TrimPrefix(images.URL, "http://"), "scratch"
	opt.Command = func(config string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFaultsBot$", "-test.timeout=0")
		cmd.Env = append(os.Environ(), faultsConfig+"="+config, faultsParts+"="+parts.URL)
		return cmd
	}
	opt.Parts = `builder:
  buildkit: ["tcp://127.0.0.1:1"]
clusters:
  test:
    {server: "https://127.0.0.1:1", token: file:hook, allow: [{repositories: [REPOSITORIES], namespaces: [staging]}]}
  prod:
    {server: "https://127.0.0.1:1", token: file:hook, allow: [{repositories: [REPOSITORIES], namespaces: [production]}]}
`
	opt.Say = func(format string, args ...any) { t.Logf(time.Now().Format("15:04:05.000 ")+format, args...) }
	story, err := faults.New(opt)
	must(t, err)
	defer story.Close()
	mux.Handle("/build", story.Watched("build", stage.up(stage.build)))
	mux.Handle("/apply", story.Watched("cluster", stage.up(stage.apply)))
	mux.Handle("/prune", story.Watched("cluster", stage.up(stage.prune)))
	mux.Handle("GET /ready", stage.up(stage.ready))
	wrong, err := story.Play(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	if t.Failed() {
		t.Logf("the log of all the bot's lives:\n%s", story.Log())
		t.Log("again: " + repeat)
	}
}

// TestFaultsBot is the process that TestFaults kills.
func TestFaultsBot(t *testing.T) {
	file := os.Getenv(faultsConfig)
	if file == "" {
		t.Skip("TestFaults starts it")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := LoadConfig(file)
	must(t, err)
	w, err := connect(cfg)
	must(t, err)
	parts := remoteParts(os.Getenv(faultsParts))
	w.builders = oneBuilder(cfg, remoteBuilder{parts})
	w.clusters = map[string]pipeline.Cluster{"test": remoteCluster{parts: parts}, "prod": remoteCluster{parts: parts}}
	b, err := open(ctx, cfg, w, "test", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	must(t, err)
	must(t, errors.Join(b.Run(ctx), b.Close()))
}

// simulatedStage builds, and keeps what was applied.
type simulatedStage struct {
	down atomic.Bool // the builder and the clusters answer 503

	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured // by namespace/Kind/name
	applied map[string]time.Time
}

func (s *simulatedStage) Image(_ context.Context, namespace, app string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[namespace+"/Deployment/"+app]
	if o == nil {
		return "", nil
	}
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return "", err
	}
	return containers[0].(map[string]any)["image"].(string), nil
}

func (s *simulatedStage) Answer(context.Context, string, string) (string, bool, error) {
	return "", false, nil
}

func (s *simulatedStage) Troubles() []faults.Trouble {
	return []faults.Trouble{{Name: "the builder and the clusters are down", Strike: func(ctx context.Context, lasts time.Duration) error {
		s.down.Store(true)
		defer s.down.Store(false)
		select {
		case <-ctx.Done():
		case <-time.After(lasts): // how long they are down
		}
		return nil
	}}}
}

// up answers 503 while the parts are down, and 500 with the error of what is asked.
func (s *simulatedStage) up(fn func(r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		answer, err := fn(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(answer) // whoever asked is gone
	})
}

// A remoteBuild is a build as the simulated builder is asked for it.
type remoteBuild struct {
	Image, Dockerfile, Version string
	Labels                     map[string]string
}

// build takes a while, and pushes an image that holds the version.
func (s *simulatedStage) build(r *http.Request) (any, error) {
	var b remoteBuild
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		return nil, err
	}
	select {
	case <-r.Context().Done(): // cancelled
		return nil, r.Context().Err()
	case <-time.After(time.Duration(len(b.Version)%4) * 100 * time.Millisecond): // how long a build takes
	}
	var content bytes.Buffer
	files := tar.NewWriter(&content)
	err := errors.Join(files.WriteHeader(&tar.Header{Name: "www/version", Mode: 0o644, Size: int64(len(b.Version))}))
	if err == nil {
		_, err = io.WriteString(files, b.Version)
	}
	if err := errors.Join(err, files.Close()); err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(content.Bytes(), types.DockerUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.Labels = b.Labels
	config.Created.Time = time.Now() // no build is like another
	if img, err = mutate.ConfigFile(img, config); err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	ref, err := ggcr.NewDigest(b.Image+"@"+digest.String(), ggcr.Insecure)
	if err != nil {
		return nil, err
	}
	return digest.String(), remote.Write(ref, img, remote.WithContext(r.Context()))
}

func decodeObjects(r *http.Request) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	return objs, json.NewDecoder(r.Body).Decode(&objs)
}

func placeOf(namespace, ref string) string { return namespace + "/" + ref }

func (s *simulatedStage) apply(r *http.Request) (any, error) {
	objs, err := decodeObjects(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objs {
		key := placeOf(o.GetNamespace(), kube.RefOf(o).String())
		s.objects[key], s.applied[key] = o, time.Now()
	}
	return nil, err
}

func (s *simulatedStage) prune(r *http.Request) (any, error) {
	var gone []string
	err := json.NewDecoder(r.Body).Decode(&gone)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range gone {
		delete(s.objects, key)
	}
	return nil, err
}

// ready tells how far a Deployment is: "failed", "progressing", "ready".
func (s *simulatedStage) ready(r *http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.URL.Query().Get("object")
	o := s.objects[key]
	if o == nil {
		return nil, fmt.Errorf("%s is not there", key)
	}
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	switch {
	case err != nil:
		return nil, err
	case time.Since(s.applied[key]) < 200*time.Millisecond:
		return "progressing", nil
	case containers[0].(map[string]any)["command"] != nil:
		return "failed", nil
	}
	return "ready", nil
}

// remoteParts is the address of the simulated builder and clusters.
type remoteParts string

var errPartsDown = errors.New("down")

func (p remoteParts) ask(ctx context.Context, method, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, string(p)+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if resp.StatusCode == http.StatusServiceUnavailable {
		return errPartsDown
	}
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(resp.Body)
		return errors.Join(errors.New(strings.TrimSpace(string(text))), err)
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}

type remoteBuilder struct{ parts remoteParts }

func (b remoteBuilder) Ping(context.Context) error { return nil }

func (b remoteBuilder) Build(ctx context.Context, req build.Request, _ func(build.Line)) (res build.Result, err error) {
	dockerfile, err := os.ReadFile(filepath.Join(req.Dir, req.Dockerfile))
	if err != nil {
		return res, err
	}
	if strings.Contains(string(dockerfile), "COPY missing") {
		return res, &build.Failure{Step: "COPY missing /missing", Command: "COPY missing /missing", File: req.Dockerfile, Line: 4, Err: errors.New(`"/missing": not found`)}
	}
	version, err := os.ReadFile(filepath.Join(req.Dir, "version"))
	if err != nil {
		return res, err
	}
	err = b.parts.ask(ctx, http.MethodPost, "/build", remoteBuild{Image: req.Image, Version: string(version), Labels: req.Labels}, &res.Digest)
	if errors.Is(err, errPartsDown) {
		err = build.ErrUnavailable
	}
	return res, err
}

// remoteCluster has no flows: what only those need is missing.
type remoteCluster struct {
	pipeline.Cluster
	parts remoteParts
}

// ask asks as the API server would be: what is down is worth another try.
func (c remoteCluster) ask(ctx context.Context, method, path string, body, answer any) error {
	err := c.parts.ask(ctx, method, path, body, answer)
	if errors.Is(err, errPartsDown) {
		err = &kube.Error{Object: path, Message: "the API server does not answer", Temporary: true, Err: err}
	}
	return err
}

func (c remoteCluster) Diff(_ context.Context, objs, _ []*unstructured.Unstructured) ([]kube.Change, error) {
	return []kube.Change{{Object: kube.RefOf(objs[0]).String(), Action: "update"}}, nil
}

func (c remoteCluster) Capabilities(context.Context) (kube.Capabilities, error) {
	return kube.Capabilities{}, nil
}

func (c remoteCluster) Apply(ctx context.Context, objs []*unstructured.Unstructured, _ kube.ApplyOptions) error {
	return c.ask(ctx, http.MethodPost, "/apply", objs, new(any))
}

func (c remoteCluster) Wait(ctx context.Context, objs []*unstructured.Unstructured, report func(kube.Progress)) error {
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	object := kube.RefOf(objs[i]).String()
	for {
		var state string
		if err := c.ask(ctx, http.MethodGet, "/ready?object="+placeOf(objs[i].GetNamespace(), object), nil, &state); err != nil {
			return err
		}
		report(kube.Progress{Object: object, Text: state, Stable: state == "ready"})
		switch state {
		case "ready":
			return nil
		case "failed":
			return &kube.Failure{Object: object, Reason: "CrashLoopBackOff", Message: "back-off restarting failed container", Fatal: true}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond): // between two looks
		}
	}
}

func (c remoteCluster) Verify(context.Context, []*unstructured.Unstructured, []kube.Image) ([]string, error) {
	return nil, nil
}

func (c remoteCluster) Prune(ctx context.Context, old, now kube.Inventory, _ kube.Owner) (gone []string, err error) {
	for _, ref := range old {
		if !slices.Contains(now, ref) {
			gone = append(gone, placeOf(ref.Namespace, ref.String()))
		}
	}
	return gone, c.ask(ctx, http.MethodPost, "/prune", gone, new(any))
}

func (c remoteCluster) Live(context.Context, kube.ObjectRef) (*unstructured.Unstructured, error) {
	return nil, errors.New("no strategy is played here")
}

func (c remoteCluster) List(context.Context, kube.ObjectRef) ([]*unstructured.Unstructured, error) {
	return nil, errors.New("no strategy is played here")
}

func (c remoteCluster) EnsurePullSecret(context.Context, string, string, string, string, string) error {
	return nil
}

func (c remoteCluster) Drift(context.Context, []*unstructured.Unstructured) ([]kube.Drift, error) {
	return nil, nil
}

func (c remoteCluster) Status(_ context.Context, objs []*unstructured.Unstructured) ([]kube.WorkloadStatus, error) {
	var all []kube.WorkloadStatus
	for _, o := range objs {
		release := o.GetAnnotations()[kube.AnnotationRelease]
		all = append(all, kube.WorkloadStatus{Object: kube.RefOf(o).String(), Found: true, Desired: 1, Ready: 1, Stable: true, Release: release, Released: release})
	}
	return all, nil
}
