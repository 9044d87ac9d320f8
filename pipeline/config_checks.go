package pipeline

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

// A CheckSpec is one check: it runs beside the build, and must pass before there is a release: a stage of the Dockerfile that is built
// (Target), or a command (Run) in an image (Image) with a copy of the commit's files as its working directory.
type CheckSpec struct {
	Name      string        `yaml:"name"` // a DNS label
	Target    string        `yaml:"target"`
	Image     string        `yaml:"image"`     // with a tag or digest
	Run       string        `yaml:"run"`       // for /bin/sh -ec, as root; may have several lines
	Report    string        `yaml:"report"`    // JUnit XML: a file, or a folder whose *.xml count together; relative to the working directory
	Artifacts []string      `yaml:"artifacts"` // files and folders that are kept with the run; relative to the working directory
	Timeout   time.Duration `yaml:"timeout"`   // default 15 minutes
}

// What a commit's own file, which nobody has reviewed, may ask of the builders.
const (
	maxChecks           = 20
	maxCheckTimeout     = 2 * time.Hour
	defaultCheckTimeout = 15 * time.Minute
)

// stepCheck is before a check's name in the kind of its step.
const stepCheck = "check/"

// CheckStep is the kind of the step of a check.
func CheckStep(name string) string { return stepCheck + name }

// CheckOf is the name of the check whose step has that kind; ok is false of other steps.
func CheckOf(kind string) (name string, ok bool) { return strings.CutPrefix(kind, stepCheck) }

// RunSteps are the kinds of the steps of a run that builds.
func (c *Config) RunSteps() []string {
	steps := []string{StepFetch, StepBuild}
	for _, check := range c.Checks {
		steps = append(steps, CheckStep(check.Name))
	}
	return append(steps, StepResolve)
}

func (c *Config) checkChecks(doc *strictyaml.Document) {
	if len(c.Checks) > maxChecks {
		doc.Errorf("checks", "has %d entries; write at most %d", len(c.Checks), maxChecks)
	}
	for i, check := range c.Checks {
		at := fmt.Sprintf("checks[%d]", i)
		checkLabel(doc, at+".name", check.Name)
		for j, earlier := range c.Checks[:i] {
			if earlier.Name == check.Name && check.Name != "" {
				doc.Errorf(at+".name", "%q is the name of checks[%d] already; choose another", check.Name, j)
				break
			}
		}
		check.check(doc, at)
	}
}

func (c *CheckSpec) check(doc *strictyaml.Document, at string) {
	switch {
	case c.Target != "" && (c.Image != "" || c.Run != ""):
		doc.Errorf(at+".target", "stands beside image and run; write either a stage of the Dockerfile, or a command and its image")
	case c.Target == "" && c.Image == "" && c.Run == "":
		doc.Errorf(at, "checks nothing; write target: STAGE for a stage of the Dockerfile, or image: and run: for a command")
	case c.Target == "" && c.Image == "":
		doc.Errorf(at+".run", "needs an image that it runs in; write image: beside it, such as golang:1.26")
	case c.Target == "" && strings.TrimSpace(c.Run) == "":
		doc.Errorf(at+".image", "has nothing to do; write run: beside it, such as go vet ./...")
	}
	if c.Image != "" {
		if _, err := name.ParseReference(c.Image); err != nil {
			doc.Errorf(at+".image", "%q is no image; write it as in a FROM line, such as golang:1.26", c.Image)
		}
	}
	if doc.Has(at + ".report") {
		checkOutput(doc, at+".report", c.Report)
	}
	for i, artifact := range c.Artifacts {
		here := fmt.Sprintf("%s.artifacts[%d]", at, i)
		checkOutput(doc, here, artifact)
		checkOnce(doc, here, i, c.Artifacts)
	}
	if doc.Has(at+".timeout") && (c.Timeout < time.Second || c.Timeout > maxCheckTimeout) {
		doc.Errorf(at+".timeout", "must be between 1s and 2h; write for example 15m")
	}
}

// checkOutput wants a path below the working directory of a check. That no link leads out of it is seen to when it is read.
func checkOutput(doc *strictyaml.Document, at, file string) {
	switch {
	case file == "":
		doc.Errorf(at, "is empty; write a path relative to the check's working directory")
	case strings.HasPrefix(file, "/") || strings.ContainsAny(file, "\\\x00"):
		doc.Errorf(at, "%q must be relative to the check's working directory, with / between its parts", file)
	case strings.ContainsAny(file, "*?["):
		doc.Errorf(at, "%q is a pattern; write a file, or a folder to have all in it", file)
	case strings.HasPrefix(path.Clean(file)+"/", "../"):
		doc.Errorf(at, "%q leads out of the check's working directory; write a path inside it", file)
	}
}
