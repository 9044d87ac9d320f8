package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline/image"
	"github.com/shipmate-dev/shipmate/store"
)

// Grants are what a build is trusted with.
type Grants struct {
	Secrets  []string // names of the server's file that the build is given
	Withheld []string // those that the file names and the build goes on without
	Push     bool     // the image goes to the registry and becomes a release; else nothing is written there
	Imports  []string // caches that are read, the one that fits best first
	Exports  []string // caches that are written
	Inline   bool     // cache data goes into the image
	// Scope separates what cache mounts keep in a builder: by repository, and there by who could have written it: whoever was
	// reviewed (the default branch), whoever may push, or one pull request of a fork. BuildKit puts a slash and the mount's
	// own name behind it, so no scope may be another's beginning up to a slash.
	Scope string
	Fork  bool // it runs on builders for forks alone
}

// Trusted says what a run is trusted with. It is the one place where that is decided, from the run, its repository, the
// default branch's file and, by mayUse, what the server's file says of a secret and a ref in full. The error is mayUse's:
// a build that is not a fork's and may not have a secret that its file names is refused. What a pull request's merge result
// holds comes from its base too, so a secret must be for that as well where it is not the default branch.
//
//	                                 secrets          push  cache written  cache read         cache mounts
//	the default branch               by their refs    yes   its own        its own            of the default branch
//	another branch                   by their refs    yes   its own        its own, default   of the branches
//	a tag                            by their refs    yes   none           default            of the branches
//	a pull request of a branch       by head and base no    none           head's, default    of the branches
//	a pull request of a fork         none             no    none           default            of that pull request
func Trusted(run store.Run, repo store.Repo, cfg Config, mayUse func(secret, ref string) error) (Grants, error) {
	ref := run.Ref
	if run.Cause == store.CausePull {
		ref = run.HeadRef
	}
	g := Grants{Push: run.Cause != store.CausePull, Fork: run.Fork != ""}
	if g.Fork {
		g.Withheld = cfg.Build.Secrets
	} else {
		for _, name := range cfg.Build.Secrets {
			if err := mayUse(name, ref); err != nil {
				return Grants{}, err
			}
			if run.Cause == store.CausePull && run.BaseRef != branchPrefix+repo.DefaultBranch {
				if err := mayUse(name, run.BaseRef); err != nil {
					return Grants{}, err
				}
			}
			g.Secrets = append(g.Secrets, name)
		}
	}
	owner := strings.ToLower(repo.Name)
	branch, isBranch := branchOf(ref)
	reviewed := isBranch && branch == repo.DefaultBranch && g.Push && !g.Fork
	switch {
	case g.Fork:
		g.Scope = owner + " pull " + strconv.Itoa(run.Pull)
	case reviewed:
		g.Scope = owner + " default"
	default:
		g.Scope = owner + " branches"
	}
	switch cfg.Build.Cache {
	case CacheInline:
		g.Inline = g.Push
	case CacheRegistry, "":
		// A branch writes its own cache only, and reads besides it that of the default branch, which was reviewed.
		if isBranch && !g.Fork {
			own, err := cacheRef(cfg.Build.Image, owner, branch)
			if err != nil {
				return Grants{}, err
			}
			g.Imports = append(g.Imports, own)
			if g.Push {
				g.Exports = append(g.Exports, own)
			}
		}
		if !isBranch || g.Fork || branch != repo.DefaultBranch {
			theirs, err := cacheRef(cfg.Build.Image, owner, repo.DefaultBranch)
			if err != nil {
				return Grants{}, err
			}
			g.Imports = append(g.Imports, theirs)
		}
	}
	return g, nil
}

// cacheRef names the cache of one branch of one repository: several may push to one path. A tag is a lossy form of a
// branch's name, so what was lost is hashed into it: no branch can be named so that it writes another's cache.
func cacheRef(path, repo, branch string) (string, error) {
	sum := sha256.Sum256([]byte(repo + "\n" + branch))
	tag, err := image.Tags([]string{"cache-" + hex.EncodeToString(sum[:16]) + "-{branch}"}, map[string]string{"branch": branch})
	if err != nil {
		return "", err
	}
	return path + ":" + strings.TrimRight(tag[0], "-."), nil
}
