package kube

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// archive packs files as helm package does.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	tw := tar.NewWriter(zw)
	for _, name := range sortedKeys(files) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const chartYAML = "apiVersion: v2\nname: web\nversion: 1.0.0\n"

func TestChartArchives(t *testing.T) {
	const cache = "apiVersion: v2\nname: cache\nversion: 1.0.0\n"
	inner := map[string]string{"cache/Chart.yaml": cache, "cache/templates/c.yaml": named("cache"), "cache/charts/deep/Chart.yaml": strings.Replace(cache, "cache", "deep", 1), "cache/charts/deep/templates/d.yaml": named("deep")}
	with := func(name, text string) map[string]string {
		files := map[string]string{}
		for k, v := range inner {
			files[k] = v
		}
		files[name] = text
		return files
	}
	for _, test := range []struct {
		name    string
		archive string
		want    string // names of the objects, or a part of the error
	}{
		{"as helm dependency build leaves it", archive(t, inner), "deep cache web"},
		{"an archive in it", archive(t, with("cache/charts/more.tgz", archive(t, inner))), "deploy/charts/cache-1.0.0.tgz: has the archive charts/more.tgz in it; unpack it in charts"},
		{"a path out of it", archive(t, with("cache/../../etc/passwd", "x")), "deploy/charts/cache-1.0.0.tgz: chart illegally references parent directory"},
		{"an absolute path", archive(t, with("//etc/passwd", "x")), "deploy/charts/cache-1.0.0.tgz: "},
		{"no archive", "hello", "deploy/charts/cache-1.0.0.tgz: "},
		{"a mistake in it", archive(t, with("cache/templates/c.yaml", "{{ .Values.a.b }}")), "deploy/charts/cache/templates/c.yaml: line 1: "},
		{"too much in it", archive(t, with("cache/x", strings.Repeat("x", 6<<20))), "deploy/charts/cache-1.0.0.tgz: decompressed chart file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := repository(t, map[string]string{"deploy/Chart.yaml": chartYAML + "dependencies: [{name: cache, version: 1.x.x}]\n", "deploy/templates/w.yaml": named("web"), "deploy/charts/cache-1.0.0.tgz": test.archive})
			objs, err := Render(t.Context(), Manifests{Root: root, Path: "deploy"})
			var names []string
			for _, obj := range objs {
				names = append(names, obj.GetName())
			}
			got := strings.Join(names, " ")
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestChartLimits(t *testing.T) {
	files := map[string]string{"deploy/Chart.yaml": chartYAML, "deploy/templates/a.yaml": named("a")}
	for i := range maxFiles {
		files[fmt.Sprintf("deploy/docs/%d", i)] = "x"
	}
	if _, err := Render(t.Context(), Manifests{Root: repository(t, files), Path: "deploy"}); err == nil || !strings.Contains(err.Error(), "manifests deploy: more than 1000 files") {
		t.Errorf("files: %v", err)
	}
	files["deploy/.helmignore"] = "docs/\n"
	if _, err := Render(t.Context(), Manifests{Root: repository(t, files), Path: "deploy"}); err != nil {
		t.Errorf("files that are ignored: %v", err)
	}
	text := `{{ range until 17 }}# {{ repeat 1000000 "x" }}` + "\n{{ end }}"
	root := repository(t, map[string]string{"deploy/Chart.yaml": chartYAML, "deploy/templates/a.yaml": text})
	if _, err := Render(t.Context(), Manifests{Root: root, Path: "deploy"}); err == nil || !strings.Contains(err.Error(), "deploy: what is rendered is larger than 16 MiB") {
		t.Errorf("output: %v", err)
	}
}

// A template that takes long ends with its context.
func TestChartStops(t *testing.T) {
	root := repository(t, map[string]string{"deploy/Chart.yaml": chartYAML, "deploy/templates/a.yaml": "{{ range until 1000000 }}{{ range until 100000 }}{{ end }}{{ end }}"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := Render(ctx, Manifests{Root: root, Path: "deploy"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestChartWithoutCluster(t *testing.T) {
	root := repository(t, map[string]string{"Chart.yaml": chartYAML + "kubeVersion: '>= 1.30'\n",
		"templates/a.yaml": strings.Replace(configMap, "NAME", `{{ .Capabilities.APIVersions.Has "batch/v1" }}-{{ .Capabilities.KubeVersion.Minor }}`, 1)})
	objs, err := Render(t.Context(), Manifests{Root: root, Path: "."})
	if err != nil || objs[0].GetName() != "true-37" {
		t.Errorf("%v, %v", objs, err)
	}
}

// What the cluster answers is passed on, so that it can be asked again.
func TestChartClusterAway(t *testing.T) {
	away := errors.New("away")
	asked := 0
	ask := func(context.Context) (Capabilities, error) { asked++; return Capabilities{}, away }
	root := repository(t, map[string]string{"deploy/Chart.yaml": chartYAML, "deploy/templates/a.yaml": named("a"), "plain/a.yaml": named("a")})
	if _, err := Render(t.Context(), Manifests{Root: root, Path: "deploy", Capabilities: ask}); err != away {
		t.Errorf("got %v", err)
	}
	if _, err := Render(t.Context(), Manifests{Root: root, Path: "plain", Capabilities: ask}); err != nil || asked != 1 {
		t.Errorf("plain YAML: %v, asked %d times", err, asked)
	}
}

func TestCapabilities(t *testing.T) {
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		http.NotFound(w, r)
	})
	got, err := c.Capabilities(t.Context())
	if err != nil || got.Version != "v1.37.2-tke.1" || got.Major != "1" || got.Minor != "37+" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, want := range []string{"v1", "v1/Pod", "apps/v1", "apps/v1/Deployment", "example.com/v1/Thing"} {
		if !slices.Contains(got.APIVersions, want) {
			t.Errorf("%s is not in %q", want, got.APIVersions)
		}
	}
	a.Close()
	var e *Error
	if _, err := c.Capabilities(t.Context()); !errors.As(err, &e) || !e.Temporary {
		t.Errorf("without a server: %v", err)
	}
}

// What is random in a chart is another thing each time: only what is stored is what was approved.
func TestChartRandom(t *testing.T) {
	root := repository(t, map[string]string{"deploy/Chart.yaml": chartYAML, "deploy/templates/a.yaml": named("a") + "data: {token: {{ randAlphaNum 40 }}}\n"})
	token := func() string {
		objs, err := Render(t.Context(), Manifests{Root: root, Path: "deploy"})
		if err != nil {
			t.Fatal(err)
		}
		s, _, _ := unstructured.NestedString(objs[0].Object, "data", "token")
		return s
	}
	if a, b := token(), token(); len(a) != 40 || a == b {
		t.Errorf("%q and %q", a, b)
	}
}

// The chart that helm create writes is rendered and bound as it is.
func TestChartScaffold(t *testing.T) {
	root := t.TempDir()
	if _, err := chartutil.Create("web", root); err != nil {
		t.Fatal(err)
	}
	objs, err := Render(t.Context(), Manifests{Root: root, Path: "web", Name: "shop", Namespace: "prod"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Bind(objs, []Image{{Repository: "nginx", Digest: digest, Required: true}}); err != nil {
		t.Error(err)
	}
	if err := Own(objs, owner); err != nil {
		t.Error(err)
	}
	var refs []string
	for _, obj := range objs {
		refs = append(refs, RefOf(obj).String())
	}
	if got := strings.Join(refs, " "); got != "Deployment/shop-web Service/shop-web ServiceAccount/shop-web" {
		t.Error(got)
	}
}

// What a chart wants kept is not pruned.
func TestPruneKeeps(t *testing.T) {
	const object = `{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": %q, "namespace": "n", "uid": "1", "labels": {%q: "shipmate", %q: %q, %q: %q}, "annotations": {"helm.sh/resource-policy": %q}}}`
	a, c := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		fmt.Fprintf(w, object, name, LabelManagedBy, LabelApp, owner.App, LabelEnvironment, owner.Environment, name)
	})
	thing := func(name string) ObjectRef {
		return ObjectRef{Group: "example.com", Version: "v1", Kind: "Thing", Namespace: "n", Name: name}
	}
	gone, err := c.Prune(t.Context(), Inventory{thing("keep"), thing("drop")}, nil, owner)
	if err != nil || strings.Join(gone, " ") != "Thing/drop" {
		t.Errorf("%q, %v; asked %q", gone, err, a.asked)
	}
}

// No function of kustomize (KRM) is run, whether a program or an image.
func TestKustomizeRunsNothing(t *testing.T) {
	program := filepath.Join(t.TempDir(), "run")
	mark := program + ".ran"
	if err := os.WriteFile(program, []byte("#!/bin/sh\n: >"+mark+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, function := range []string{"exec: {path: " + program + "}", "container: {image: example.com/fn}", "starlark: {path: " + program + "}"} {
		for _, field := range []string{"generators", "transformers", "validators"} {
			root := repository(t, map[string]string{"deploy/kustomization.yaml": "resources: [a.yaml]\n" + field + ": [g.yaml]\n", "deploy/a.yaml": named("a"),
				"deploy/g.yaml": "apiVersion: example.com/v1\nkind: Gen\nmetadata:\n  name: x\n  annotations:\n    \"config.kubernetes.io/function\": |\n      " + function + "\n"})
			if _, err := Render(t.Context(), Manifests{Root: root, Path: "deploy"}); err == nil || !strings.Contains(err.Error(), "external plugins disabled") {
				t.Errorf("%s in %s: %v", function, field, err)
			}
		}
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program was run")
	}
}
