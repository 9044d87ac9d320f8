package local

import (
	"encoding/json"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A project is what a folder looks like to somebody who has to write a Dockerfile for it.
type project struct {
	Kind    string // a name of a template in files/, empty where nothing was recognised
	Version string // of the language, as in its image's tag
	Port    int    // on which the container listens
	Listens bool   // that is certain
	User    int    // whom the container runs as; 0: not known

	Main string // Go: the package that is built, as in ./cmd/web

	Install []string // Node, Python: the commands that install what the project needs, before its source is there
	Copy    []string // Node, Python: the files that they need
	Build   string   // Node: the command that builds it, empty for none
	Prune   string   // Node: the command that leaves what running it needs
	Out     string   // Node: the folder of the site that Build makes; empty for a server
	Command []string // Node, Python: what runs

	Wrapper bool // Java: the project has mvnw or gradlew
	Early   bool // Go: dependencies can be had with go.mod and go.sum alone

	Notes []string // what somebody should look at
}

// A folder is what detection may look into.
type folder struct{ fs.FS }

func (f folder) has(name string) bool {
	_, err := fs.Stat(f.FS, name)
	return err == nil
}

// first returns the first of names that is there.
func (f folder) first(names ...string) string {
	i := slices.IndexFunc(names, f.has)
	if i < 0 {
		return ""
	}
	return names[i]
}

// text returns a file's content, or "" where it cannot be read: detection guesses, and the files that it writes are
// there to be looked at.
func (f folder) text(name string) string {
	if name == "" {
		return ""
	}
	data, err := fs.ReadFile(f.FS, name)
	if err != nil || len(data) > maxFile {
		return ""
	}
	return string(data)
}

// kinds are asked in this order: the front end of a Python project has a package.json, the other way round is rare.
var kinds = []struct {
	marker []string
	detect func(folder) project
}{
	{[]string{"go.mod"}, detectGo},
	{[]string{"pom.xml"}, detectMaven},
	{[]string{"build.gradle", "build.gradle.kts"}, detectGradle},
	{[]string{"manage.py", "requirements.txt", "uv.lock", "poetry.lock", "pyproject.toml"}, detectPython},
	{[]string{"package.json"}, detectNode},
	{[]string{"index.html", "public/index.html", "site/index.html", "dist/index.html"}, detectStatic},
}

// detect says what a folder holds.
func detect(f folder) project {
	var found project
	for _, kind := range kinds {
		marker := f.first(kind.marker...)
		switch {
		case marker == "":
		case found.Kind == "":
			found = kind.detect(f)
		case kind.marker[0] != "index.html":
			found.Notes = append(found.Notes, "there is a "+marker+" too, which the Dockerfile does not build")
		}
	}
	return found
}

// apps lists the folders, at most two down, that look like apps of their own.
func (f folder) apps() []string {
	var apps []string
	for _, pattern := range []string{"*", "*/*"} {
		dirs, _ := fs.Glob(f.FS, pattern) // the pattern is right
		for _, dir := range dirs {
			sub, err := fs.Sub(f.FS, dir)
			if err != nil || slices.ContainsFunc(strings.Split(dir, "/"), func(part string) bool {
				return strings.HasPrefix(part, ".") || slices.Contains([]string{"node_modules", "vendor", "testdata"}, part)
			}) {
				continue
			}
			if in := (folder{sub}); in.has("Dockerfile") || detect(in).Kind != "" {
				apps = append(apps, dir)
			}
		}
	}
	return apps
}

var (
	goVersion  = regexp.MustCompile(`(?m)^go (\d+\.\d+)`)
	goModule   = regexp.MustCompile(`(?m)^module (?:\S*/)?([\w.-]+)`)
	goReplaces = regexp.MustCompile(`(?m)=>\s*\.{1,2}/`)
	goMain     = regexp.MustCompile(`(?m)^package main\b`)
)

func detectGo(f folder) project {
	p := project{Kind: "go", Version: "1", Port: 8080, User: 65532}
	mod := f.text("go.mod")
	if m := goVersion.FindStringSubmatch(mod); m != nil {
		p.Version = m[1]
	}
	p.Early = !goReplaces.MatchString(mod) && !f.has("vendor") && !f.has("go.work")
	var mains []string
	folders, _ := fs.Glob(f.FS, "cmd/[a-zA-Z0-9]*") // the pattern is right
	for _, dir := range append([]string{"."}, folders...) {
		sources, _ := fs.Glob(f.FS, path.Join(dir, "*.go"))
		if slices.ContainsFunc(sources, func(s string) bool { return !strings.HasSuffix(s, "_test.go") && goMain.MatchString(f.text(s)) }) {
			mains = append(mains, dir)
		}
	}
	switch len(mains) {
	case 0:
		p.Main = "."
		p.Notes = append(p.Notes, "no package main was found, neither in this folder nor in cmd/: name it in the Dockerfile's go build")
	case 1:
		p.Main = mains[0]
	default:
		p.Main = mains[0]
		if m := goModule.FindStringSubmatch(mod); m != nil && slices.Contains(mains, "cmd/"+m[1]) {
			p.Main = "cmd/" + m[1] // named like the module
		}
		p.Notes = append(p.Notes, "there are several programs ("+strings.Join(mains, ", ")+"), and the Dockerfile builds "+p.Main)
	}
	if p.Main != "." {
		p.Main = "./" + p.Main
	}
	return p
}

var (
	mavenRelease  = regexp.MustCompile(`<(?:maven\.compiler\.release|java\.version|maven\.compiler\.source|release)>\s*(?:1\.)?(\d+)`)
	gradleRelease = regexp.MustCompile(`(?:JavaLanguageVersion\.of\(|jvmToolchain\(|VERSION_|sourceCompatibility\s*=\s*['"]?(?:1\.)?)(\d+)`)
	mavenModules  = regexp.MustCompile(`<modules>`)
)

const newestJava = "21"

// javaVersion is one for which there are images: the oldest that runs what is compiled for version.
func javaVersion(m []string) string {
	if m == nil {
		return newestJava
	}
	n, _ := strconv.Atoi(m[1]) // digits
	for _, image := range []int{8, 11, 17, 21, 25} {
		if n <= image {
			return strconv.Itoa(image)
		}
	}
	return m[1]
}

func detectMaven(f folder) project {
	pom := f.text("pom.xml")
	p := project{Kind: "maven", Version: javaVersion(mavenRelease.FindStringSubmatch(pom)), Port: 8080, User: 65532, Wrapper: f.has("mvnw")}
	p.Notes = append(p.Notes, "the largest jar of target/ is run, so it must be an executable one (Spring Boot's, or maven-shade-plugin's)")
	if mavenModules.MatchString(pom) {
		p.Notes = append(p.Notes, "pom.xml has modules: name the folder of the one that is run in the Dockerfile")
	}
	return p
}

func detectGradle(f folder) project {
	script := f.text(f.first("build.gradle", "build.gradle.kts"))
	p := project{Kind: "gradle", Version: javaVersion(gradleRelease.FindStringSubmatch(script)), Port: 8080, User: 65532,
		Wrapper: f.has("gradlew") && f.has("gradle/wrapper/gradle-wrapper.jar")}
	p.Notes = append(p.Notes, "the largest jar of build/libs/ is run, so it must be an executable one (Spring Boot's, or the shadow plugin's)")
	return p
}

var (
	pythonVersion = regexp.MustCompile(`(?:^|python-|requires-python\s*=\s*["']\D*|(?m:^python\s*=\s*["']\D*))(3\.\d+)`)
	fastAPI       = regexp.MustCompile(`(?m)^(\w+)\s*(?::\s*\w+\s*)?=\s*FastAPI\(`)
	flaskApp      = regexp.MustCompile(`(?m)^(\w+)\s*(?::\s*\w+\s*)?=\s*Flask\(`)
	djangoModule  = regexp.MustCompile(`DJANGO_SETTINGS_MODULE['"],\s*['"](\w+)[.\w]*['"]`)
)

func detectPython(f folder) project {
	p := project{Kind: "python", Version: "3.13", Port: 8000, User: 65532}
	pyproject := f.text("pyproject.toml")
	for _, s := range []string{f.text(".python-version"), f.text("runtime.txt"), pyproject} {
		if m := pythonVersion.FindStringSubmatch(s); m != nil {
			p.Version = m[1]
			break
		}
	}
	needs := strings.ToLower(f.text("requirements.txt") + pyproject + f.text("uv.lock") + f.text("poetry.lock"))
	switch {
	case f.has("requirements.txt"):
		p.Copy = []string{"requirements.txt"}
		p.Install = []string{"pip install -r requirements.txt"}
	case f.has("uv.lock"):
		p.Copy = []string{"pyproject.toml", "uv.lock"}
		p.Install = []string{"pip install uv && UV_PROJECT_ENVIRONMENT=/venv uv sync --frozen --no-dev --no-install-project"}
	case f.has("poetry.lock"):
		p.Copy = []string{"pyproject.toml", "poetry.lock"}
		p.Install = []string{"python -m venv /poetry && /poetry/bin/pip install poetry && /poetry/bin/poetry install --only main --no-root"} // into the environment that is active
	case pyproject != "":
		p.Copy = []string{"."} // a project is installed whole
		p.Install = []string{"pip install ."}
	}
	server := func(name string) { // what a framework is served by, also where the project does not name it
		p.Listens = true
		if !strings.Contains(needs, name) {
			p.Install = append(p.Install, "pip install "+name)
		}
	}
	main := f.first("app.py", "main.py", "wsgi.py", "server.py", "src/main.py", "src/app.py", "app/main.py")
	module := strings.ReplaceAll(strings.TrimSuffix(main, ".py"), "/", ".")
	switch django, fast, flask := djangoModule.FindStringSubmatch(f.text("manage.py")), fastAPI.FindStringSubmatch(f.text(main)), flaskApp.FindStringSubmatch(f.text(main)); {
	case django != nil:
		server("gunicorn")
		p.Command = []string{"gunicorn", "--bind=0.0.0.0:8000", django[1] + ".wsgi"}
		p.Notes = append(p.Notes, "static files (collectstatic) and migrations are not seen to by the Dockerfile")
	case fast != nil:
		server("uvicorn")
		p.Command = []string{"uvicorn", "--host=0.0.0.0", "--port=8000", module + ":" + fast[1]}
	case flask != nil:
		server("gunicorn")
		p.Command = []string{"gunicorn", "--bind=0.0.0.0:8000", module + ":" + flask[1]}
	case main != "":
		p.Command = []string{"python", main}
	default:
		p.Command = []string{"python", "main.py"}
		p.Notes = append(p.Notes, "the program was not found: name it in the Dockerfile's CMD")
	}
	return p
}

// nodePackage is what matters here of a package.json (docs.npmjs.com, package.json).
type nodePackage struct {
	Scripts         map[string]string `json:"scripts"`
	Main            string            `json:"main"`
	PackageManager  string            `json:"packageManager"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	Engines         struct {
		Node string `json:"node"`
	} `json:"engines"`
}

func (n nodePackage) needs(name string) bool {
	return n.Dependencies[name]+n.DevDependencies[name] != ""
}

var (
	major     = regexp.MustCompile(`\d+`)
	plainNode = regexp.MustCompile(`^node ([\w./-]+\.[cm]?js)$`)
)

// sites are the tools that make a site of files, with the folder that they write.
var sites = []struct{ tool, out string }{
	{"vite", "dist"}, {"@vue/cli-service", "dist"}, {"react-scripts", "build"}, {"parcel", "dist"}, {"@docusaurus/core", "build"}, {"vitepress", "docs/.vitepress/dist"},
}

func detectNode(f folder) project {
	p := project{Kind: "node", Version: "24", Port: 3000, User: 1000}
	var n nodePackage
	if json.Unmarshal([]byte(f.text("package.json")), &n) != nil {
		p.Notes = append(p.Notes, "package.json cannot be read")
	}
	for _, s := range []string{f.text(".nvmrc"), f.text(".node-version"), n.Engines.Node} {
		if m := major.FindString(s); m != "" {
			p.Version = m
			break
		}
	}
	p.Copy = []string{"package.json"}
	_, pnpm, _ := strings.Cut(n.PackageManager, "pnpm@")
	run := "npm run build"
	switch lock := f.first("pnpm-lock.yaml", "yarn.lock", "package-lock.json", "npm-shrinkwrap.json"); lock {
	case "pnpm-lock.yaml":
		version := "10"
		if m := major.FindString(pnpm); m != "" {
			version = m
		}
		p.Copy = append(p.Copy, lock)
		p.Install = []string{"npm install --global pnpm@" + version + " && pnpm install --frozen-lockfile"}
		p.Prune = "pnpm prune --prod --ignore-scripts"
		run = "pnpm run build"
	case "yarn.lock":
		p.Copy = append(p.Copy, lock)
		p.Install = []string{"yarn install --frozen-lockfile"}
		p.Prune = "yarn install --frozen-lockfile --production --ignore-scripts"
		run = "yarn run build"
		if f.has(".yarnrc.yml") {
			p.Notes = append(p.Notes, "this is a newer Yarn than the image has: see whether the Dockerfile's yarn lines are right for it")
		}
	case "package-lock.json", "npm-shrinkwrap.json":
		p.Copy = append(p.Copy, lock)
		p.Install = []string{"npm ci"}
		p.Prune = "npm prune --omit=dev"
	default:
		p.Install = []string{"npm install"}
		p.Prune = "npm prune --omit=dev"
		p.Notes = append(p.Notes, "there is no lock file, so two builds of one commit may differ: commit one")
	}
	if f.has(".npmrc") {
		p.Copy = append(p.Copy, ".npmrc")
	}
	if n.Scripts["build"] != "" {
		p.Build = run
	}
	for _, site := range sites {
		if n.needs(site.tool) && p.Build != "" && !n.needs("express") && !n.needs("fastify") && !n.needs("koa") && !strings.HasPrefix(n.Scripts["start"], "node ") {
			p.Kind, p.Out, p.Port, p.Listens, p.User = "node-site", site.out, 8080, true, 101
			return p
		}
	}
	switch m := plainNode.FindStringSubmatch(n.Scripts["start"]); {
	case m != nil:
		p.Command = []string{"node", m[1]}
	case n.Scripts["start"] != "":
		p.Command = []string{"npm", "start"}
	case n.Main != "":
		p.Command = []string{"node", n.Main}
	default:
		p.Command = []string{"node", "index.js"}
		if !f.has("index.js") {
			p.Notes = append(p.Notes, "package.json has neither a start script nor main: name the program in the Dockerfile's CMD")
		}
	}
	return p
}

func detectStatic(f folder) project {
	return project{Kind: "static", Port: 8080, Listens: true, User: 101,
		Out: path.Dir(f.first("index.html", "public/index.html", "site/index.html", "dist/index.html"))}
}
