package sim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// manifest is an app as somebody's page asked GitHub to register it.
type manifest struct {
	Name           string
	URL            string
	RedirectURL    string            `json:"redirect_url"`
	CallbackURLs   []string          `json:"callback_urls"`
	SetupURL       string            `json:"setup_url"`
	Public         bool              `json:"public"`
	Permissions    map[string]string `json:"default_permissions"`
	Events         []string          `json:"default_events"`
	HookAttributes struct {
		URL string `json:"url"`
	} `json:"hook_attributes"`

	organization string // "" for the person's own account
}

// registerApp is the page that a manifest is posted to. Real GitHub asks the person for the app's name first; here they agree
// at once, and go back with a code (docs.github.com, "Registering a GitHub App from a manifest").
func (gh *GitHub) registerApp(w http.ResponseWriter, r *http.Request, path string) {
	var m manifest
	err := r.ParseForm()
	if err == nil {
		err = json.Unmarshal([]byte(r.PostForm.Get("manifest")), &m)
	}
	back, backErr := url.Parse(m.RedirectURL)
	if r.Method != http.MethodPost || err != nil || backErr != nil || !back.IsAbs() || m.URL == "" || m.HookAttributes.URL == "" {
		http.Error(w, "Invalid GitHub App configuration. The configuration does not appear to be a valid GitHub App manifest.", http.StatusBadRequest)
		return
	}
	if strings.HasPrefix(path, "/organizations/") {
		m.organization = strings.Split(path, "/")[2]
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	code := randomHex(20)
	gh.manifests[code] = &m
	q := back.Query()
	q.Set("code", code)
	if state := r.URL.Query().Get("state"); state != "" {
		q.Set("state", state)
	}
	back.RawQuery = q.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// convertManifest tells the app's id and secrets, once, within an hour. This GitHub has one app: it becomes what the manifest
// says.
func (c *call) convertManifest() (int, any) {
	m := c.gh.manifests[c.params["code"]]
	if m == nil {
		return c.notFound()
	}
	delete(c.gh.manifests, c.params["code"])
	cfg := &c.gh.cfg
	cfg.Permissions, cfg.Events = m.Permissions, m.Events
	cfg.HookURL, cfg.Secret, c.gh.clientSecret = m.HookAttributes.URL, randomHex(20), randomHex(20)
	if len(m.CallbackURLs) > 0 {
		cfg.CallbackURL = m.CallbackURLs[0]
	}
	for _, i := range c.gh.installations {
		i.Permissions = m.Permissions
	}
	app := c.gh.app()
	app["client_id"], app["client_secret"], app["webhook_secret"], app["pem"] = c.gh.clientID(), c.gh.clientSecret, cfg.Secret, string(c.gh.PrivateKeyPEM())
	return http.StatusCreated, app
}

// SetApp changes what the app itself asks for; installations keep what they have accepted.
func (gh *GitHub) SetApp(permissions map[string]string, events []string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.cfg.Permissions, gh.cfg.Events = permissions, events
}
