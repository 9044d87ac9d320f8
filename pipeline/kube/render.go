package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Limits of Render. An object larger than about 1.5 MB does not fit into etcd.
const (
	maxFiles     = 1000
	maxFileSize  = 4 << 20  // bytes
	maxTotalSize = 16 << 20 // bytes, of all files
	maxObjects   = 1000
)

// Files that make a folder something other than plain YAML.
const chartFile = "Chart.yaml"

var kustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// serverFields are set by the API server and stand in manifests that were exported
// from a cluster; an apply that carries them is refused.
var serverFields = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Manifests says what Render reads, and what a Helm chart among it is told.
type Manifests struct {
	Root string // the checkout; nothing outside is read
	Path string // of a folder or a single file, a slash path inside Root
	// Except are files, slash paths inside Root, that are not read of a folder of plain YAML.
	Except []string

	// The rest is for charts.
	Values    []string // files of values, slash paths inside Root; a later one wins over an earlier, and all over the chart's own
	Name      string   // .Release.Name
	Namespace string   // .Release.Namespace
	Revision  int      // .Release.Revision
	Upgrade   bool     // .Release.IsUpgrade, else .Release.IsInstall
	// Capabilities is called for a chart, and its error returned as it is. Without it a
	// chart sees the newest Kubernetes that this version knows.
	Capabilities func(context.Context) (Capabilities, error)
}

// Render returns the objects of a folder or a file. A folder with a Chart.yaml is a
// Helm chart, one with a kustomization.yaml is built as kustomize does, and in any
// other every .yaml, .yml and .json file at any depth is read, in the order of their
// paths; each may hold several documents. Lists are flattened, empty documents
// skipped, and fields that only a server sets are dropped. Names that begin with a
// dot are skipped below a folder of plain YAML.
//
// Nothing outside Root is read, nothing is fetched and nothing of the repository is
// run: a path or symbolic link that leads out is an error, and so are a remote base,
// a kustomize plugin and a chart that is not in charts/. Charts and kustomizations
// are rendered in a process of their own (RenderConfined), within 30 s and 256 MiB.
//
// A key that stands twice is an error, an object that is there twice, a hook of a
// chart (but for its tests, which are left out), and more than 1000 files, 1000
// objects, 4 MiB in a file or 16 MiB in all. An error names file, document and line,
// the last as rendered where something was.
func Render(ctx context.Context, m Manifests) ([]*unstructured.Unstructured, error) {
	dir := path.Clean(m.Path)
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("manifests %q: must be a path inside the repository, neither absolute nor with .. in it", dir)
	}
	r, err := os.OpenRoot(m.Root)
	if err != nil {
		return nil, fmt.Errorf("manifests %s: %w", dir, err)
	}
	defer r.Close()
	tree := &tree{root: r, top: dir, except: m.Except}

	chart, err := tree.has(dir, chartFile)
	if err != nil {
		return nil, err
	}
	kustomization, err := tree.has(dir, kustomizationFiles...)
	if err != nil {
		return nil, err
	}
	switch {
	case chart != "" && kustomization != "":
		return nil, fmt.Errorf("manifests %s: has both %s and %s; keep one of them there", dir, chart, kustomization)
	case chart == "" && len(m.Values) > 0:
		return nil, fmt.Errorf("manifests %s: values are for a Helm chart, and there is no %s; remove values", dir, chartFile)
	case chart != "":
		docs, err := tree.chart(ctx, dir, m)
		if err != nil {
			return nil, err
		}
		return collect(dir, docs, true)
	case kustomization != "":
		docs, err := tree.kustomization(ctx, dir)
		if err != nil {
			return nil, err
		}
		return collect(dir, docs, false)
	}
	files, err := tree.plain()
	if err != nil {
		return nil, err
	}
	return collect(dir, files, false)
}

// file is a file of the repository, or what was rendered from it.
type file struct {
	Name     string // a slash path in the repository
	Text     []byte
	Rendered bool // its lines are not those of the file
}

// collect returns the objects of files. Of a chart it refuses hooks and leaves out tests.
func collect(dir string, files []file, chart bool) ([]*unstructured.Unstructured, error) {
	var objs []*unstructured.Unstructured
	where := map[ObjectRef]string{}
	for _, f := range files {
		isJSON := path.Ext(f.Name) == ".json" && !f.Rendered
		docs := splitYAML(f.Text)
		if isJSON {
			docs = []document{{line: 1, text: f.Text}}
		}
		for i, doc := range docs {
			place := fmt.Sprintf("%s: document %d (line %d)", f.Name, i+1, doc.line)
			if f.Rendered {
				place = strings.TrimSuffix(place, ")") + " as rendered)"
			}
			found, err := decodeDocument(doc, isJSON)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", place, err)
			}
			for _, obj := range found {
				if chart {
					test, err := hook(obj)
					if err != nil {
						return nil, fmt.Errorf("%s: %w", place, err)
					}
					if test {
						continue
					}
				}
				key := RefOf(obj)
				key.Version = ""
				if before, twice := where[key]; twice {
					return nil, fmt.Errorf("%s: %s is also in %s", place, key, before)
				}
				where[key] = place
				objs = append(objs, obj)
			}
			if len(objs) > maxObjects {
				return nil, fmt.Errorf("%s: more than %d objects", place, maxObjects)
			}
		}
	}
	if rendered := chart || len(files) > 0 && files[0].Rendered; rendered && len(objs) == 0 {
		return nil, fmt.Errorf("manifests %s: no Kubernetes object is rendered", dir)
	}
	if len(objs) == 0 {
		return nil, fmt.Errorf("manifests %s: no Kubernetes object in any .yaml, .yml or .json file", dir)
	}
	return objs, nil
}

// tree reads the checkout, within the limits.
type tree struct {
	root   *os.Root
	top    string // the manifests
	except []string
	files  int
	total  int64 // bytes
}

// has returns the path of the first of names in a folder, "" where there is none of them.
func (t *tree) has(dir string, names ...string) (string, error) {
	for _, name := range names {
		_, err := t.root.Stat(path.Join(dir, name))
		switch {
		case err == nil:
			return path.Join(dir, name), nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
			return "", outside(dir, err)
		}
	}
	return "", nil
}

// plain reads the files of plain YAML and JSON.
func (t *tree) plain() ([]file, error) {
	info, err := t.root.Stat(t.top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifests %s: no such file or folder at this commit", t.top)
	}
	if err != nil {
		return nil, outside(t.top, err)
	}
	if !info.IsDir() && !isManifest(t.top) {
		return nil, fmt.Errorf("manifests %s: must be a folder, or a .yaml, .yml or .json file", t.top)
	}
	return t.read(t.top, func(name string, d fs.DirEntry) (bool, error) {
		if name != t.top && strings.HasPrefix(d.Name(), ".") {
			return false, nil
		}
		if d.Name() == chartFile || slices.Contains(kustomizationFiles, d.Name()) {
			return false, fmt.Errorf("%s: makes its folder more than plain YAML; name %s under manifests", name, path.Dir(name))
		}
		return d.IsDir() || isManifest(name) && !slices.Contains(t.except, name), nil
	})
}

// read returns the files at and below at that want says yes to, sorted by their paths.
// A folder that it says no to is not entered.
func (t *tree) read(at string, want func(name string, d fs.DirEntry) (bool, error)) ([]file, error) {
	var files []file
	err := fs.WalkDir(t.root.FS(), at, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return outside(name, err)
		}
		yes, err := want(name, d)
		switch {
		case err != nil:
			return err
		case d.IsDir() && !yes:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := t.root.Stat(name)
			if err != nil {
				return outside(name, err)
			}
			if target.IsDir() && name != at {
				return fmt.Errorf("%s: is a symbolic link to a folder; put its files themselves here", name)
			}
		}
		if !yes {
			return nil
		}
		data, err := t.file(name)
		files = append(files, file{Name: name, Text: data})
		return err
	})
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.Name, b.Name) })
	return files, err
}

// file reads one file.
func (t *tree) file(name string) ([]byte, error) {
	if t.files++; t.files > maxFiles {
		return nil, fmt.Errorf("manifests %s: more than %d files; name a folder that holds little else than manifests, or list what a chart does not need in .helmignore", t.top, maxFiles)
	}
	data, err := readManifest(t.root, name)
	if err != nil {
		return nil, err
	}
	if t.total += int64(len(data)); t.total > maxTotalSize {
		return nil, fmt.Errorf("%s: the manifests in %s are larger than %d MiB in all", name, t.top, maxTotalSize>>20)
	}
	return data, nil
}

func isManifest(file string) bool {
	ext := path.Ext(file)
	return ext == ".yaml" || ext == ".yml" || ext == ".json"
}

// outside says of an error of os.Root what it means here; only the message
// distinguishes a path that leads out.
func outside(file string, err error) error {
	if strings.Contains(err.Error(), "escapes from parent") {
		return fmt.Errorf("%s: is a link that leads out of the repository", file)
	}
	return fmt.Errorf("%s: %w", file, err)
}

func readManifest(r *os.Root, file string) ([]byte, error) {
	// Asked before it is opened: opening a named pipe would wait for a writer.
	info, err := r.Stat(file)
	if err != nil {
		return nil, outside(file, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", file)
	}
	f, err := r.Open(file)
	if err != nil {
		return nil, outside(file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("%s: is larger than %d MiB", file, maxFileSize>>20)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}

// document is one YAML document of a file.
type document struct {
	line int // its first line, counted from 1
	text []byte
}

// splitYAML splits at the document markers of YAML 1.2 (9.1.2): a line that begins
// with --- or ... and then ends or has white space. A text without any content is
// one empty document.
func splitYAML(data []byte) []document {
	var docs []document
	cur := document{line: 1}
	flush := func() {
		if len(bytes.TrimSpace(cur.text)) > 0 {
			docs = append(docs, cur)
		}
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		switch {
		case marker(text, "---"):
			flush()
			// What follows the marker on its line is the document's.
			cur = document{line: line, text: bytes.Clone(bytes.TrimLeft(text[3:], " \t"))}
		case marker(text, "..."):
			flush()
			cur = document{line: line + 1}
		default:
			cur.text = append(cur.text, text...)
		}
	}
	flush()
	return docs
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0])))
}

// decodeDocument returns the objects of one document, none if it is empty.
func decodeDocument(doc document, isJSON bool) ([]*unstructured.Unstructured, error) {
	text := doc.text
	if !isJSON {
		var err error
		if text, err = yaml.YAMLToJSONStrict(text); err != nil {
			return nil, fileLines(err, doc.line)
		}
	}
	var value any
	strict, err := kjson.UnmarshalStrict(text, &value)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		if is, offset := kjson.SyntaxErrorOffset(err); is && isJSON {
			return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(int(offset), len(text))], []byte("\n")), err)
		}
		return nil, err
	}
	return objectsOf(value, 0)
}

var yamlLine = regexp.MustCompile(`\bline (\d+)`)

// fileLines makes an error of the YAML library, which counts lines from the
// document's first, count them from the file's first.
func fileLines(err error, first int) error {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	return errors.New(oneLine(yamlLine.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(yamlLine.FindStringSubmatch(s)[1])
		return fmt.Sprintf("line %d", n+first-1)
	})))
}

// objectsOf checks what every object must have, and flattens lists.
func objectsOf(value any, depth int) ([]*unstructured.Unstructured, error) {
	if value == nil {
		return nil, nil
	}
	content, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("is not a Kubernetes object (a mapping with apiVersion, kind and metadata)")
	}
	for _, key := range []string{"apiVersion", "kind"} {
		if s, ok := content[key].(string); !ok || s == "" {
			return nil, fmt.Errorf("has no %s", key)
		}
	}
	obj := &unstructured.Unstructured{Object: content}
	if items, ok := content["items"].([]any); ok && strings.HasSuffix(obj.GetKind(), "List") {
		if depth == 3 {
			return nil, errors.New("has lists in lists in lists")
		}
		var objs []*unstructured.Unstructured
		for i, item := range items {
			inner, err := objectsOf(item, depth+1)
			if err != nil {
				return nil, fmt.Errorf("items[%d] %w", i, err)
			}
			objs = append(objs, inner...)
		}
		return objs, nil
	}
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s has no metadata", obj.GetKind())
	}
	name, ok := metadata["name"].(string)
	switch {
	case (!ok || name == "") && metadata["generateName"] != nil:
		return nil, fmt.Errorf("%s has generateName; what is applied needs a metadata.name", obj.GetKind())
	case !ok || name == "":
		return nil, fmt.Errorf("%s has no metadata.name", obj.GetKind())
	}
	if ns, set := metadata["namespace"]; set && ns != nil {
		if _, ok := ns.(string); !ok {
			return nil, fmt.Errorf("%s: metadata.namespace must be text", RefOf(obj))
		}
	}
	if err := textMaps(metadata, "metadata"); err != nil {
		return nil, fmt.Errorf("%s: %w", RefOf(obj), err)
	}
	for _, t := range podTemplates(obj) {
		if md, ok := t.template["metadata"].(map[string]any); ok {
			if err := textMaps(md, t.path+".metadata"); err != nil {
				return nil, fmt.Errorf("%s: %w", RefOf(obj), err)
			}
		}
	}
	for _, field := range serverFields {
		delete(metadata, field)
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		delete(annotations, lastApplied)
		delete(annotations, AnnotationStep) // of a Job that ran: which are, we say
	}
	delete(content, "status")
	return []*unstructured.Unstructured{obj}, nil
}

// textMaps checks that labels and annotations are text: a bare true or 1.0 is the
// most common mistake there.
func textMaps(metadata map[string]any, where string) error {
	for _, field := range []string{"labels", "annotations"} {
		value := metadata[field]
		if value == nil {
			continue
		}
		m, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("%s.%s must be a mapping", where, field)
		}
		for _, key := range sortedKeys(m) {
			if _, ok := m[key].(string); !ok {
				return fmt.Errorf("%s.%s.%s must be text; put %v in quotes", where, field, key, m[key])
			}
		}
	}
	return nil
}
