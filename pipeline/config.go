package pipeline

import (
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

// Values of Environment.Deploy and Environment.Rollback.
const (
	Auto   = "auto"
	Manual = "manual"
)

// Values of Environment.Conflicts.
const (
	Refuse = "refuse"
	Force  = "force"
)

// Values of Build.Cache.
const (
	CacheRegistry = "registry"
	CacheInline   = "inline"
	CacheOff      = "off"
)

// Config is a repository file, .shipmate.yaml, as Parse returns it: checked, and with every default filled in that the
// file alone decides. Treat it as read-only; copies share its lists.
type Config struct {
	App          string        `yaml:"app"` // a DNS label; WithDefaults takes it from the repository's name
	Trigger      TriggerRules  `yaml:"trigger"`
	Build        Build         `yaml:"build"`        // its Image is empty where the file has none, and what others push is released (Trigger.Registry)
	Checks       []CheckSpec   `yaml:"checks"`       // beside the build; taken from the commit that is built
	Environments []Environment `yaml:"environments"` // the promotion chain, in order
	Notify       []Notify      `yaml:"notify"`
}

// TriggerRules say what starts a run (Config.Plan).
type TriggerRules struct {
	Branches      []Pattern       `yaml:"branches"` // whose pushes; nil: WithDefaults puts the default branch; [] in a file: none
	Tags          []TagPattern    `yaml:"tags"`
	Paths         []string        `yaml:"paths"`          // patterns (globs): one of the changed files must match; empty: any
	PathsIgnore   []string        `yaml:"paths_ignore"`   // and must not match these
	AuthorsIgnore []string        `yaml:"authors_ignore"` // logins: a push of only their commits starts nothing
	PullRequests  bool            `yaml:"pull_requests"`  // the merge result is built, and never deployed
	Schedule      []Schedule      `yaml:"schedule"`
	Registry      RegistryTrigger `yaml:"registry"`
}

// RegistryTrigger names the images that make a release without a build when something else pushes them.
type RegistryTrigger struct {
	Repository string `yaml:"repository"` // with its host, without tag or digest; empty: none
	Tag        string `yaml:"tag"`        // a regular expression (RE2) for the whole tag; empty: any tag but latest
}

// Build says how a commit becomes an image. Context, Dockerfile, Target, Args and Platforms are taken from the commit
// that is built, the rest from the default branch (Effective).
type Build struct {
	Image      string            `yaml:"image"`      // the repository that is pushed to, with its host, without tag or digest
	Context    string            `yaml:"context"`    // a folder, relative to the repository's root; default "."
	Dockerfile string            `yaml:"dockerfile"` // relative to the repository's root; default "Dockerfile"
	Target     string            `yaml:"target"`     // a stage of the Dockerfile; default: its last
	Args       map[string]string `yaml:"args"`
	Secrets    []string          `yaml:"secrets"`   // names in the server's file
	Platforms  []string          `yaml:"platforms"` // os/arch[/variant]; default: the builder's own
	Tags       []string          `yaml:"tags"`      // templates, as image.Tags fills them; default "{branch}-{short_sha}" and, of a tag, "{tag}"
	Cache      string            `yaml:"cache"`     // CacheRegistry (default), CacheInline or CacheOff
	Submodules bool              `yaml:"submodules"`
	LFS        bool              `yaml:"lfs"`
	Timeout    time.Duration     `yaml:"timeout"` // default 30 minutes
}

// Environment is one stage of the promotion chain.
type Environment struct {
	Name       string        `yaml:"name"`
	After      string        `yaml:"after"`    // the environment before this one, or "": default the entry before
	Soak       time.Duration `yaml:"soak"`     // how long a release must have been live in After
	Branches   []Pattern     `yaml:"branches"` // whose releases it takes (Allows); default any for the first environment, [default] for the others
	Tags       []TagPattern  `yaml:"tags"`     // and the tags; default any for the first environment, none for the others
	Cluster    string        `yaml:"cluster"`  // a name in the server's file
	Namespace  string        `yaml:"namespace"`
	Manifests  string        `yaml:"manifests"`                // a folder or file, relative to the repository's root
	Values     []string      `yaml:"values" json:",omitempty"` // files of values for the chart there, relative to the same; a later one wins
	Deploy     string        `yaml:"deploy"`                   // Auto or Manual (default)
	Timeout    time.Duration `yaml:"timeout"`                  // of a deploy, from apply until stable, and of each Job of the flow; default 30 minutes
	Approvals  Approvals     `yaml:"approvals"`
	Deployers  []string      `yaml:"deployers"`                  // logins and @org/team; empty: everyone with write
	Rollback   string        `yaml:"rollback"`                   // when a deploy fails after it began to apply: Auto (default) or Manual
	Freeze     []Window      `yaml:"freeze"`                     // when it takes nothing but rollbacks and break-glass
	Registry   string        `yaml:"registry" json:",omitempty"` // the repository that its image is copied to and pulled from; empty: where it was built
	PullSecret string        `yaml:"pull_secret"`                // the imagePullSecrets secret that is kept current in Namespace; empty: none
	Conflicts  string        `yaml:"conflicts"`                  // with other field managers: Refuse (default) or Force

	RequireChecks RequiredChecks `yaml:"require_checks"` // of the commit, that must be green; empty: none

	Strategy Strategy   `yaml:"strategy" json:",omitzero"`
	Flow     []FlowStep `yaml:"flow" json:",omitempty"` // how a release gets there, in order, with one deploy; empty: by a deploy alone
}

// Approvals say who must agree before a release goes to an environment.
type Approvals struct {
	Count  int           `yaml:"count"`  // 0: none needed; in a file the section's mere presence means at least 1
	By     []string      `yaml:"by"`     // logins and @org/team; empty: everyone with maintain
	Self   bool          `yaml:"self"`   // whether those whose work it is may approve it
	Expire time.Duration `yaml:"expire"` // default 72 hours
}

// Notices are the values of Notify.On.
var Notices = []string{"started", "succeeded", "failed", "waiting", "resumed", "stopped"}

// mentionable are the values of Notify.Mention.
var mentionable = []string{"author", "approvers"}

// Notify sends notices to one chat of the server's file, or events to one webhook: one of WeCom, Slack and Webhook names it.
type Notify struct {
	WeCom        string            `yaml:"wecom"`
	Slack        string            `yaml:"slack"`
	Webhook      string            `yaml:"webhook"`
	Channel      string            `yaml:"channel"`      // of Slack; of an app of WeCom whom it writes to: userids with | between, or @all; of robots none
	Environments []string          `yaml:"environments"` // empty: all
	On           []string          `yaml:"on"`           // started, succeeded, failed, waiting, resumed, stopped; empty: all
	Mention      map[string]string `yaml:"mention"`      // from one of On to author or approvers

	// Quiet is when failures and what waits for approval alone are told at once. What else there is to tell then is told when it ends,
	// as it is by then. Nil: never.
	Quiet *Window `yaml:"quiet" json:",omitempty"`
}

// Wants says whether a notice ("started", "failed" …) of a deployment to environment belongs into this chat. A notice
// of a build has no environment ("") and is held back by none.
func (n *Notify) Wants(notice, environment string) bool {
	return (len(n.On) == 0 || slices.Contains(n.On, notice)) &&
		(environment == "" || len(n.Environments) == 0 || slices.Contains(n.Environments, environment))
}

// Parse reads a repository file. The error is strictyaml.Errors and has every mistake in it; file is the name that
// they are told by.
func Parse(file string, data []byte) (*Config, error) {
	var parsed *Config
	err := Check(file, data, func(c *Config, _ *strictyaml.Document) { parsed = c })
	if err != nil {
		return nil, err
	}
	return parsed, nil
}

// fillIn sets what a file need not say. What depends on the repository is left to WithDefaults.
func (c *Config) fillIn(doc *strictyaml.Document) {
	setDefault(&c.Build.Context, ".")
	setDefault(&c.Build.Dockerfile, "Dockerfile")
	setDefault(&c.Build.Cache, CacheRegistry)
	if !doc.Has("build.timeout") {
		c.Build.Timeout = 30 * time.Minute
	}
	if len(c.Build.Tags) == 0 {
		c.Build.Tags = []string{"{branch}-{short_sha}", "{tag}"} // one of them has a value
	}
	for i := range c.Trigger.Schedule {
		setDefault(&c.Trigger.Schedule[i].Zone, "UTC")
	}
	for i := range c.Checks {
		if !doc.Has(fmt.Sprintf("checks[%d].timeout", i)) {
			c.Checks[i].Timeout = defaultCheckTimeout
		}
	}
	for i := range c.Environments {
		env, at := &c.Environments[i], fmt.Sprintf("environments[%d]", i)
		switch {
		case env.After == "none":
			env.After = ""
		case env.After == "" && i > 0:
			env.After = c.Environments[i-1].Name
		}
		if len(env.Branches) == 0 {
			env.Branches = []Pattern{defaultBranchOnly}
			if i == 0 {
				env.Branches = []Pattern{anyBranch}
			}
		}
		if !doc.Has(at+".tags") && i == 0 {
			env.Tags = []TagPattern{anyTag}
		}
		setDefault(&env.Deploy, Manual)
		setDefault(&env.Rollback, Auto)
		setDefault(&env.Conflicts, Refuse)
		if !doc.Has(at + ".timeout") {
			env.Timeout = 30 * time.Minute
		}
		if b := env.Strategy.BlueGreen; b != nil && !doc.Has(at+".strategy.blue-green.keep") {
			b.Keep = defaultKeep
		}
		var verifications []*Verify
		for j := range env.Strategy.between() {
			s := &env.Strategy.between()[j]
			if s.Header != "" {
				setDefault(&s.Value, "always")
			}
			verifications = append(verifications, s.Verify)
		}
		for j, step := range env.Flow {
			verifications = append(verifications, step.Verify)
			if a, here := step.Approve, fmt.Sprintf("%s.flow[%d].approve", at, j); a != nil {
				if !doc.Has(here + ".count") {
					a.Count = 1
				}
				if !doc.Has(here + ".expire") {
					a.Expire = defaultExpire
				}
			}
		}
		for _, v := range verifications {
			if v != nil && v.HTTP != "" && v.Status == 0 {
				v.Status = http.StatusOK
			}
		}
		if doc.Has(at+".approvals") && !doc.Has(at+".approvals.count") {
			env.Approvals.Count = 1
		}
		if !doc.Has(at + ".approvals.expire") {
			env.Approvals.Expire = defaultExpire
		}
	}
}

// defaultExpire is how long approvals are waited for where the file does not say.
const defaultExpire = 72 * time.Hour

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// Effective is the configuration that rules a run of a commit. From the commit's own file come build.context,
// dockerfile, target, args and platforms, and the checks; everything else (where it is pushed, which secrets it gets, what starts it,
// where it goes and who must agree) from the file of the default branch, because that one has been reviewed. A nil
// shipped changes nothing; without a file on the default branch there is no configuration, and Effective returns nil.
func Effective(defaultBranch, shipped *Config) *Config {
	if defaultBranch == nil {
		return nil
	}
	c := *defaultBranch
	if shipped != nil {
		c.Build.Context = shipped.Build.Context
		c.Build.Dockerfile = shipped.Build.Dockerfile
		c.Build.Target = shipped.Build.Target
		c.Build.Args = shipped.Build.Args
		c.Build.Platforms = shipped.Build.Platforms
		c.Checks = shipped.Checks
	}
	return &c
}

var notInLabel = regexp.MustCompile(`[^a-z0-9]+`)

// WithDefaults returns a copy with what the repository decides: the app's name from the last part of repo, made a DNS
// label, and the default branch to be built where the file names no branches.
func (c *Config) WithDefaults(repo, defaultBranch string) *Config {
	filled := *c
	if filled.App == "" {
		label := notInLabel.ReplaceAllString(strings.ToLower(path.Base(repo)), "-")
		filled.App = strings.Trim(label[:min(len(label), 63)], "-")
	}
	if filled.Trigger.Branches == nil {
		filled.Trigger.Branches = []Pattern{{text: defaultBranch}}
	}
	return &filled
}

// Environment returns the environment of that exact name.
func (c *Config) Environment(name string) (*Environment, bool) {
	i := slices.IndexFunc(c.Environments, func(e Environment) bool { return e.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Environments[i], true
}

// EnvironmentNames lists the names in the order of the promotion chain.
func (c *Config) EnvironmentNames() []string {
	names := make([]string, len(c.Environments))
	for i, env := range c.Environments {
		names[i] = env.Name
	}
	return names
}

// Nearest returns the one of known that name was most likely meant to be, or "".
func Nearest(name string, known []string) string { return strictyaml.Nearest(name, known) }
