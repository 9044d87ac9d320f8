package sim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token is an installation access token.
type token struct {
	installation *Installation
	permissions  map[string]string
	repositories map[int64]bool // nil: all that the installation has
	expires      time.Time
	window       time.Time // begin of the hour that used counts for
	used         int
}

// authenticate takes a JWT of the app, an installation token, or a person's.
func (c *call) authenticate(r route) (int, any) {
	if r.by == byAnyone {
		return 0, nil
	}
	scheme, credential, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "token") || credential == "" {
		return c.fail(http.StatusUnauthorized, "Requires authentication")
	}
	if strings.Count(credential, ".") == 2 {
		if refusal := c.gh.verifyJWT(credential); refusal != "" {
			return c.fail(http.StatusUnauthorized, refusal)
		}
		if r.by != byApp {
			return c.fail(http.StatusForbidden, "Resource not accessible by integration")
		}
		return 0, nil
	}
	if c.person = c.gh.userToken(credential); c.person != nil && r.by == byPerson {
		return 0, nil
	}
	t := c.gh.installationToken(credential)
	switch {
	case t == nil:
		return c.fail(http.StatusUnauthorized, "Bad credentials")
	case r.by == byApp:
		return c.fail(http.StatusUnauthorized, "A JSON web token could not be decoded")
	case r.by == byPerson:
		return c.fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	c.token = t
	return 0, nil
}

// installationToken returns the token while it is valid.
func (gh *GitHub) installationToken(secret string) *token {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	t := gh.tokens[secret]
	if t == nil || t.installation.Suspended || !gh.cfg.AuthNow().Before(t.expires) {
		return nil
	}
	return t
}

// ExpireTokens ends every installation token issued so far.
func (gh *GitHub) ExpireTokens() {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	clear(gh.tokens)
}

// verifyJWT checks a token as GitHub's "Generating a JSON Web Token for a GitHub
// App" says: RS256, iss the app's id or client id, iat not in the future, exp at
// most ten minutes ahead; five seconds of difference between clocks are allowed.
// The refusal is empty for a right one.
func (gh *GitHub) verifyJWT(jwt string) (refusal string) {
	const undecodable = "A JSON web token could not be decoded"
	parts := strings.Split(jwt, ".")
	var header struct{ Alg string }
	var claims struct {
		Iss      json.RawMessage
		Iat, Exp *float64
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || decodePart(parts[0], &header) != nil || decodePart(parts[1], &claims) != nil || header.Alg != "RS256" {
		return undecodable
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&gh.cfg.PrivateKey.PublicKey, crypto.SHA256, digest[:], signature) != nil {
		return undecodable
	}
	issuer := strings.Trim(string(claims.Iss), `"`)
	now := float64(gh.cfg.AuthNow().Unix())
	switch {
	case issuer != itoa(gh.cfg.AppID) && issuer != gh.clientID():
		return "'Issuer' claim ('iss') must be the app's id"
	case claims.Iat == nil || *claims.Iat > now+5:
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	case claims.Exp == nil || *claims.Exp <= now:
		return "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case *claims.Exp > now+10*60+5:
		return "'Expiration time' claim ('exp') is too far in the future"
	}
	return ""
}

func decodePart(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// limit counts the request against the hour's and, for one that creates content,
// the secondary limits. mu is held.
func (c *call) limit(r route) (int, any) {
	gh, now := c.gh, c.gh.cfg.Now()
	used, reset := 1, now.Add(time.Hour)
	if t := c.token; t != nil {
		if now.Sub(t.window) >= time.Hour {
			t.window, t.used = now, 0
		}
		t.used++
		used, reset = t.used, t.window.Add(time.Hour)
	}
	remaining := max(gh.cfg.RateLimit-used, 0)
	c.header.Set("X-RateLimit-Limit", strconv.Itoa(gh.cfg.RateLimit))
	c.header.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	c.header.Set("X-RateLimit-Used", strconv.Itoa(min(used, gh.cfg.RateLimit)))
	c.header.Set("X-RateLimit-Reset", itoa(reset.Unix()))
	c.header.Set("X-RateLimit-Resource", "core")
	if used > gh.cfg.RateLimit {
		return c.fail(http.StatusForbidden, "API rate limit exceeded for installation.")
	}
	if !gh.cfg.SecondaryLimit || r.by == byApp || r.method == http.MethodGet {
		return 0, nil
	}
	gh.created = slices.DeleteFunc(gh.created, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	inMinute := slices.DeleteFunc(slices.Clone(gh.created), func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	var wait time.Duration
	if len(inMinute) >= 80 {
		wait = inMinute[0].Add(time.Minute).Sub(now)
	}
	if len(gh.created) >= 500 {
		wait = gh.created[0].Add(time.Hour).Sub(now)
	}
	if wait > 0 {
		c.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return http.StatusForbidden, secondaryLimit
	}
	gh.created = append(gh.created, now)
	return 0, nil
}

// openRepo finds the repository of the path and checks that the token reaches it:
// where it does not, a private repository does not exist.
func (c *call) openRepo(r route) (int, any) {
	c.repo = c.gh.repos[strings.ToLower(c.params["owner"]+"/"+c.params["repo"])]
	if c.repo == nil {
		return c.notFound()
	}
	if r.by == byApp {
		return 0, nil
	}
	if !c.token.reaches(c.repo) {
		if c.repo.private {
			return c.notFound()
		}
		if r.method == http.MethodGet {
			return 0, nil
		}
		return c.fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	if !c.permitted(r.needs) {
		return c.fail(http.StatusForbidden, "Resource not accessible by integration")
	}
	return 0, nil
}

// reaches reports whether the token is for the repository.
func (t *token) reaches(repo *Repo) bool {
	return repo.installed && repo.owner == t.installation.account && (t.repositories == nil || t.repositories[repo.id])
}

// permitted reports whether the token has one of the permissions.
func (c *call) permitted(needs []string) bool {
	return len(needs) == 0 || slices.ContainsFunc(needs, func(need string) bool {
		name, level, _ := strings.Cut(need, ":")
		return c.token.may(name, level)
	})
}

// may reports whether the token has at least the level of a permission, and its
// installation still has it. Every installation may read metadata.
func (t *token) may(name, level string) bool {
	if name == "metadata" && level == "read" {
		return true
	}
	rank := func(level string) int { return slices.Index([]string{"", "read", "write", "admin"}, level) }
	return rank(t.permissions[name]) >= rank(level) && rank(t.installation.Permissions[name]) >= rank(level)
}

func (c *call) createToken() (int, any) {
	i := slices.IndexFunc(c.gh.installations, func(i *Installation) bool { return i.ID == c.number("installation_id") })
	if i < 0 {
		return c.notFound()
	}
	installation := c.gh.installations[i]
	if installation.Suspended {
		return c.fail(http.StatusForbidden, "This installation has been suspended")
	}
	var wanted struct {
		Repositories  []string
		RepositoryIDs []int64 `json:"repository_ids"`
		Permissions   map[string]string
	}
	if err := c.decode(&wanted); err != nil {
		return c.fail(http.StatusBadRequest, "Problems parsing JSON")
	}
	t := &token{
		installation: installation, permissions: maps.Clone(installation.Permissions), expires: c.gh.cfg.AuthNow().UTC().Truncate(time.Second).Add(time.Hour),
		window: c.gh.cfg.Now(),
	}
	if len(wanted.Permissions) > 0 {
		for name, level := range wanted.Permissions {
			if !t.may(name, level) {
				return c.fail(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		t.permissions = wanted.Permissions
	}
	var chosen []object
	for _, repo := range c.gh.sortedRepos() {
		if !t.reaches(repo) || !slices.ContainsFunc(wanted.Repositories, func(name string) bool { return strings.EqualFold(name, repo.name) }) &&
			!slices.Contains(wanted.RepositoryIDs, repo.id) {
			continue
		}
		chosen = append(chosen, c.gh.repositoryJSON(repo))
	}
	if len(chosen) < len(wanted.Repositories)+len(wanted.RepositoryIDs) {
		return c.fail(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	}
	if chosen != nil {
		t.repositories = map[int64]bool{}
	}
	for _, repo := range chosen {
		t.repositories[repo["id"].(int64)] = true
	}
	secret := "ghs_" + randomHex(18)
	c.gh.tokens[secret] = t
	answer := object{"token": secret, "expires_at": t.expires.Format(time.RFC3339), "permissions": t.permissions, "repository_selection": "all"}
	if chosen != nil {
		answer["repository_selection"], answer["repositories"] = "selected", chosen
	}
	return http.StatusCreated, answer
}
