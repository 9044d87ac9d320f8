package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline/kube"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	verifyEvery  = 5 * time.Second // how often a verify step asks
	verifyMisses = 3               // how many wrong answers in a row fail it: one may be of a pod that just ends
	hookAttempts = 5
	hookPause    = 10 * time.Second // before the second attempt; three times as long before each further one
	askTimeout   = 30 * time.Second // of one request
	maxAnswer    = 1 << 20          // how much of an answer is read, in bytes
)

// A flowRun is one deployment whose flow is advanced.
type flowRun struct {
	*Engine
	d       store.Deployment
	env     Environment
	cluster Cluster
	rel     store.Release
	images  []kube.Image      // of the release, as they are pulled
	live    *store.Deployment // nil before the first
	was     *store.Deployment // which serves until this one does; nil: none
	objs    []*unstructured.Unstructured
	jobs    []*unstructured.Unstructured // of the flow
}

// advance does what is next of a step that is no part of the deploy itself. until is when to call it again; the zero time: it is done.
// An error that is no passing one fails the deployment.
func (r *flowRun) advance(ctx context.Context, kind string, at *moment) (until time.Time, err error) {
	verb, _, _ := strings.Cut(kind, "/")
	if slices.Contains([]string{verbCanary, verbPause, verbProve, StepSwitch}, verb) {
		return r.advanceBetween(ctx, kind, at)
	}
	verb, position, of, err := r.env.flowStep(kind)
	if err != nil {
		return until, permanent{err}
	}
	step, now, err := r.begin(ctx, "deployment", r.d.ID, kind)
	if err != nil {
		return until, err
	}
	*at = moment{kind, now.Add(r.env.Timeout)}            // those that ask again bound themselves
	if again := resultOf(step).Again; now.Before(again) { // something else has woken us
		return again, nil
	}
	switch verb {
	case verbJob:
		at.until = step.StartedAt.Add(r.env.Timeout)
		ctx, cancel := context.WithDeadline(ctx, at.until)
		defer cancel()
		return until, r.job(ctx, step, r.jobAt(position))
	case verbWait:
		if until = step.StartedAt.Add(of.Wait); now.Before(until) {
			return until, r.note(ctx, step, store.StepResult{}, "waits until "+until.UTC().Format("Mon 15:04 UTC"))
		}
		return time.Time{}, r.end(ctx, step, "", nil)
	case verbVerify:
		good, said, err := r.measure(ctx, *of.Verify)
		if err != nil {
			at.until = r.since(step.StartedAt.Time).Add(of.Verify.For + r.env.Timeout)
			return until, err
		}
		return r.judge(ctx, step, good, said, of.Verify.For)
	case verbApprove:
		return r.approve(ctx, step, *of.Approve)
	default:
		return r.post(ctx, step, position, *of.Webhook)
	}
}

// note records what a step has brought so far and how it stands, and stops where somebody asked for that.
func (r *flowRun) note(ctx context.Context, step store.Step, result store.StepResult, said string) error {
	return r.DB.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Deployment(r.d.ID)
		if err == nil && d.CancelBy != "" {
			err = errStopped
		}
		if err != nil {
			return err
		}
		return errors.Join(tx.NoteStep(r.d.ID, step.Kind, result), tx.Progress(r.d, said))
	})
}

// end ends a step, with what it brought where it did.
func (r *flowRun) end(ctx context.Context, step store.Step, detail string, result *store.StepResult) error {
	return r.DB.Update(ctx, func(tx *store.Tx) error {
		if result != nil {
			if err := tx.NoteStep(r.d.ID, step.Kind, *result); err != nil {
				return err
			}
		}
		return errors.Join(tx.EndStep(r.d.ID, step.Kind, store.StepSucceeded, r.Mask(detail)), tx.Progress(r.d, ""), tx.Wake(store.TaskReport, "deployment/"+r.d.ID))
	})
}

func resultOf(step store.Step) store.StepResult {
	if step.Result.V == nil {
		return store.StepResult{}
	}
	return *step.Result.V
}

// job runs a Job to its end. That it is begun is written down, with its id, before it runs: a Job that is then gone is not
// made again.
func (r *flowRun) job(ctx context.Context, step store.Step, job *unstructured.Unstructured) error {
	if job == nil {
		return permanent{errors.New("its Job was not rendered")}
	}
	result := resultOf(step)
	if result.UID == "" {
		if err := r.pullSecret(ctx, r.env, r.cluster, r.images); err != nil {
			return err
		}
		uid, err := r.cluster.HoldJob(ctx, job)
		if err != nil {
			return err
		}
		result.Object, result.UID = kube.RefOf(job).String(), uid
		if err := r.note(ctx, step, result, result.Object); err != nil {
			return err
		}
	}
	logs, err := r.cluster.RunJob(ctx, job, result.UID, r.telling(ctx, &rolloutNews{}))
	if err != nil {
		return err
	}
	m := r.mask()
	for _, line := range logs {
		result.Logs = append(result.Logs, m.String(line))
	}
	return r.end(ctx, step, result.Object, &result)
}

// stopJobs deletes what a deployment that ends has begun and that has not ended. What can't be deleted is told.
func (r *flowRun) stopJobs(ctx context.Context) *store.Failure {
	if len(r.jobs) == 0 {
		return nil
	}
	var steps []store.Step
	err := r.DB.View(ctx, func(tx *store.Tx) (err error) { steps, err = tx.Steps(r.d.ID); return err })
	if err != nil {
		return &store.Failure{Reason: oneLine(err.Error())}
	}
	for _, s := range steps {
		verb, position, _, err := r.env.flowStep(s.Kind)
		job := r.jobAt(position)
		if err != nil || verb != verbJob || job == nil || s.State != store.StepRunning && s.State != store.StepInterrupted {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, safePoint)
		err = r.cluster.StopJob(ctx, job)
		cancel()
		if err != nil {
			return r.masked(&store.Failure{Step: s.Kind, Where: kube.RefOf(job).String(), Reason: oneLine("could not be stopped: " + err.Error()),
				Hint: fmt.Sprintf("delete it: kubectl -n %s delete job %s", job.GetNamespace(), job.GetName())})
		}
	}
	return nil
}

// judge counts what a verify step found. Only wrong answers one after the other fail it.
func (r *flowRun) judge(ctx context.Context, step store.Step, good bool, said string, span time.Duration) (until time.Time, err error) {
	said = oneLine(r.Mask(said))
	result := resultOf(step)
	if !good {
		if result.Misses++; result.Misses >= verifyMisses {
			return until, permanent{fmt.Errorf("%s, %d times in a row", said, result.Misses)}
		}
	} else {
		result.Misses = 0
	}
	now := r.DB.Now()
	last := r.since(step.StartedAt.Time).Add(span)
	if good && !now.Before(last) {
		return until, r.end(ctx, step, said, &result)
	}
	if until = now.Add(verifyEvery); now.Before(last) && until.After(last) {
		until = last
	}
	result.Again = until
	return until, r.note(ctx, step, result, said)
}

// measure asks once. What does not answer is no error but not good either.
func (r *flowRun) measure(ctx context.Context, v Verify) (good bool, said string, err error) {
	within, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if v.HTTP != "" {
		service, port, what, err := v.service()
		if err != nil {
			return false, "", permanent{err}
		}
		status, _, err := r.cluster.Proxy(within, r.env.Namespace, service, port, what)
		if ctx.Err() != nil {
			return false, "", ctx.Err()
		}
		if api := new(kube.Error); errors.As(err, &api) && api.Away { // which says nothing about the service
			return false, "", err
		}
		if err != nil {
			return false, err.Error(), nil
		}
		if want := cmp.Or(v.Status, http.StatusOK); status != want {
			return false, fmt.Sprintf("%s answers %d instead of %d", v.HTTP, status, want), nil
		}
		return true, fmt.Sprintf("%s answers %d", v.HTTP, status), nil
	}
	values, err := r.query(within, v)
	if ctx.Err() != nil {
		return false, "", ctx.Err()
	}
	if err != nil {
		return false, "Prometheus: " + err.Error(), nil
	}
	for _, x := range values {
		switch {
		case v.Max != nil && !(x <= float64(*v.Max)): // NaN is neither
			return false, fmt.Sprintf("%s is %s, more than %s", v.Query, Limit(x), v.Max), nil
		case v.Min != nil && !(x >= float64(*v.Min)):
			return false, fmt.Sprintf("%s is %s, less than %s", v.Query, Limit(x), v.Min), nil
		}
	}
	return true, fmt.Sprintf("%s is %s", v.Query, Limit(values[0])), nil
}

// query asks Prometheus for the values of now (Prometheus documentation, HTTP API, "Instant queries"): at least one.
func (r *flowRun) query(ctx context.Context, v Verify) ([]float64, error) {
	u, err := httpAddress(v.Prometheus)
	if err != nil {
		return nil, err
	}
	u = u.JoinPath("api/v1/query")
	u.RawQuery = url.Values{"query": {v.Query}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	_, body, err := r.send(req)
	if err != nil {
		return nil, err
	}
	type sample [2]any // a time, and the value as a text
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errors.New("what it answers is not of its API; write the address that its own pages are below")
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("it refuses: %s", answer.Error)
	}
	var samples []sample
	switch answer.Data.ResultType {
	case "scalar":
		samples = make([]sample, 1)
		err = json.Unmarshal(answer.Data.Result, &samples[0])
	case "vector":
		var series []struct{ Value sample }
		err = json.Unmarshal(answer.Data.Result, &series)
		for _, s := range series {
			samples = append(samples, s.Value)
		}
	default:
		err = fmt.Errorf("the query is for a %s; write one for a number or a vector", answer.Data.ResultType)
	}
	var values []float64
	for _, s := range samples {
		x, bad := strconv.ParseFloat(fmt.Sprint(s[1]), 64)
		values, err = append(values, x), errors.Join(err, bad)
	}
	if err == nil && len(values) == 0 {
		err = fmt.Errorf("%s has no value", v.Query)
	}
	return values, err
}

// send does a request by a client that reaches no address that the repository may not name. No error repeats the address.
func (r *flowRun) send(req *http.Request) (status int, body []byte, err error) {
	if r.Outside == nil {
		return 0, nil, errors.New("this server sends no requests")
	}
	answer, err := r.Outside(r.d.Repo).Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, body, err
}

// Headers of a flow's webhook.
const (
	hookDelivery  = "X-Shipmate-Delivery"      // names the step; the same with each attempt
	hookSignature = "X-Shipmate-Signature-256" // "sha256=" and the HMAC of the body by the secret, as GitHub's X-Hub-Signature-256
)

// A hookBody is what a flow's webhook is sent.
type hookBody struct {
	Repository  string        `json:"repository"`
	App         string        `json:"app"`
	Environment string        `json:"environment"`
	Deployment  int           `json:"deployment"`
	Release     int           `json:"release"`
	SHA         string        `json:"sha"`
	Ref         string        `json:"ref"`
	Requester   string        `json:"requester"`
	Images      []store.Image `json:"images"`
}

// post sends a step's request once, and says when to do so again where it was not taken.
func (r *flowRun) post(ctx context.Context, step store.Step, position int, hook FlowHook) (until time.Time, err error) {
	at, err := r.env.ImagesAt(r.rel)
	if err != nil {
		return until, permanent{err}
	}
	body, err := json.Marshal(hookBody{r.d.Repo, r.d.App, r.d.Environment, r.d.Number, r.rel.Number, r.rel.SHA, r.rel.Ref, r.d.Requester, at})
	if err != nil {
		return until, permanent{err}
	}
	within, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(within, http.MethodPost, hook.URL, bytes.NewReader(body))
	if err != nil {
		return until, permanent{errors.New("webhook: url is no address")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Shipmate")
	req.Header.Set(hookDelivery, fmt.Sprintf("%s-%d", r.d.ID, position))
	if hook.Secret != "" {
		secret, err := r.hookSecret(ctx, hook.Secret)
		if err != nil {
			return until, permanent{err}
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body) // a hash takes everything
		req.Header.Set(hookSignature, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	status, _, err := r.send(req)
	if ctx.Err() != nil {
		return until, ctx.Err()
	}
	if err == nil && status >= 200 && status < 400 {
		return until, r.end(ctx, step, fmt.Sprintf("HTTP status %d", status), nil)
	}
	if err == nil {
		err = fmt.Errorf("HTTP status %d", status)
	}
	result := resultOf(step)
	if result.Misses++; result.Misses >= hookAttempts {
		return until, permanent{fmt.Errorf("%w, after %d attempts", err, result.Misses)}
	}
	pause := hookPause
	for range result.Misses - 1 {
		pause *= 3
	}
	result.Again = r.DB.Now().Add(pause)
	return result.Again, r.note(ctx, step, result, oneLine(r.Mask(err.Error())))
}

func (r *flowRun) hookSecret(ctx context.Context, name string) (string, error) {
	var repo store.Repo
	if err := r.DB.View(ctx, func(tx *store.Tx) (err error) { repo, err = tx.Repo(r.d.Repo); return err }); err != nil {
		return "", err
	}
	if err := r.Server.MayUseSecret(name, r.d.Repo, r.rel.Ref, repo.DefaultBranch); err != nil {
		return "", err
	}
	return r.Server.Secret(name)
}

// flowJobs renders the Jobs of an environment's flow, each from one file of the checkout, named after the deployment.
func (e *Engine) flowJobs(ctx context.Context, root string, d store.Deployment, rel store.Release, env Environment) ([]*unstructured.Unstructured, error) {
	var jobs []*unstructured.Unstructured
	for i, step := range env.Flow {
		if step.Job == "" {
			continue
		}
		objs, err := kube.Render(ctx, kube.Manifests{Root: root, Path: path.Clean(step.Job)})
		if err != nil {
			return nil, err
		}
		if len(objs) != 1 {
			return nil, fmt.Errorf("%s: has %d objects, and a job step runs one; leave the Job alone in it", step.Job, len(objs))
		}
		suffix := strings.TrimPrefix(fmt.Sprintf("%.8s-%d", d.ID, i+1), "-")
		if err := kube.RunOnce(objs[0], suffix, strconv.Itoa(i+1)); err != nil {
			return nil, fmt.Errorf("%s: %w", step.Job, err)
		}
		images, err := e.images(rel, env)
		if err != nil {
			return nil, err
		}
		for j := range images {
			images[j].Required = false // it may be of another image
		}
		if _, err := kube.Bind(objs, images); err != nil {
			return nil, fmt.Errorf("%s: %w", step.Job, err)
		}
		if err := kube.Own(objs, e.owner(d, env)); err != nil {
			return nil, fmt.Errorf("%s: %w", step.Job, err)
		}
		jobs = append(jobs, objs[0])
	}
	return jobs, nil
}

// split parts what a deployment applies from the Jobs of its flow, which stand behind it in their order.
func split(objs []*unstructured.Unstructured) (applied, jobs []*unstructured.Unstructured) {
	i := slices.IndexFunc(objs, func(o *unstructured.Unstructured) bool { return o.GetAnnotations()[kube.AnnotationStep] != "" })
	if i < 0 {
		return objs, nil
	}
	return objs[:i:i], objs[i:]
}

// jobAt finds the Job of a step by its position in the flow, nil for none.
func (r *flowRun) jobAt(position int) *unstructured.Unstructured {
	i := slices.IndexFunc(r.jobs, func(o *unstructured.Unstructured) bool {
		return o.GetAnnotations()[kube.AnnotationStep] == strconv.Itoa(position)
	})
	if i < 0 {
		return nil
	}
	return r.jobs[i]
}
