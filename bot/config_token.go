package bot

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
)

// Values of APIToken.May.
const (
	mayRead    = "read"    // read what the API tells
	mayTrigger = "trigger" // start runs
	mayCommand = "command" // say commands, but for votes
)

var may = []string{mayRead, mayTrigger, mayCommand}

// minToken is how long a token of the API is at least, in bytes: openssl rand -hex 32 makes 64.
const minToken = 32

// APIToken lets a program use the API as a person: it may never do more than that person may on GitHub.
type APIToken struct {
	Name   string   `yaml:"name"` // stands in the audit and in /why
	GitHub string   `yaml:"github"`
	Token  Secret   `yaml:"token"`
	May    []string `yaml:"may"`
}

// login is what a GitHub login looks like, also that of an App.
var login = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\[bot\])?$`)

func (c *Config) checkToken(i int) {
	t, at := c.APITokens[i], fmt.Sprintf("api_tokens[%d]", i)
	if t.Name == "" {
		c.doc.Errorf(at+".name", "is missing; write what the token is for, such as ci")
	} else {
		c.checkName(at+".name", t.Name)
	}
	if j := slices.IndexFunc(c.APITokens[:i], func(other APIToken) bool { return other.Name == t.Name }); j >= 0 && t.Name != "" {
		c.doc.Errorf(at+".name", "%s is api_tokens[%d] already; choose another name", t.Name, j)
	}
	switch {
	case t.GitHub == "":
		c.doc.Errorf(at+".github", "is missing; write the GitHub login as whom the token acts")
	case !login.MatchString(t.GitHub):
		c.doc.Errorf(at+".github", "%q is no GitHub login; write it without @", t.GitHub)
	}
	if !t.Token.IsSet() {
		c.doc.Errorf(at+".token", "is missing; write env:NAME or file:PATH, and put at least %d random characters there", minToken)
	}
	if len(t.May) == 0 {
		c.doc.Errorf(at+".may", "is missing, so it may do nothing; write for example [%s]", mayTrigger)
	}
	for j, what := range t.May {
		if !slices.Contains(may, what) {
			c.doc.Errorf(fmt.Sprintf("%s.may[%d]", at, j), "%q is nothing that a token may; write %s, %s or %s", what, mayRead, mayTrigger, mayCommand)
		}
	}
}

// token finds the entry that a caller's token is of. Hashes are compared, in constant time and all of them, so that the time
// tells neither how much of a token was right nor which one it is.
func (c *Config) token(given string) (found *APIToken) {
	hash := sha256.Sum256([]byte(given))
	for i := range c.APITokens {
		t := &c.APITokens[i]
		if t.Token.Value() == "" {
			continue
		}
		if want := sha256.Sum256([]byte(t.Token.Value())); subtle.ConstantTimeCompare(hash[:], want[:]) == 1 {
			found = t
		}
	}
	return found
}
