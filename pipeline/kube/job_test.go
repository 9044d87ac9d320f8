package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// jobServer is an API server that holds Jobs, each of which ends as soon as it runs.
type jobServer struct {
	*api
	mu   sync.Mutex
	jobs map[string]*unstructured.Unstructured
	runs int    // how many began to run
	end  string // the condition of one that has ended
	made int
	lost bool // the answer to the next Job that is made
}

func newJobServer(t *testing.T) (*jobServer, *Cluster) {
	s := &jobServer{jobs: map[string]*unstructured.Unstructured{}, end: "Complete"}
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) { s.answer(t, w, r) })
	s.api = a
	return s, c
}

func (s *jobServer) answer(t *testing.T, w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" { // nothing changes, and others are answered meanwhile
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := filepath.Base(r.URL.Path)
	job := s.jobs[name]
	send := func(v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/log"):
		fmt.Fprintln(w, "migrated "+r.URL.Query().Get("container"))
	case name == "pods":
		var items []string
		for _, j := range s.jobs {
			if r.URL.Query().Get("labelSelector") == "job-name="+j.GetName() {
				for i, age := range []string{"10", "20"} {
					items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pod-%d","namespace":"n","uid":"p%d","creationTimestamp":"2026-01-01T00:00:%sZ","ownerReferences":[{"uid":%q,"controller":true}]},
						"spec":{"containers":[{"name":"migrate%d"}]},"status":{"phase":"Succeeded"}}`, i, i, age, j.GetUID(), i))
				}
			}
		}
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"PodList","metadata":{"resourceVersion":"7"},"items":[`+strings.Join(items, ",")+`]}`)
	case name == "events":
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"EventList","metadata":{"resourceVersion":"7"},"items":[]}`)
	case name == "jobs" && r.Method == http.MethodGet:
		var items []any
		for _, j := range s.jobs {
			if r.URL.Query().Get("fieldSelector") == "metadata.name="+j.GetName() {
				items = append(items, j.Object)
			}
		}
		send(map[string]any{"apiVersion": "batch/v1", "kind": "JobList", "metadata": map[string]any{"resourceVersion": "7"}, "items": items})
	case name == "jobs":
		var made unstructured.Unstructured
		if err := json.NewDecoder(r.Body).Decode(&made.Object); err != nil {
			t.Error(err)
		}
		if s.jobs[made.GetName()] != nil {
			writeStatus(w, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "jobs"}, made.GetName()))
			return
		}
		s.made++
		made.Object["metadata"].(map[string]any)["uid"] = fmt.Sprintf("uid-%d", s.made)
		s.jobs[made.GetName()] = &made
		if s.lost {
			s.lost = false
			panic(http.ErrAbortHandler)
		}
		send(made.Object)
	case job == nil:
		writeStatus(w, apierrors.NewNotFound(schema.GroupResource{Resource: "jobs"}, name))
	case r.Method == http.MethodPatch:
		var patch struct {
			Metadata struct{ UID string }
			Spec     struct{ Suspend *bool }
		}
		if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || patch.Metadata.UID != string(job.GetUID()) || patch.Spec.Suspend == nil || *patch.Spec.Suspend {
			t.Errorf("%+v, %v", patch, err)
		}
		s.runs++
		job.Object["spec"].(map[string]any)["suspend"] = false
		job.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": s.end, "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}}}
		send(job.Object)
	case r.Method == http.MethodDelete:
		var opts metav1.DeleteOptions
		if err := json.NewDecoder(r.Body).Decode(&opts); err != nil || opts.Preconditions == nil || *opts.Preconditions.UID != job.GetUID() || *opts.PropagationPolicy != metav1.DeletePropagationBackground {
			t.Errorf("deletes %+v, %v", opts, err)
		}
		delete(s.jobs, name)
		send(job.Object)
	default:
		send(job.Object)
	}
}

func migrateJob(t *testing.T, edit func(map[string]any)) *unstructured.Unstructured {
	t.Helper()
	spec := map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "migrate"}}}}}
	obj := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "migrate"}, "spec": spec}}
	if edit != nil {
		edit(obj.Object)
	}
	if err := errors.Join(RunOnce(obj, "0a1b2c3d-1", "1"), Own([]*unstructured.Unstructured{obj}, Owner{App: "web", Environment: "staging", Release: "7", Namespace: "n"})); err != nil {
		t.Fatal(err)
	}
	return obj
}

func silent(Progress) {}

// TestJobRunsOnce repeats every call, as whoever was killed does, and loses the answer to the first.
func TestJobRunsOnce(t *testing.T) {
	t.Parallel()
	s, c := newJobServer(t)
	job := migrateJob(t, nil)
	s.lost = true
	if _, err := c.HoldJob(t.Context(), job); err == nil {
		t.Fatal("no answer is no error")
	}
	var uid string
	for range 2 {
		var err error
		if uid, err = c.HoldJob(t.Context(), job); err != nil || uid != "uid-1" || s.runs != 0 {
			t.Fatalf("%s, %v, %d runs", uid, err, s.runs)
		}
	}
	for range 2 {
		logs, err := c.RunJob(t.Context(), job, uid, silent)
		if err != nil || !slices.Equal(logs, []string{"migrated migrate1"}) || s.runs != 1 || s.made != 1 {
			t.Fatalf("%q, %v, %d runs", logs, err, s.runs)
		}
	}
	if _, err := c.HoldJob(t.Context(), job); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("one that runs is held: %v", err)
	}
	// What has ended stays for whoever wants to look at it.
	if err := c.StopJob(t.Context(), job); err != nil || len(s.jobs) != 1 {
		t.Errorf("%v, %d jobs", err, len(s.jobs))
	}
	// Another of the same name is not the one that was begun.
	clear(s.jobs)
	var gone *Failure
	if _, err := c.RunJob(t.Context(), job, uid, silent); !errors.As(err, &gone) || gone.Reason != "NotFound" || s.runs != 1 {
		t.Errorf("gone: %v", err)
	}
	if _, err := c.HoldJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RunJob(t.Context(), job, uid, silent); !errors.As(err, &gone) || s.runs != 1 {
		t.Errorf("made anew: %v", err)
	}
	// One that has not ended is deleted, and it is no mistake that it is gone.
	for range 2 {
		if err := c.StopJob(t.Context(), job); err != nil || len(s.jobs) != 0 {
			t.Errorf("%v, %d jobs", err, len(s.jobs))
		}
	}
}

func TestJobFails(t *testing.T) {
	t.Parallel()
	s, c := newJobServer(t)
	s.end = "Failed"
	job := migrateJob(t, nil)
	uid, err := c.HoldJob(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	var f *Failure
	if _, err := c.RunJob(t.Context(), job, uid, silent); !errors.As(err, &f) || f.Reason != "BackoffLimitExceeded" || f.Object != "Job/migrate-0a1b2c3d-1" {
		t.Error(err)
	}
}

func TestJobOfAnother(t *testing.T) {
	t.Parallel()
	s, c := newJobServer(t)
	other := migrateJob(t, nil)
	other.SetLabels(map[string]string{LabelManagedBy: FieldManager, LabelApp: "api", LabelEnvironment: "staging"})
	s.jobs[other.GetName()] = other
	job := migrateJob(t, nil)
	if _, err := c.HoldJob(t.Context(), job); !errors.As(err, new(*Conflict)) {
		t.Error(err)
	}
	if err := c.StopJob(t.Context(), job); err != nil || len(s.jobs) != 1 {
		t.Error(err, s.jobs)
	}
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	job := migrateJob(t, func(o map[string]any) {
		o["metadata"].(map[string]any)["name"] = strings.Repeat("a", 51) + "-" + strings.Repeat("b", 40)
		o["spec"].(map[string]any)["ttlSecondsAfterFinished"] = int64(0)
	})
	if want := strings.Repeat("a", 51) + "-0a1b2c3d-1"; job.GetName() != want {
		t.Errorf("name %s of %d letters", job.GetName(), len(job.GetName()))
	}
	spec := job.Object["spec"].(map[string]any)
	if spec["suspend"] != true || spec["ttlSecondsAfterFinished"] != int64(3600) {
		t.Error(spec)
	}
	for text, want := range map[string]string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`:                                                    "Pod/a is no Job",
		`{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"a"}}`:                                          "CronJob/a is no Job",
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a"},"spec":{"suspend":true}}`:                      "would never end",
		`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a"},"spec":{"ttlSecondsAfterFinished":"an hour"}}`: "no whole number",
	} {
		objs, err := Decode([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := RunOnce(objs[0], "x-1", "1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
