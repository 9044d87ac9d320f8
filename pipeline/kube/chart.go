package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/ignore"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"
)

// Capabilities is what a chart is told of the cluster, as .Capabilities.
type Capabilities struct {
	Version string // of Kubernetes, as in v1.37.0
	Major   string
	Minor   string
	// APIVersions are group/version and group/version/Kind; nil: all that client-go knows.
	APIVersions []string
}

// defaultCapabilities are those of the client-go that is built in.
var defaultCapabilities = Capabilities{Version: "v1.37.0", Major: "1", Minor: "37"}

// Capabilities asks the cluster for its version and for what it serves. Groups whose own
// server is away are left out, as Helm does.
func (c *Cluster) Capabilities(ctx context.Context) (Capabilities, error) {
	ctx = quiet(ctx)
	ref := ObjectRef{Kind: "APIResourceList", Name: "discovery"}
	v, err := c.discovery.ServerVersionWithContext(ctx)
	if err != nil {
		return Capabilities{}, explain("ask", ref, err)
	}
	groups, lists, err := c.discovery.ServerGroupsAndResourcesWithContext(ctx)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return Capabilities{}, explain("ask", ref, err)
	}
	served := map[string]bool{}
	for _, g := range groups {
		for _, v := range g.Versions {
			served[v.GroupVersion] = true
		}
	}
	for _, list := range lists {
		for _, r := range list.APIResources {
			served[list.GroupVersion+"/"+r.Kind] = true
		}
	}
	return Capabilities{Version: v.GitVersion, Major: v.Major, Minor: v.Minor, APIVersions: sortedKeys(served)}, nil
}

// chartJob is what a chart is rendered with.
type chartJob struct {
	Values       []file // later ones win
	Name         string
	Namespace    string
	Revision     int
	Upgrade      bool
	Capabilities Capabilities
}

// chart renders the chart in dir.
func (t *tree) chart(ctx context.Context, dir string, m Manifests) ([]file, error) {
	job := renderJob{Dir: dir, Chart: &chartJob{Name: m.Name, Namespace: m.Namespace, Revision: m.Revision, Upgrade: m.Upgrade, Capabilities: defaultCapabilities}}
	var err error
	if m.Capabilities != nil {
		if job.Chart.Capabilities, err = m.Capabilities(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range m.Values {
		name = path.Clean(name)
		if !fs.ValidPath(name) {
			return nil, fmt.Errorf("values %q: must be a path inside the repository, neither absolute nor with .. in it", name)
		}
		data, err := t.file(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("values %s: no such file at this commit; the path is relative to the repository's root", name)
		}
		if err != nil {
			return nil, err
		}
		job.Chart.Values = append(job.Chart.Values, file{Name: name, Text: data})
	}
	rules := ignore.Empty()
	if name, err := t.has(dir, ignore.HelmIgnore); err != nil {
		return nil, err
	} else if name != "" {
		data, err := readManifest(t.root, name)
		if err != nil {
			return nil, err
		}
		if rules, err = ignore.Parse(bytes.NewReader(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	rules.AddDefaults()
	files, err := t.read(dir, func(name string, d fs.DirEntry) (bool, error) {
		if name == dir {
			return true, nil
		}
		info, err := d.Info()
		if err != nil {
			return false, outside(name, err)
		}
		return d.Name() != ".git" && !rules.Ignore(below(dir, name), info), nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		f.Name = below(dir, f.Name)
		job.Files = append(job.Files, f)
	}
	return job.confined(ctx)
}

// below returns name, a path in dir, as it is called there.
func below(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.TrimPrefix(name, dir+"/")
}

// render is what the process that renders does: files are the chart's, in dir.
func (j *chartJob) render(dir string, files []file) ([]file, error) {
	var buffered []*loader.BufferedFile
	for _, f := range files {
		unpacked, err := unpack(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join(dir, f.Name), err)
		}
		buffered = append(buffered, unpacked...)
	}
	c, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, loadError(dir, err)
	}
	if err := j.fits(c, dir); err != nil {
		return nil, err
	}
	values := map[string]any{}
	for _, f := range j.Values {
		var more map[string]any
		if err := yaml.UnmarshalStrict(f.Text, &more); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, fileLines(err, 1))
		}
		values = merge(values, more)
	}
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	versions := chartutil.VersionSet(j.Capabilities.APIVersions)
	if versions == nil {
		versions = chartutil.DefaultVersionSet
	}
	capabilities := &chartutil.Capabilities{
		KubeVersion: chartutil.KubeVersion{Version: j.Capabilities.Version, Major: j.Capabilities.Major, Minor: j.Capabilities.Minor},
		APIVersions: versions,
		HelmVersion: chartutil.DefaultCapabilities.HelmVersion,
	}
	release := chartutil.ReleaseOptions{Name: j.Name, Namespace: j.Namespace, Revision: j.Revision, IsUpgrade: j.Upgrade, IsInstall: !j.Upgrade}
	// Without the check of schemas: checkSchema.
	top, err := chartutil.ToRenderValuesWithSchemaValidation(c, values, release, capabilities, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	final, err := top.Table("Values")
	if err != nil {
		return nil, fmt.Errorf("%s: values: %w", dir, err)
	}
	if err := checkSchemas(c, final, dir); err != nil {
		return nil, err
	}
	texts, err := engine.Engine{}.Render(c, top)
	if err != nil {
		return nil, templateError(c.Name(), dir, err)
	}
	var rendered []file
	for _, crd := range c.CRDObjects() {
		rendered = append(rendered, file{Name: inChart(c.Name(), dir, crd.Filename), Text: crd.File.Data})
	}
	for _, name := range sortedKeys(texts) {
		if path.Base(name) != "NOTES.txt" && strings.TrimSpace(texts[name]) != "" {
			rendered = append(rendered, file{Name: inChart(c.Name(), dir, name), Text: []byte(texts[name]), Rendered: true})
		}
	}
	return rendered, nil
}

// unpack returns the files of a chart that lies in charts/ as an archive, and any other as it is.
func unpack(f file) ([]*loader.BufferedFile, error) {
	folder := path.Dir(f.Name)
	if path.Base(folder) != "charts" || path.Ext(f.Name) != ".tgz" {
		return []*loader.BufferedFile{{Name: f.Name, Data: f.Text}}, nil
	}
	files, err := loader.LoadArchiveFiles(bytes.NewReader(f.Text))
	if err != nil {
		return nil, err
	}
	for _, inner := range files {
		// One that holds itself would be unpacked without end.
		if path.Ext(inner.Name) == ".tgz" {
			return nil, fmt.Errorf("has the archive %s in it; unpack it in %s", inner.Name, folder)
		}
		inner.Name = path.Join(strings.TrimSuffix(f.Name, ".tgz"), inner.Name)
	}
	return files, nil
}

// fits says why a chart can't be rendered here.
func (j *chartJob) fits(c *chart.Chart, dir string) error {
	at := path.Join(dir, chartFile)
	if strings.EqualFold(c.Metadata.Type, "library") {
		return fmt.Errorf("%s: is a library chart, which has no objects of its own; name a chart that uses it", at)
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, j.Capabilities.Version) {
		return fmt.Errorf("%s: wants Kubernetes %s, and the cluster is %s", at, want, j.Capabilities.Version)
	}
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		has := func(sub *chart.Chart) bool { return sub.Name() == d.Name }
		if !slices.ContainsFunc(c.Dependencies(), has) {
			missing = append(missing, strings.TrimSpace(d.Name+" "+d.Version))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: needs %s, not in %s, and nothing is fetched; run helm dependency build there and commit charts/",
			at, strings.Join(missing, " and "), path.Join(dir, "charts"))
	}
	return nil
}

// merge returns a with b over it: mappings are merged, anything else is replaced. A null
// stays, since it takes away what the chart has.
func merge(a, b map[string]any) map[string]any {
	for key, value := range b {
		if inner, ok := value.(map[string]any); ok {
			if under, ok := a[key].(map[string]any); ok {
				value = merge(under, inner)
			}
		}
		a[key] = value
	}
	return a
}

// checkSchemas checks the values of a chart and of those in it against values.schema.json.
func checkSchemas(c *chart.Chart, values map[string]any, dir string) error {
	if c.Schema != nil {
		if err := checkSchema(c.Schema, values); err != nil {
			return fmt.Errorf("%s: %w", path.Join(dir, "values.schema.json"), err)
		}
	}
	for _, sub := range c.Dependencies() {
		inner, ok := values[sub.Name()].(map[string]any)
		if !ok {
			continue
		}
		if err := checkSchemas(sub, inner, path.Join(dir, "charts", sub.Name())); err != nil {
			return err
		}
	}
	return nil
}

// checkSchema is Helm's own check, which fetches what a schema refers to, files of this
// machine too, but for the fetching.
func checkSchema(schema []byte, values map[string]any) error {
	const url = "file:///values.schema.json"
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noSchemas{})
	if err := compiler.AddResource(url, doc); err != nil {
		return err
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return err
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(data)) // as the validator wants numbers
	if err != nil {
		return err
	}
	if err := compiled.Validate(plain); err != nil {
		_, text, _ := strings.Cut(err.Error(), "\n") // the first line names the schema
		return fmt.Errorf("the values do not fit: %s", strings.TrimPrefix(text, "- "))
	}
	return nil
}

// noSchemas finds no schema but the chart's own.
type noSchemas struct{}

func (noSchemas) Load(url string) (any, error) {
	return nil, errors.New("a schema may refer to itself only, and nothing is fetched; write that part into it")
}

// inChart returns the path in the repository of what Helm names by the chart's name.
func inChart(chart, dir, name string) string {
	return path.Join(dir, strings.TrimPrefix(name, chart+"/"))
}

var loading = regexp.MustCompile(`^cannot load (\S+): (?:error converting YAML to JSON: )?`)

// loadError says of which file of a chart Helm's loader speaks.
func loadError(dir string, err error) error {
	text := err.Error()
	if m := loading.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: %s", path.Join(dir, m[1]), strings.TrimPrefix(text, m[0]))
	}
	if text, ok := strings.CutPrefix(text, "validation: chart.metadata."); ok {
		return fmt.Errorf("%s: %s", path.Join(dir, chartFile), text)
	}
	return fmt.Errorf("%s: %s", dir, text)
}

// templateError begins with file and line of the template, where Helm has them behind
// the chart's name, and has the paths in the repository in the rest too.
func templateError(chart, dir string, err error) error {
	inside := regexp.MustCompile(`\b` + regexp.QuoteMeta(chart) + `/(templates|charts)/`)
	text := inside.ReplaceAllStringFunc(err.Error(), func(at string) string { return inChart(chart, dir, at) + "/" })
	place := regexp.MustCompile(`^(?:template: |parse error at \(|execution error at \()([^:()]+):(\d+)(?::\d+)?\)?: `)
	if m := place.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: line %s: %s", m[1], m[2], strings.TrimPrefix(text, m[0]))
	}
	return fmt.Errorf("%s: %s", dir, text)
}

// helmPolicy is the annotation by which a chart says, with "keep", that an object outlives it.
const helmPolicy = "helm.sh/resource-policy"

// hook says whether an object of a chart is a test of it, which is left out. Any other
// hook is an error: what a chart wants done before its objects are there must not be
// passed over.
func hook(obj *unstructured.Unstructured) (test bool, err error) {
	events, ok := obj.GetAnnotations()["helm.sh/hook"]
	if !ok {
		return false, nil
	}
	var others []string
	for _, event := range strings.Split(events, ",") {
		if event = strings.TrimSpace(event); !strings.HasPrefix(event, "test") {
			others = append(others, event)
		}
	}
	if len(others) == 0 {
		return true, nil
	}
	return false, fmt.Errorf("%s is a hook of Helm (%s), and those are not run: turn it off by the chart's values, or take it out, and have a job step in flow do such work",
		RefOf(obj), strings.Join(others, ", "))
}
