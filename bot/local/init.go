package local

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

const exampleHost = "registry.example.com"

// Init writes the files with which the app in dir can be shipped, and to w what it wrote, what a push would then do and
// what is left to do by hand. They are .shipmate.yaml (in a folder below the root .shipmate/APP.yaml of the root) and,
// where there are none, a Dockerfile with a .dockerignore and Kubernetes manifests. What is there is never changed: a
// file for this app is an error, and then nothing is written. imageName is the image repository to push to; empty makes
// one up, or takes the manifests' own.
func Init(ctx context.Context, w io.Writer, dir, imageName string) error {
	c, err := open(ctx, dir)
	if err != nil {
		return err
	}
	prefix, err := checkout(dir).git(ctx, "rev-parse", "--show-prefix")
	if err != nil {
		return err
	}
	s, err := survey(ctx, c, path.Clean(prefix), imageName)
	if err != nil {
		return err
	}
	files, err := s.files()
	if err != nil {
		return err
	}
	if err := c.write(files); err != nil {
		return err
	}
	p := &page{w: w}
	for _, f := range files {
		p.line("wrote %s", f.name)
	}
	for _, kept := range s.kept {
		p.line("kept %s", kept)
	}
	p.line("\nOnce that is committed, a push to %s does this:", s.branch)
	p.ahead = true
	t := pipeline.Trigger{Kind: pipeline.TriggerPush, Ref: "refs/heads/" + s.branch, DefaultBranch: s.branch, SHA: "COMMIT"}
	if err := c.explain(ctx, repoFile{name: s.file, path: c.path(s.file)}, t, p); err != nil {
		return err
	}
	p.line("\nLeft to do:")
	for i, todo := range s.todo() {
		p.line("%2d. %s", i+1, todo)
	}
	return p.err
}

// A site is a folder as Init found it, and the names that its files are filled with.
type site struct {
	project
	App        string
	Image      string   // the image repository
	Context    string   // the folder, from the root
	Dockerfile string   // from the root
	Manifests  string   // from the root
	Name       string   // of the objects in the manifests
	Ignore     []string // what else a build does not need, as .dockerignore has it

	folder    folder
	file      string // the repository file
	branch    string // the default branch
	sure      bool   // that it is
	madeUp    bool   // Image is
	kept      []string
	manifests bool // there are some
}

// ignore is what a build of each kind of project does not need.
var ignore = map[string][]string{
	"maven":     {"target"},
	"gradle":    {".gradle", "build"},
	"python":    {".venv", "venv", "**/__pycache__", "**/*.pyc", ".pytest_cache"},
	"node":      {"**/node_modules", "**/npm-debug.log*"},
	"node-site": {"**/node_modules", "**/npm-debug.log*"},
}

var (
	exposed    = regexp.MustCompile(`(?mi)^\s*EXPOSE\s+(\d+)`)
	userNumber = regexp.MustCompile(`(?mi)^\s*USER\s+(\S+)`)
)

// survey looks at a folder, given from the root.
func survey(ctx context.Context, c checkout, dir, imageName string) (*site, error) {
	owner, repo := c.repo(ctx)
	name := repo
	if dir != "." {
		name = path.Base(dir)
	}
	s := &site{Context: dir, folder: folder{os.DirFS(c.path(dir))}, App: (&pipeline.Config{}).WithDefaults(name, "").App}
	s.branch, s.sure = c.defaultBranch(ctx)
	if s.App == "" {
		return nil, fmt.Errorf("no name for the app can be made of %q; rename the folder", name)
	}
	s.Name = s.App
	if s.Name[0] <= '9' { // a Service's name begins with a letter (RFC 1035)
		s.Name = "app-" + s.App[:min(len(s.App), 59)]
	}
	if err := s.chooseFile(folder{os.DirFS(string(c))}); err != nil {
		return nil, err
	}
	s.project = detect(s.folder)
	s.keepDockerfile()
	if s.Kind == "" && s.Dockerfile == "" {
		if apps := s.folder.apps(); len(apps) > 0 {
			return nil, fmt.Errorf("this folder was not recognised as an app, but these were: %s; run bot init there, or write a Dockerfile here first", strings.Join(apps, ", "))
		}
	}
	images := s.keepManifests(ctx, c)
	s.Ignore = append([]string{strings.TrimPrefix(s.Manifests, s.Context+"/")}, ignore[s.Kind]...)
	if s.Kind == "node-site" {
		s.Ignore = append(s.Ignore, s.Out)
	}
	s.Port = cmp.Or(s.Port, 8080)
	return s, s.chooseImage(imageName, owner, images)
}

// chooseFile says where the repository file goes.
func (s *site) chooseFile(root folder) error {
	s.file = ".shipmate.yaml"
	if s.Context != "." {
		s.file = ".shipmate/" + s.App + ".yaml"
	} else if several, _ := fs.Glob(root.FS, ".shipmate/*.y*ml"); len(several) > 0 { // the pattern is right
		return fmt.Errorf("%s declares an app already; run bot init in the folder of another one, or look at this one with bot plan", several[0])
	}
	if root.has(s.file) {
		return fmt.Errorf("%s is there already; bot plan shows what it does, and bot check what is wrong with it", s.file)
	}
	return nil
}

func (s *site) keepDockerfile() {
	found := s.folder.first("Dockerfile", "Containerfile", "docker/Dockerfile", "build/Dockerfile", "deploy/Dockerfile", ".docker/Dockerfile")
	if found == "" {
		if s.Kind != "" {
			s.Dockerfile = path.Join(s.Context, "Dockerfile")
		}
		return
	}
	s.Dockerfile = path.Join(s.Context, found)
	s.kept = append(s.kept, s.Dockerfile)
	s.project = project{} // nothing of what was detected will be used
	text := s.folder.text(found)
	if m := exposed.FindStringSubmatch(text); m != nil {
		s.Port, _ = strconv.Atoi(m[1]) // digits
		s.Listens = true
	}
	if all := userNumber.FindAllStringSubmatch(text, -1); len(all) > 0 {
		number, _, _ := strings.Cut(all[len(all)-1][1], ":")
		s.User, _ = strconv.Atoi(number) // a name is no use: a kubelet cannot tell whether it is root's
	}
}

// keepManifests finds the manifests, and returns the images that they name.
func (s *site) keepManifests(ctx context.Context, c checkout) (images []string) {
	var free string // the first folder of that name that is not there
	for _, dir := range []string{"deploy", "k8s", "kubernetes", "manifests", "kube", "deploy/k8s", "deploy/kubernetes", "kustomize", "chart", "charts/" + s.App, "helm"} {
		if !s.folder.has(dir) {
			if free == "" && !strings.Contains(dir, "/") {
				free = dir
			}
			continue
		}
		at := path.Join(s.Context, dir)
		objects, err := kube.Render(ctx, kube.Manifests{Root: string(c), Path: at, Name: s.App, Namespace: "staging"})
		if err != nil && !s.hasObjects(dir) || err == nil && len(objects) == 0 {
			continue
		}
		s.Manifests, s.manifests = at, true
		s.kept = append(s.kept, at)
		if err != nil {
			s.Notes = append(s.Notes, fmt.Sprintf("the manifests cannot be used as they are: %v", err))
		}
		return imagesOf(objects)
	}
	s.Manifests = path.Join(s.Context, free)
	return nil
}

var objectKind = regexp.MustCompile(`(?m)^kind:\s*\w+\s*$`)

// hasObjects says whether a folder holds Kubernetes objects, a kustomization or a chart.
func (s *site) hasObjects(dir string) bool {
	found := false
	_ = fs.WalkDir(s.folder.FS, dir, func(name string, d fs.DirEntry, err error) error {
		ext := path.Ext(name)
		switch {
		case err != nil:
			return fs.SkipDir
		case path.Base(name) == "Chart.yaml" || (ext == ".yaml" || ext == ".yml") && objectKind.MatchString(s.folder.text(name)):
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// imagesOf lists the repositories that pod templates name, without tag and digest.
func imagesOf(objects []*unstructured.Unstructured) (images []string) {
	for _, o := range objects {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			if c, ok := c.(map[string]any); ok {
				name, _ := c["image"].(string)
				name, _, _ = strings.Cut(name, "@")
				if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
					name = name[:i]
				}
				images = append(images, name)
			}
		}
	}
	slices.Sort(images)
	return slices.Compact(images)
}

func (s *site) chooseImage(given, owner string, found []string) error {
	if given != "" {
		if _, _, err := pipeline.ParseRepository(given); err != nil {
			return fmt.Errorf("--image: %w", err)
		}
		s.Image = given
		if s.manifests && !slices.Contains(found, given) {
			s.Notes = append(s.Notes, fmt.Sprintf("no container in %s uses %s (they use %s): write it there, without a tag", s.Manifests, given, strings.Join(found, ", ")))
		}
		return nil
	}
	valid := func(name string) bool { _, _, err := pipeline.ParseRepository(name); return err == nil }
	found = slices.DeleteFunc(found, func(name string) bool { return !valid(name) })
	if i := slices.IndexFunc(found, func(name string) bool { return path.Base(name) == s.App }); i >= 0 {
		s.Image = found[i]
		return nil
	}
	if len(found) == 1 {
		s.Image = found[0]
		return nil
	}
	s.madeUp = true
	s.Image = strings.ToLower(path.Join(exampleHost, cmp.Or(owner, "team"), s.App))
	if !valid(s.Image) {
		s.Image = path.Join(exampleHost, "team", s.App)
	}
	return nil
}

// A newFile is to be written.
type newFile struct {
	name string // from the root
	text []byte
}

//go:embed files
var templates embed.FS

// files fills the templates.
func (s *site) files() ([]newFile, error) {
	if s.Dockerfile == "" {
		s.Dockerfile = path.Join(s.Context, "Dockerfile")
	}
	all, err := template.New("").Funcs(template.FuncMap{"join": strings.Join, "exec": execForm, "yaml": yamlText}).ParseFS(templates, "files/*")
	if err != nil {
		return nil, err
	}
	var files []newFile
	var failed error
	fill := func(name, from string) {
		var text bytes.Buffer
		if err := all.ExecuteTemplate(&text, from+".tmpl", s); err != nil {
			failed = errors.Join(failed, err)
		}
		files = append(files, newFile{name, text.Bytes()})
	}
	fill(s.file, "shipmate.yaml")
	if s.Kind != "" {
		fill(s.Dockerfile, "Dockerfile."+s.Kind)
		if ignored := path.Join(s.Context, ".dockerignore"); s.folder.has(".dockerignore") {
			s.kept = append(s.kept, ignored)
		} else {
			fill(ignored, "dockerignore")
		}
	}
	if !s.manifests {
		fill(path.Join(s.Manifests, "deployment.yaml"), "deployment.yaml")
		fill(path.Join(s.Manifests, "service.yaml"), "service.yaml")
	}
	if failed != nil {
		return nil, failed
	}
	return files, pipeline.Check(s.file, files[0].text, nil)
}

// execForm is a command as a Dockerfile's JSON form.
func execForm(command []string) (string, error) {
	words := make([]string, len(command))
	for i, word := range command {
		text, err := json.Marshal(word)
		if err != nil {
			return "", err
		}
		words[i] = string(text)
	}
	return "[" + strings.Join(words, ", ") + "]", nil
}

// yamlText is a text as YAML, in quotes where it might be read as something else.
func yamlText(s string) (string, error) {
	text, err := yaml.Marshal(s)
	return strings.TrimSpace(string(text)), err
}

// write makes all the files, or none where one of them is there or cannot be made.
func (c checkout) write(files []newFile) (err error) {
	root, err := os.OpenRoot(string(c))
	if err != nil {
		return err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range slices.Backward(made) {
				err = errors.Join(err, root.Remove(name))
			}
		}
		err = errors.Join(err, root.Close())
	}()
	for _, f := range files {
		if dir := filepath.Dir(filepath.FromSlash(f.name)); dir != "." {
			if _, e := root.Stat(dir); errors.Is(e, fs.ErrNotExist) {
				if err := root.Mkdir(dir, 0o755); err != nil {
					return err
				}
				made = append(made, dir)
			}
		}
		w, err := root.OpenFile(filepath.FromSlash(f.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already; nothing was written", f.name)
		} else if err != nil {
			return err
		}
		made = append(made, filepath.FromSlash(f.name))
		_, err = w.Write(f.text)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}

// todo is what a program cannot decide.
func (s *site) todo() []string {
	var todo []string
	if s.madeUp {
		where := s.file
		if !s.manifests {
			where += " and " + path.Join(s.Manifests, "deployment.yaml")
		}
		todo = append(todo, fmt.Sprintf("image: %s is made up; write yours into %s", s.Image, where))
		if s.manifests {
			todo[0] += ", as the manifests in " + s.Manifests + " have it"
		}
	}
	if s.Kind == "" && !slices.Contains(s.kept, s.Dockerfile) {
		todo = append(todo, "Dockerfile: this was not recognised as something that can be built, so write "+s.Dockerfile)
	}
	if !s.sure {
		todo = append(todo, fmt.Sprintf("default branch: it is taken to be %s, since no remote here says so", s.branch))
	}
	todo = append(todo, s.Notes...)
	if !s.manifests && !s.Listens {
		todo = append(todo, fmt.Sprintf("port: the program must listen on %d, or say which in %s", s.Port, s.Manifests))
	}
	return append(todo,
		"server: the clusters test and prod, their namespaces and the registry are allowed to this repository in the server's file; bot check --config shipmate.yaml --repo OWNER/NAME tells",
		fmt.Sprintf("git: commit these files and push them to %s", s.branch))
}
