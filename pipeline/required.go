package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/store"
)

// Words for RequiredChecks that are no list of names.
const (
	ChecksRequired = "required" // those that the branch's rules on GitHub require
	ChecksAll      = "all"      // whatever there is on the commit
)

// RequiredChecks are the checks of a commit that must be green before its release goes to an environment: Set is one of the
// words above, or each has a name. Empty: none.
type RequiredChecks []RequiredCheck

// A RequiredCheck is a check run or commit status by its name, and whose it has to be: anybody with write access can post a
// status of any name.
type RequiredCheck struct {
	Name  string `yaml:"name" json:",omitempty"`
	App   string `yaml:"app" json:",omitempty"` // a GitHub App by its slug; empty: anybody's
	AppID int64  `json:",omitempty"`            // the same as GitHub's rules have it; 0: anybody's
	Set   string `json:",omitempty"`            // ChecksRequired or ChecksAll, instead of a name
}

// UnmarshalText reads the short form, as in "require_checks: required".
func (r *RequiredChecks) UnmarshalText(text []byte) error {
	switch set := string(text); set {
	case ChecksRequired, ChecksAll:
		*r = RequiredChecks{{Set: set}}
		return nil
	default:
		return fmt.Errorf("%q is not known here; write required, all or a list of names such as [unit]", set)
	}
}

// UnmarshalJSON reads what is stored with a run or deployment.
func (r *RequiredChecks) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, (*[]RequiredCheck)(r))
}

// UnmarshalText reads the short form, as in "require_checks: [unit]".
func (c *RequiredCheck) UnmarshalText(text []byte) error {
	*c = RequiredCheck{Name: string(text)}
	return nil
}

// UnmarshalJSON reads what is stored with a run or deployment.
func (c *RequiredCheck) UnmarshalJSON(text []byte) error {
	type plain RequiredCheck // without this method
	return json.Unmarshal(text, (*plain)(c))
}

// String is the check in words: "unit", "unit of ci", "required".
func (c RequiredCheck) String() string {
	if by := c.owner(); by != "" {
		return c.Name + " of " + by
	}
	return cmp.Or(c.Set, c.Name)
}

// is tells whether the checks are the set and not a list of names.
func (r RequiredChecks) is(set string) bool { return len(r) == 1 && r[0].Set == set }

// All tells whether every check of the commit is meant.
func (r RequiredChecks) All() bool { return r.is(ChecksAll) }

// ByRules tells whether the rules of the branch on GitHub say which are meant.
func (r RequiredChecks) ByRules() bool { return r.is(ChecksRequired) }

// Key tells one demand from another.
func (r RequiredChecks) Key() string {
	text, _ := json.Marshal([]RequiredCheck(r)) // strings and numbers
	return string(text)
}

const maxCheckName = 255 // characters of a commit status's context on GitHub

var slugSyntax = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)

func (r RequiredChecks) check(doc *strictyaml.Document, at string) {
	if !doc.Has(at) || len(r) == 1 && r[0].Set != "" {
		return
	}
	if len(r) == 0 {
		doc.Errorf(at, "names no check; write required, all or a list of names such as [unit], or remove it")
	}
	if len(r) > maxRequiredChecks {
		doc.Errorf(at, "has %d entries; write at most %d, or all", len(r), maxRequiredChecks)
		return
	}
	for i, c := range r {
		here := fmt.Sprintf("%s[%d]", at, i)
		name := here
		if doc.Has(here + ".name") {
			name += ".name"
		}
		switch {
		case c.Name == "":
			doc.Errorf(here, "has no name; write the name of a check run or the context of a commit status, such as unit")
		case c.Name == ChecksRequired || c.Name == ChecksAll:
			doc.Errorf(name, "%q stands by itself; write require_checks: %s", c.Name, c.Name)
		case OwnCheck(c.Name):
			doc.Errorf(name, "%q is Shipmate's own, which is never waited for; remove it", c.Name)
		case len([]rune(c.Name)) > maxCheckName || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
			doc.Errorf(name, "is no check's name; write it as GitHub shows it, in one line of at most %d characters", maxCheckName)
		case slices.Contains(r[:i], c):
			doc.Errorf(name, "%q is here a second time; remove it", c.Name)
		}
		if doc.Has(here+".app") && !slugSyntax.MatchString(c.App) {
			doc.Errorf(here+".app", "%q is no GitHub App; write its name as in its address, https://github.com/apps/NAME, such as github-actions", c.App)
		}
	}
}

// maxRequiredChecks is how many names an environment may list.
const maxRequiredChecks = 100

// OwnCheck tells whether a check run or commit status of that name is, by its name, one of ours. They never block us.
func OwnCheck(name string) bool { return name == "shipmate" || strings.HasPrefix(name, "shipmate/") }

// ChecksOf are the checks that a deployment waits for, none where it passes them: whoever asked for it when green means all,
// unless the environment says which.
func ChecksOf(d store.Deployment, env Environment) RequiredChecks {
	switch {
	case d.Cause == store.CauseRollback || d.Cause == store.CauseRecovery || d.Cause == store.CauseNow:
		return nil
	case len(env.RequireChecks) > 0:
		return env.RequireChecks
	case d.Green:
		return RequiredChecks{{Set: ChecksAll}}
	}
	return nil
}

// A CommitCheck is a check run or a commit status, as GitHub has it.
type CommitCheck struct {
	Name   string
	Status bool   // a commit status, of which the newest of a name counts, whoever set it
	App    string // the slug of the App that it is of; empty where it is of a person
	AppID  int64  // 0 where it is not known
	Login  string // of the person, or of the App's bot
	State  string // in GitHub's word: a conclusion, or else a status
	URL    string
}

// greenChecks and redChecks are the states of a check that has ended (REST "List check runs for a Git reference", conclusion; "Get the
// combined status for a specific reference"). In any other state it has not.
var (
	greenChecks = []string{"success", "neutral", "skipped"}
	redChecks   = []string{"failure", "error", "cancelled", "timed_out", "action_required", "stale", "startup_failure"}
)

// emptyGrace is how long a commit without any check is not taken for one whose checks are green: it takes others a moment to
// hear of a push too.
const emptyGrace = time.Minute

// CheckVerdict tells which of the wanted checks of a commit are not green. found is what there is, the newest first and none
// of ours; of the check runs of a name the newest of each App counts. Where all are wanted, those that are there are, and for
// emptyGrace after the push there has to be one. It is pure.
func CheckVerdict(wanted RequiredChecks, found []CommitCheck, now, pushed time.Time) (v store.Checks) {
	v.At = now
	add := func(c CommitCheck, app string) {
		check := store.Check{Name: c.Name, App: app, Is: c.State, URL: c.URL}
		switch {
		case slices.Contains(greenChecks, c.State):
		case slices.Contains(redChecks, c.State):
			v.Red = append(v.Red, check)
		default:
			v.Open = append(v.Open, check)
		}
	}
	if wanted.All() {
		all := newest(found, false)
		for _, c := range all {
			add(c, "")
		}
		v.None = len(all) == 0 && now.Before(pushed.Add(emptyGrace))
	} else {
		for _, w := range wanted {
			named := slices.DeleteFunc(slices.Clone(found), func(c CommitCheck) bool { return c.Name != w.Name })
			theirs := slices.DeleteFunc(slices.Clone(named), func(c CommitCheck) bool { return !w.by(c) })
			for _, c := range newest(theirs, w.App != "" || w.AppID != 0) {
				add(c, w.owner())
			}
			if len(theirs) > 0 {
				continue
			}
			missing := store.Check{Name: w.Name, App: w.owner()}
			for _, c := range newest(named, true) { // which is there, but of somebody else
				missing.By = append(missing.By, cmp.Or(c.App, c.Login))
			}
			slices.Sort(missing.By)
			missing.By = slices.Compact(missing.By)
			v.Open = append(v.Open, missing)
		}
	}
	for _, list := range []*[]store.Check{&v.Red, &v.Open} {
		slices.SortStableFunc(*list, func(a, b store.Check) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.App, b.App), cmp.Compare(a.URL, b.URL))
		})
		*list = slices.CompactFunc(*list, func(a, b store.Check) bool {
			return a.Name == b.Name && a.App == b.App && a.Is == b.Is && a.URL == b.URL
		})
	}
	return v
}

// by tells whether a check is of whom it has to be.
func (w RequiredCheck) by(c CommitCheck) bool {
	return (w.App == "" || w.App == c.App) && (w.AppID == 0 || w.AppID == c.AppID)
}

// owner is whose a check has to be, in words that a person can look up.
func (w RequiredCheck) owner() string {
	if w.App == "" && w.AppID != 0 {
		return fmt.Sprintf("App %d", w.AppID)
	}
	return w.App
}

// newest leaves the first of each name and, for check runs and where each is asked for, of each owner.
func newest(found []CommitCheck, each bool) (left []CommitCheck) {
	type identity struct {
		name, owner string
		status      bool
	}
	seen := map[identity]bool{}
	for _, c := range found {
		id := identity{c.Name, cmp.Or(c.Login, c.App), c.Status}
		if c.Status && !each {
			id.owner = ""
		}
		if !seen[id] {
			seen[id] = true
			left = append(left, c)
		}
	}
	return left
}
