package bot

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/pipeline/image"
)

// Config is the server's file, shipmate.yaml, as LoadConfig returns it: checked, with defaults filled in, paths made
// absolute (relative ones are taken from the file's folder) and secrets read. It is read-only.
type Config struct {
	Listen       string                     `yaml:"listen"`     // host:port; default 127.0.0.1:8080
	Metrics      string                     `yaml:"metrics"`    // host:port of /metrics, apart from the rest; default: none
	PublicURL    string                     `yaml:"public_url"` // without a slash at its end; default http://LISTEN
	DataDir      string                     `yaml:"data_dir"`   // default ./data
	DataKey      Secret                     `yaml:"data_key"`   // encrypts stored Secrets; default file:DATA_DIR/data.key; see EnsureDataKey
	Language     string                     `yaml:"language"`   // en (default) or zh
	Keep         KeepConfig                 `yaml:"keep"`
	GitHub       GitHubConfig               `yaml:"github"`
	Builder      BuilderConfig              `yaml:"builder"`
	Registries   map[string]*RegistryConfig `yaml:"registries"` // by host[:port]
	Clusters     map[string]*ClusterConfig  `yaml:"clusters"`
	Chat         ChatConfig                 `yaml:"chat"`
	People       []Person                   `yaml:"people"`
	BuildSecrets map[string]*BuildSecret    `yaml:"secrets"`
	APITokens    []APIToken                 `yaml:"api_tokens"`

	// PrivateAddresses are repositories whose flows may name addresses of private networks, or of this machine.
	PrivateAddresses []string `yaml:"private_addresses"`

	doc          *strictyaml.Document // where things stand, for refusals
	unregistered bool                 // there is no App yet: see loadUnregistered
}

// KeepConfig says how long what is large is kept. Releases, deployments, votes and the audit are kept for ever.
type KeepConfig struct {
	Events time.Duration `yaml:"events"` // payloads of deliveries, and those that nothing came of; default 30 days, at least 7
	Logs   time.Duration `yaml:"logs"`   // logs of builds and Jobs, and what was rendered for deployments that did not succeed; default 90 days, at least 1
}

// GitHubConfig is the GitHub App.
type GitHubConfig struct {
	APIURL         string   `yaml:"api_url"` // default https://api.github.com/; of GitHub Enterprise Server https://HOST/api/v3/
	AppID          int64    `yaml:"app_id"`
	PrivateKey     Secret   `yaml:"private_key"`     // PEM
	WebhookSecrets []Secret `yaml:"webhook_secrets"` // at least one; several while rotating
	ClientID       string   `yaml:"client_id"`
	ClientSecret   Secret   `yaml:"client_secret"`
	Allow          []string `yaml:"allow"`         // repositories, owner/name or owner/*
	BareCommands   bool     `yaml:"bare_commands"` // /promote as well as /shipmate promote; default true

	// RecoverEvery is how often GitHub's delivery log is read for what never arrived; 0 turns that off. Default 1m.
	RecoverEvery time.Duration `yaml:"recover_every"`
}

// BuilderConfig says where images are built.
type BuilderConfig struct {
	Concurrency int               `yaml:"concurrency"` // builds at once on each builder; default 4
	BuildKit    []BuildKitAddress `yaml:"buildkit"`    // default: the environment variable BUILDKIT_HOST, where it is set
}

// RegistryConfig is one registry, and who may push what there, and make releases of what others push.
type RegistryConfig struct {
	Username  Secret          `yaml:"username"`
	Password  Secret          `yaml:"password"`
	PlainHTTP bool            `yaml:"plain_http"`
	Pull      PullConfig      `yaml:"pull"`
	Events    *EventsConfig   `yaml:"events"` // nil: none are taken
	Allow     []RegistryAllow `yaml:"allow"`
}

// PullConfig is what clusters pull by.
type PullConfig struct {
	Host     string `yaml:"host"` // default: the registry's own
	Username Secret `yaml:"username"`
	Password Secret `yaml:"password"`
}

// RegistryAllow lets repositories use paths and what is below them: push there, and make releases of what others push.
type RegistryAllow struct {
	Repositories []string `yaml:"repositories"`
	Paths        []string `yaml:"paths"`
}

// ClusterConfig is one cluster, reached by a kubeconfig or by server and token, and who may deploy where in it.
type ClusterConfig struct {
	Kubeconfig string         `yaml:"kubeconfig"` // path
	Context    string         `yaml:"context"`    // in Kubeconfig; default: its current one
	Server     string         `yaml:"server"`     // https address of the API server
	CA         Secret         `yaml:"ca"`         // PEM; default: the system's roots
	Token      Secret         `yaml:"token"`
	Allow      []ClusterAllow `yaml:"allow"`
	Require    *Require       `yaml:"require"` // see Floor; nil: nothing

	tokens *tokens // that were read since, of the file or the kubeconfig
}

// ClusterAllow lets repositories deploy to namespaces, and apply objects elsewhere with that.
type ClusterAllow struct {
	Repositories []string `yaml:"repositories"`
	Namespaces   []string `yaml:"namespaces"`
	Kinds        []string `yaml:"kinds"` // cluster-scoped ones, as in CustomResourceDefinition
	Also         []string `yaml:"also"`  // namespaces that objects may name besides; no environment deploys there by that
}

// Require is what a cluster insists on, whatever a repository's file says.
type Require struct {
	Approvals int  `yaml:"approvals"`
	Self      bool `yaml:"self"` // whether a repository's file may let people approve their own
}

// ChatConfig lists chats by provider and name.
type ChatConfig struct {
	WeCom   map[string]*WeComConfig   `yaml:"wecom"`
	Slack   map[string]*SlackConfig   `yaml:"slack"`
	Webhook map[string]*WebhookConfig `yaml:"webhook"`
}

// WeComConfig is one chat of WeCom: the robots of a group, an app, or a smart robot, by which of its fields are there.
type WeComConfig struct {
	RobotKeys []Secret `yaml:"robot_keys"` // of a group's robots, which speak and don't hear
	CorpID    string   `yaml:"corp_id"`    // of an app; of a smart robot whose userids are those of that corp's apps
	AgentID   int64    `yaml:"agent_id"`   // of an app
	Secret    Secret   `yaml:"secret"`     // of an app
	Token     Secret   `yaml:"token"`      // of an app's or a smart robot's callback
	AESKey    Secret   `yaml:"aes_key"`    // of the same
	BaseURL   string   `yaml:"base_url"`
	Language  string   `yaml:"language"` // default: the server's
	Allow     []string `yaml:"allow"`
	Card      bool     `yaml:"card"` // cards instead of markdown, where a card says what matters
}

// app tells whether it is an app; robot, whether it is robots of a group. What is neither is a smart robot.
func (w *WeComConfig) app() bool   { return w.Secret.IsSet() || w.AgentID != 0 }
func (w *WeComConfig) robot() bool { return len(w.RobotKeys) > 0 }

// open makes the chat.
func (w *WeComConfig) open(client *http.Client, now func() time.Time) (chat.Service, error) {
	switch {
	case w.robot():
		return chat.NewWeComRobot(w.Chat(), client, now)
	case w.app():
		return chat.NewWeComApp(w.Chat(), client, now)
	}
	return chat.NewWeComSmart(w.Chat(), client, now)
}

// Chat is what package chat wants.
func (w *WeComConfig) Chat() chat.WeComConfig {
	c := chat.WeComConfig{CorpID: w.CorpID, AgentID: w.AgentID, Secret: chat.NewSecret(w.Secret.Value()), Token: chat.NewSecret(w.Token.Value()),
		AESKey: chat.NewSecret(w.AESKey.Value()), BaseURL: w.BaseURL, Language: w.Language, Allow: w.Allow, Card: w.Card}
	for _, key := range w.RobotKeys {
		c.RobotKeys = append(c.RobotKeys, chat.NewSecret(key.Value()))
	}
	return c
}

// SlackConfig is one Slack workspace.
type SlackConfig struct {
	BotToken      Secret   `yaml:"bot_token"`
	SigningSecret Secret   `yaml:"signing_secret"` // by which what people say there is told to be Slack's, where it comes by HTTP
	AppToken      Secret   `yaml:"app_token"`      // by which it is fetched (Socket Mode), without an address of ours; unset both: nothing is heard
	BaseURL       string   `yaml:"base_url"`
	Language      string   `yaml:"language"` // default: the server's
	Allow         []string `yaml:"allow"`
}

// Workspace is what chat.NewSlack wants.
func (s *SlackConfig) Workspace() chat.SlackConfig {
	return chat.SlackConfig{BotToken: chat.NewSecret(s.BotToken.Value()), SigningSecret: chat.NewSecret(s.SigningSecret.Value()), AppToken: chat.NewSecret(s.AppToken.Value()), BaseURL: s.BaseURL, Language: s.Language, Allow: s.Allow}
}

// WebhookConfig is a program that is told by signed JSON what happens.
type WebhookConfig struct {
	URL     string   `yaml:"url"`
	Secret  Secret   `yaml:"secret"`  // what bodies are signed by
	Private bool     `yaml:"private"` // whether the address may be one of a private network, or of this machine
	Allow   []string `yaml:"allow"`   // repositories that may name it
}

// Receiver is what chat.NewWebhook wants.
func (w *WebhookConfig) Receiver() chat.WebhookConfig {
	return chat.WebhookConfig{URL: w.URL, Secret: chat.NewSecret(w.Secret.Value())}
}

// Person says who a GitHub login is in the chats, by the chat's name in ChatConfig.
type Person struct {
	GitHub string            `yaml:"github"`
	WeCom  map[string]string `yaml:"wecom"`
	Slack  map[string]string `yaml:"slack"`
}

// BuildSecret is a secret that builds of some repositories may use.
type BuildSecret struct {
	Value        Secret                `yaml:"value"`
	Repositories []string              `yaml:"repositories"`
	Refs         []pipeline.RefPattern `yaml:"refs"` // none: no ref
}

// LoadConfig reads the server's file. The error is strictyaml.Errors, with every mistake in it, missing secrets too,
// unless the file itself can't be read.
func LoadConfig(path string) (*Config, error) {
	return readConfig(path, func(string) bool { return true })
}

// LoadDataConfig is LoadConfig for what works on the stored data alone: of the secrets it reads only data_key, so that a
// backup needs no others.
func LoadDataConfig(path string) (*Config, error) {
	return readConfig(path, func(secret string) bool { return secret == "data_key" })
}

func readConfig(path string, wanted func(secret string) bool) (*Config, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(path, data, false, wanted)
	if err == nil {
		err = c.doc.Err()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// parseConfig reads the content of the server's file at path; what is wrong with it is in c.doc. With unregistered it may lack
// the App.
func parseConfig(path string, data []byte, unregistered bool, wanted func(secret string) bool) (*Config, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	c := &Config{
		unregistered: unregistered,

		Listen:   "127.0.0.1:8080",
		DataDir:  "data",
		Language: "en",
		Keep:     KeepConfig{Events: 30 * day, Logs: 90 * day},
		GitHub:   GitHubConfig{APIURL: "https://api.github.com/", BareCommands: true, RecoverEvery: time.Minute},
		Builder:  BuilderConfig{Concurrency: 4},
	}
	c.doc = strictyaml.Decode(path, data, c)
	c.fillIn(dir)
	c.check()
	c.resolve(dir, wanted)
	c.checkCertificates()
	c.checkCallbacks()
	c.checkShared()
	return c, nil
}

func (c *Config) fillIn(dir string) {
	c.DataDir = inDir(dir, c.DataDir)
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.Listen
	}
	if !c.DataKey.IsSet() {
		c.DataKey = Secret{ref: "file:" + filepath.Join(c.DataDir, "data.key")}
	}
	if addr := os.Getenv("BUILDKIT_HOST"); addr != "" && len(c.Builder.BuildKit) == 0 {
		c.Builder.BuildKit = []BuildKitAddress{{Addr: addr}}
	}
	for _, cluster := range c.Clusters {
		if cluster.Kubeconfig != "" {
			cluster.Kubeconfig = inDir(dir, cluster.Kubeconfig)
		}
	}
	for _, r := range c.Registries {
		if r.Events != nil && r.Events.Kind != image.EventsDockerHub {
			r.Events.Header = or(r.Events.Header, "Authorization")
		}
	}
	for _, w := range c.Chat.WeCom {
		w.BaseURL = or(w.BaseURL, "https://qyapi.weixin.qq.com/")
		w.Language = or(w.Language, c.Language)
	}
	for _, s := range c.Chat.Slack {
		s.BaseURL = or(s.BaseURL, "https://slack.com/api/")
		s.Language = or(s.Language, c.Language)
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// eachSecret calls f for every secret that the file can name, in an order that is always the same.
func (c *Config) eachSecret(f func(path string, s *Secret)) {
	f("data_key", &c.DataKey)
	f("github.private_key", &c.GitHub.PrivateKey)
	for i := range c.GitHub.WebhookSecrets {
		f(fmt.Sprintf("github.webhook_secrets[%d]", i), &c.GitHub.WebhookSecrets[i])
	}
	f("github.client_secret", &c.GitHub.ClientSecret)
	for i := range c.Builder.BuildKit {
		a, at := &c.Builder.BuildKit[i], fmt.Sprintf("builder.buildkit[%d]", i)
		f(at+".ca", &a.CA)
		f(at+".cert", &a.Cert)
		f(at+".key", &a.Key)
	}
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		registry, at := c.Registries[host], "registries."+host
		f(at+".username", &registry.Username)
		f(at+".password", &registry.Password)
		f(at+".pull.username", &registry.Pull.Username)
		f(at+".pull.password", &registry.Pull.Password)
		if registry.Events != nil {
			f(at+".events.secret", &registry.Events.Secret)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		f("clusters."+name+".ca", &c.Clusters[name].CA)
		f("clusters."+name+".token", &c.Clusters[name].Token)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.WeCom)) {
		w, at := c.Chat.WeCom[name], "chat.wecom."+name
		for i := range w.RobotKeys {
			f(fmt.Sprintf("%s.robot_keys[%d]", at, i), &w.RobotKeys[i])
		}
		f(at+".secret", &w.Secret)
		f(at+".token", &w.Token)
		f(at+".aes_key", &w.AESKey)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Slack)) {
		f("chat.slack."+name+".bot_token", &c.Chat.Slack[name].BotToken)
		f("chat.slack."+name+".signing_secret", &c.Chat.Slack[name].SigningSecret)
		f("chat.slack."+name+".app_token", &c.Chat.Slack[name].AppToken)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Webhook)) {
		f("chat.webhook."+name+".secret", &c.Chat.Webhook[name].Secret)
	}
	for _, name := range slices.Sorted(maps.Keys(c.BuildSecrets)) {
		f("secrets."+name+".value", &c.BuildSecrets[name].Value)
	}
	for i := range c.APITokens {
		f(fmt.Sprintf("api_tokens[%d].token", i), &c.APITokens[i].Token)
	}
}

// database is where the database is.
func (c *Config) database() string { return filepath.Join(c.DataDir, "shipmate.db") }

// resolve reads the wanted secrets. A data key that is not there yet is none of its business: EnsureDataKey makes it.
func (c *Config) resolve(dir string, wanted func(secret string) bool) {
	c.eachSecret(func(path string, s *Secret) {
		if !s.IsSet() || !wanted(path) {
			return
		}
		err := s.resolve(dir)
		if path == "data_key" {
			if name, isFile := strings.CutPrefix(s.ref, "file:"); isFile {
				s.ref = "file:" + inDir(dir, name)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return
			}
			if err == nil && len(s.Value()) < 32 {
				err = errors.New("is shorter than 32 characters; write a longer random one")
			}
		}
		if err == nil && strings.HasPrefix(path, "api_tokens[") && len(s.Value()) < minToken {
			err = fmt.Errorf("is shorter than %d characters; write a longer random one", minToken)
		}
		if err != nil {
			c.doc.Errorf(path, "%s", err)
		}
	})
}

// EnsureDataKey makes the file of DataKey, with 256 random bits in hexadecimal, unless there is one. An existing one is
// never touched, since what it encrypted would be lost; and none is made for a database that has had one.
func (c *Config) EnsureDataKey() error {
	name, isFile := strings.CutPrefix(c.DataKey.ref, "file:")
	if c.DataKey.value != nil || !isFile {
		return nil
	}
	if _, err := os.Stat(c.database()); err == nil {
		return c.noDataKey()
	}
	if err := createKey(name); err != nil {
		return fmt.Errorf("make the data key: %w", err)
	}
	return c.DataKey.resolve("")
}

// noDataKey tells that the key of a database that exists is not there.
func (c *Config) noDataKey() error {
	return fmt.Errorf("data_key: %s is not there, and without it what %s holds cannot be read: put back the one that the database was made with",
		strings.TrimPrefix(c.DataKey.ref, "file:"), c.database())
}

// createKey writes a new key to a file that appears whole or not at all, and only where there is none.
func createKey(name string) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".data.key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), name)
}

var (
	serverName        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`) // of a cluster, chat or secret
	kindName          = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	repositoryName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9._-]+$`)
	repositoryPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*/(\*|[A-Za-z0-9._-]+)$`)
)

func (c *Config) check() {
	c.checkRepositories("private_addresses", c.PrivateAddresses)
	c.checkServer()
	c.checkGitHub()
	c.checkBuilder()
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		c.checkRegistry("registries."+host, host, c.Registries[host])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Clusters)) {
		c.checkCluster("clusters."+name, name, c.Clusters[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.WeCom)) {
		at, w := "chat.wecom."+name, c.Chat.WeCom[name]
		w.check(c.doc, at)
		c.checkChat(at, name, w.BaseURL, w.Language, w.Allow)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Slack)) {
		at, s := "chat.slack."+name, c.Chat.Slack[name]
		if !s.BotToken.IsSet() {
			c.doc.Errorf(at+".bot_token", "is missing; write the token of the Slack app, such as env:SLACK_TOKEN")
		}
		c.checkChat(at, name, s.BaseURL, s.Language, s.Allow)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Chat.Webhook)) {
		at, w := "chat.webhook."+name, c.Chat.Webhook[name]
		c.checkName(at, name)
		if u, err := url.Parse(w.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			c.doc.Errorf(at+".url", "is no web address; write http:// or https:// and a host, without credentials")
		}
		if !w.Secret.IsSet() {
			c.doc.Errorf(at+".secret", "is missing; write what the receiver checks signatures by, such as env:AUDIT_SECRET")
		}
		c.checkRepositories(at+".allow", w.Allow)
	}
	for i := range c.People {
		c.checkPerson(i)
	}
	for _, name := range slices.Sorted(maps.Keys(c.BuildSecrets)) {
		at := "secrets." + name
		c.checkName(at, name)
		if !c.BuildSecrets[name].Value.IsSet() {
			c.doc.Errorf(at+".value", "is missing; write env:NAME or file:PATH")
		}
		c.checkRepositories(at+".repositories", c.BuildSecrets[name].Repositories)
	}
	for i := range c.APITokens {
		c.checkToken(i)
	}
}

func (c *Config) checkServer() {
	if !isAddress(c.Listen) {
		c.doc.Errorf("listen", "%q is no address; write host:port, such as 127.0.0.1:8080", c.Listen)
	}
	if c.Metrics != "" {
		if !isAddress(c.Metrics) {
			c.doc.Errorf("metrics", "%q is no address; write host:port, such as 127.0.0.1:9090, or nothing for no figures", c.Metrics)
		} else if c.Metrics == c.Listen {
			c.doc.Errorf("metrics", "is the address of listen, which everybody may reach; write another, such as 127.0.0.1:9090")
		}
	}
	c.checkURL("public_url", c.PublicURL)
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" && u.Path != "" && c.doc.Has("public_url") {
		c.doc.Errorf("public_url", "has a path, below which the pages do not work; write a host of its own, such as https://ship.example.com")
	}
	c.checkLanguage("language", c.Language)
	if c.Keep.Events < minKeepEvents {
		c.doc.Errorf("keep.events", "is shorter than 7 days, for which a delivery that comes again must be recognised; write for example 30d")
	}
	if c.Keep.Logs < day {
		c.doc.Errorf("keep.logs", "is shorter than a day; write for example 90d")
	}
}

// isAddress tells whether something can listen there.
func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	return err == nil && port != ""
}

func (c *Config) checkGitHub() {
	g := &c.GitHub
	c.checkURL("github.api_url", g.APIURL)
	c.checkRepositories("github.allow", g.Allow)
	if d := g.RecoverEvery; d != 0 && (d < time.Second || d > 24*time.Hour) {
		c.doc.Errorf("github.recover_every", "must be between 1s and 24h, or 0 to turn it off; write for example 1m")
	}
	if c.unregistered {
		return
	}
	// One without the other would leave the pages open to whoever has an address, and not say so.
	if g.ClientID != "" && !g.ClientSecret.IsSet() {
		c.doc.Errorf("github.client_secret", "is missing beside client_id, so that nobody could sign in; write where the App's client secret is, such as file:./client-secret")
	}
	if g.ClientID == "" && g.ClientSecret.IsSet() {
		c.doc.Errorf("github.client_id", "is missing beside client_secret, so that nobody could sign in; write the Client ID from the GitHub App's settings page")
	}
	if g.AppID <= 0 {
		c.doc.Errorf("github.app_id", "is missing; write the App ID from the GitHub App's settings page, or start bot serve without any of the App's keys to register one")
	}
	if !g.PrivateKey.IsSet() {
		c.doc.Errorf("github.private_key", "is missing; write where the App's private key is, such as file:./app.pem")
	}
	if len(g.WebhookSecrets) == 0 {
		c.doc.Errorf("github.webhook_secrets", "is missing; write where the App's webhook secret is, such as [env:GITHUB_WEBHOOK_SECRET]")
	}
}

func (c *Config) checkRegistry(at, host string, r *RegistryConfig) {
	if !isRegistryHost(host) {
		c.doc.Errorf(at, "%q is no registry; write its host, with a port where there is one, such as registry.example.com", host)
	}
	c.checkPair(at, r.Username, r.Password)
	c.checkPair(at+".pull", r.Pull.Username, r.Pull.Password)
	if c.doc.Has(at + ".pull.host") {
		if !isRegistryHost(r.Pull.Host) {
			c.doc.Errorf(at+".pull.host", "%q is no registry's host; write it without a path, such as registry-vpc.example.com", r.Pull.Host)
		}
	}
	if r.Events != nil {
		r.Events.check(c.doc, at+".events", host)
	}
	for i, allow := range r.Allow {
		here := fmt.Sprintf("%s.allow[%d]", at, i)
		c.checkRepositories(here+".repositories", allow.Repositories)
		for j, p := range allow.Paths {
			if _, _, err := pipeline.ParseRepository("example.com/" + p); err != nil {
				c.doc.Errorf(fmt.Sprintf("%s.paths[%d]", here, j), "%q is no path of images; write it without host and without / at its ends, such as team/web", p)
			}
		}
	}
}

func isRegistryHost(s string) bool {
	host, _, err := pipeline.ParseRepository(s + "/x")
	return err == nil && host == s
}

func (c *Config) checkPair(at string, username, password Secret) {
	if username.IsSet() && !password.IsSet() {
		c.doc.Errorf(at+".password", "is missing beside username; write env:NAME or file:PATH")
	}
	if password.IsSet() && !username.IsSet() {
		c.doc.Errorf(at+".username", "is missing beside password; write env:NAME or file:PATH")
	}
}

func (c *Config) checkCluster(at, name string, cluster *ClusterConfig) {
	c.checkName(at, name)
	switch {
	case cluster.Kubeconfig == "" && cluster.Server == "":
		c.doc.Errorf(at, "says not how it is reached; write kubeconfig, or server and token")
	case cluster.Kubeconfig != "" && cluster.Server != "":
		c.doc.Errorf(at+".server", "stands beside kubeconfig; write one of them")
	case cluster.Kubeconfig != "":
		if _, err := os.Stat(cluster.Kubeconfig); err != nil {
			c.doc.Errorf(at+".kubeconfig", "%s; write the path of a kubeconfig file", err)
		}
		if cluster.Token.IsSet() || cluster.CA.IsSet() {
			c.doc.Errorf(at, "has ca or token beside kubeconfig, which has its own; remove them")
		}
	default:
		if u, err := url.Parse(cluster.Server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			c.doc.Errorf(at+".server", "is no https address; write for example https://10.0.0.1:6443")
		}
		if !cluster.Token.IsSet() {
			c.doc.Errorf(at+".token", "is missing beside server; write where the service account's token is, such as file:./token")
		}
		if cluster.Context != "" {
			c.doc.Errorf(at+".context", "is a matter of kubeconfig; remove it")
		}
	}
	if r := cluster.Require; r != nil && r.Approvals < 0 {
		c.doc.Errorf(at+".require.approvals", "must not be less than 0; write for example 1")
	}
	for i, allow := range cluster.Allow {
		here := fmt.Sprintf("%s.allow[%d]", at, i)
		c.checkRepositories(here+".repositories", allow.Repositories)
		c.checkNamespaces(here+".namespaces", allow.Namespaces)
		c.checkNamespaces(here+".also", allow.Also)
		for j, kind := range allow.Kinds {
			if !kindName.MatchString(kind) {
				c.doc.Errorf(fmt.Sprintf("%s.kinds[%d]", here, j), "%q is no kind; write each one's name as manifests do, such as CustomResourceDefinition", kind)
			}
		}
	}
}

func (c *Config) checkNamespaces(at string, namespaces []string) {
	for i, namespace := range namespaces {
		if len(validation.IsDNS1123Label(namespace)) > 0 {
			c.doc.Errorf(fmt.Sprintf("%s[%d]", at, i), "%q is no namespace; write each one's name", namespace)
		}
	}
}

func (c *Config) checkChat(at, name, baseURL, language string, allow []string) {
	c.checkName(at, name)
	c.checkURL(at+".base_url", baseURL)
	c.checkLanguage(at+".language", language)
	c.checkRepositories(at+".allow", allow)
}

func (c *Config) checkPerson(i int) {
	p, at := c.People[i], fmt.Sprintf("people[%d]", i)
	if p.GitHub == "" {
		c.doc.Errorf(at+".github", "is missing; write the person's GitHub login")
	}
	// Who is two people in a chat would act as either.
	for _, other := range c.People[:i] {
		for kind, ids := range map[string]map[string]string{"slack": p.Slack, "wecom": p.WeCom} {
			for _, name := range slices.Sorted(maps.Keys(ids)) {
				if id := ids[name]; id != "" && id == c.idIn(other, kind, name) {
					c.doc.Errorf(fmt.Sprintf("%s.%s.%s", at, kind, name), "%s is %s already; a person in a chat is one on GitHub", id, other.GitHub)
				}
			}
		}
	}
	if j := slices.IndexFunc(c.People[:i], func(other Person) bool { return strings.EqualFold(other.GitHub, p.GitHub) }); j >= 0 && p.GitHub != "" {
		c.doc.Errorf(at+".github", "%s is people[%d] already; write one entry a person", p.GitHub, j)
	}
	for _, name := range slices.Sorted(maps.Keys(p.WeCom)) {
		if c.Chat.WeCom[name] == nil {
			c.doc.Errorf(at+".wecom."+name, "%s", c.missing("wecom chat", name, "chat.wecom", slices.Sorted(maps.Keys(c.Chat.WeCom))))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Slack)) {
		if c.Chat.Slack[name] == nil {
			c.doc.Errorf(at+".slack."+name, "%s", c.missing("slack chat", name, "chat.slack", slices.Sorted(maps.Keys(c.Chat.Slack))))
		}
	}
}

func (c *Config) checkName(at, name string) {
	if !serverName.MatchString(name) {
		c.doc.Errorf(at, "%q is not a valid name; write letters, digits, . _ and -", name)
	}
}

func (c *Config) checkLanguage(at, language string) {
	if c.doc.Has(at) && language != "en" && language != "zh" {
		c.doc.Errorf(at, "%q is not spoken here; write en or zh", language)
	}
}

func (c *Config) checkURL(at, text string) {
	if !c.doc.Has(at) {
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		c.doc.Errorf(at, "is no web address; write http:// or https:// and a host, without credentials or query")
	}
}

func (c *Config) checkRepositories(at string, patterns []string) {
	for i, p := range patterns {
		if !repositoryPattern.MatchString(p) {
			c.doc.Errorf(fmt.Sprintf("%s[%d]", at, i), "%q names no repositories; write owner/name, or owner/* for all of an owner's", p)
		}
	}
}
