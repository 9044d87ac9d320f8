package kube

import (
	"bytes"
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

// refusedFiles are what makes a folder something other than plain YAML.
var refusedFiles = map[string]string{
	"kustomization.yaml": "kustomize",
	"kustomization.yml":  "kustomize",
	"Kustomization":      "kustomize",
	"Chart.yaml":         "Helm",
}

// serverFields are set by the API server and stand in manifests that were exported
// from a cluster; an apply that carries them is refused.
var serverFields = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// Render reads the manifests in dir, a folder or a single file, given by a slash
// path inside root: every .yaml, .yml and .json file at any depth, in the order of
// their paths; each may hold several documents. Lists are flattened, empty
// documents skipped, and fields that only a server sets are dropped. Names that
// begin with a dot are skipped below dir.
//
// Nothing outside root is read: a path or symbolic link that leads out is an error.
// So are kustomizations and Helm charts, a key that stands twice, an object that is
// there twice, and more than 1000 files, 1000 objects, 4 MiB in a file or 16 MiB
// in all. An error names file, document and line.
func Render(root, dir string) ([]*unstructured.Unstructured, error) {
	dir = path.Clean(dir)
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("manifests %q: must be a path inside the repository, neither absolute nor with .. in it", dir)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("manifests %s: %w", dir, err)
	}
	defer r.Close()

	files, err := manifestFiles(r, dir)
	if err != nil {
		return nil, err
	}
	var (
		objs  []*unstructured.Unstructured
		where = map[ObjectRef]string{}
		total int64
	)
	for _, file := range files {
		data, err := readManifest(r, file)
		if err != nil {
			return nil, err
		}
		if total += int64(len(data)); total > maxTotalSize {
			return nil, fmt.Errorf("%s: the manifests in %s are larger than %d MiB in all", file, dir, maxTotalSize>>20)
		}
		docs := splitYAML(data)
		if path.Ext(file) == ".json" {
			docs = []document{{line: 1, text: data}}
		}
		for i, doc := range docs {
			place := fmt.Sprintf("%s: document %d (line %d)", file, i+1, doc.line)
			found, err := decodeDocument(doc, path.Ext(file) == ".json")
			if err != nil {
				return nil, fmt.Errorf("%s: %w", place, err)
			}
			for _, obj := range found {
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
	if len(objs) == 0 {
		return nil, fmt.Errorf("manifests %s: no Kubernetes object in any .yaml, .yml or .json file", dir)
	}
	return objs, nil
}

// manifestFiles returns the sorted paths of the files to read.
func manifestFiles(r *os.Root, dir string) ([]string, error) {
	info, err := r.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifests %s: no such file or folder at this commit", dir)
	}
	if err != nil {
		return nil, outside(dir, err)
	}
	if !info.IsDir() {
		if !isManifest(dir) {
			return nil, fmt.Errorf("manifests %s: must be a folder, or a .yaml, .yml or .json file", dir)
		}
		return []string{dir}, refuseOthers(dir)
	}
	var files []string
	err = fs.WalkDir(r.FS(), dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return outside(file, err)
		}
		if file != dir && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if err := refuseOthers(file); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := r.Stat(file)
			if err != nil {
				return outside(file, err)
			}
			if target.IsDir() && file != dir {
				return fmt.Errorf("%s: is a symbolic link to a folder; put the manifests themselves here", file)
			}
		}
		if !isManifest(file) {
			return nil
		}
		if files = append(files, file); len(files) > maxFiles {
			return fmt.Errorf("manifests %s: more than %d files", dir, maxFiles)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

func isManifest(file string) bool {
	ext := path.Ext(file)
	return ext == ".yaml" || ext == ".yml" || ext == ".json"
}

func refuseOthers(file string) error {
	if tool, ok := refusedFiles[path.Base(file)]; ok {
		return fmt.Errorf("%s: %s is not supported yet; name a folder of plain YAML", file, tool)
	}
	return nil
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
	return errors.New(oneLine(yamlLine.ReplaceAllStringFunc(err.Error(), func(s string) string {
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
