package bot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline"
)

// secretValues are what the example's secrets resolve to in these tests.
var secretValues = map[string]string{
	"GITHUB_WEBHOOK_SECRET": "s3cret-webhook", "GITHUB_CLIENT_SECRET": "s3cret-client", "REGISTRY_USER": "s3cret-user",
	"REGISTRY_PULL_USER": "s3cret-pull-user", "REGISTRY_PULL_PASSWORD": "s3cret-pull-password", "WECOM_KEY": "s3cret-wecom",
	"SLACK_TOKEN": "s3cret-slack", "NPM_TOKEN": "s3cret-npm",
	"app.pem": "s3cret-key\nof two lines", "registry.password": "s3cret-password", "prod-ca.pem": "s3cret-ca", "prod.token": "s3cret-token",
}

// writeConfig writes text as a server's file into a folder with all that the example refers to.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	t.Setenv("BUILDKIT_HOST", "")
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range secretValues {
		if strings.Contains(name, ".") {
			write(name, value+"\n")
		} else {
			t.Setenv(name, value)
		}
	}
	write("kubeconfig", "apiVersion: v1\nkind: Config\n")
	write("shipmate.yaml", text)
	return filepath.Join(dir, "shipmate.yaml")
}

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/shipmate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func loadConfig(t *testing.T, text string) *Config {
	t.Helper()
	c, err := LoadConfig(writeConfig(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const smallest = `
github: {app_id: 1, private_key: "file:app.pem", webhook_secrets: ["env:GITHUB_WEBHOOK_SECRET"]}
`

func TestLoadExample(t *testing.T) {
	path := writeConfig(t, example(t))
	c, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	prod, registry := c.Clusters["prod"], c.Registries["registry.example.com"]
	for what, pair := range map[string][2]string{
		"listen":           {c.Listen, "127.0.0.1:8080"},
		"public_url":       {c.PublicURL, "https://ship.example.com"},
		"data_dir":         {c.DataDir, filepath.Join(dir, "data")},
		"private_key":      {c.GitHub.PrivateKey.Value(), "s3cret-key\nof two lines"},
		"webhook_secrets":  {c.GitHub.WebhookSecrets[0].Value(), "s3cret-webhook"},
		"buildkit":         {fmt.Sprint(c.Builder.BuildKit), "[unix:///run/buildkit/buildkitd.sock tcp://builder-2:1234]"},
		"password":         {registry.Password.Value(), "s3cret-password"},
		"pull.host":        {c.PullHost("registry.example.com"), "registry-vpc.example.com"},
		"pull.host, other": {c.PullHost("other.example.com"), "other.example.com"},
		"kubeconfig":       {c.Clusters["test"].Kubeconfig, filepath.Join(dir, "kubeconfig")},
		"token":            {prod.Token.Value(), "s3cret-token"},
		"wecom":            {c.Chat.WeCom["ops"].Chat().RobotKeys[0].Reveal() + c.Chat.WeCom["ops"].Chat().Language, "s3cret-wecomzh"},
		"slack":            {c.Chat.Slack["team"].Workspace().BotToken.Reveal() + c.Chat.Slack["team"].Workspace().Language, "s3cret-slacken"},
		"alice in Slack":   {c.ChatUser("slack", "team", "Alice"), "U012"},
		"alice in WeCom":   {c.ChatUser("wecom", "ops", "alice"), "alice.w"},
		"bob":              {c.ChatUser("wecom", "ops", "bob"), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	if user, password, err := c.PullCredentials("registry.example.com"); err != nil || user != "s3cret-pull-user" || password != "s3cret-pull-password" {
		t.Errorf("pull credentials %q, %q, %v", user, password, err)
	}
	if value, err := c.Secret("npm_token"); err != nil || value != "s3cret-npm" {
		t.Errorf("npm_token is %q, %v", value, err)
	}
	if _, err := c.Secret("none"); err == nil {
		t.Error("a secret that is not there must be an error")
	}
	if got := len(c.Secrets()); got != len(secretValues) {
		t.Errorf("%d secrets to mask, want %d", got, len(secretValues))
	}
}

func TestServerDefaults(t *testing.T) {
	path := writeConfig(t, smallest+"chat: {wecom: {a: {robot_keys: [\"env:WECOM_KEY\"]}}, slack: {b: {bot_token: \"env:SLACK_TOKEN\"}}}\nregistries: {r.example.com: {}}\nlanguage: zh\n")
	t.Setenv("BUILDKIT_HOST", "unix:///run/b.sock")
	c, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.Listen, c.PublicURL, c.GitHub.APIURL, c.GitHub.BareCommands, c.GitHub.RecoverEvery, c.Builder.Concurrency, c.Builder.BuildKit, c.Chat.WeCom["a"].BaseURL, c.Chat.WeCom["a"].Language, c.Chat.Slack["b"].BaseURL)
	want := fmt.Sprint("127.0.0.1:8080", "http://127.0.0.1:8080", "https://api.github.com/", true, time.Minute, 4, []BuildKitAddress{{Addr: "unix:///run/b.sock"}}, "https://qyapi.weixin.qq.com/", "zh", "https://slack.com/api/")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestPullCredentials: without credentials that only pull a cluster gets none, least of all those for pushing.
func TestPullCredentials(t *testing.T) {
	t.Setenv("PUSH", "pushes")
	c := loadConfig(t, smallest+"registries:\n  r.example.com: {username: \"env:PUSH\", password: \"env:PUSH\"}\n  s.example.com:\n    pull: {host: t.example.com}\n")
	for host, want := range map[string]string{
		"r.example.com": "pull_secret needs credentials that only pull from r.example.com, and the server's file has none; to allow it, add pull: {username: env:…, password: env:…} at shipmate.yaml:",
		"s.example.com": "; to allow it, add username: env:…, password: env:… at shipmate.yaml:",
		"t.example.com": "there is no registry t.example.com in the server's file; did you mean r.example.com?",
	} {
		user, password, err := c.PullCredentials(host)
		if user+password != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %q, %v", host, user, password, err)
		}
	}
}

func TestKeepDefaults(t *testing.T) {
	if c := loadConfig(t, smallest); c.Keep.Events != 30*24*time.Hour || c.Keep.Logs != 90*24*time.Hour {
		t.Errorf("%+v", c.Keep)
	}
	if c := loadConfig(t, smallest+"keep: {events: 7d, logs: 1d12h}"); c.Keep.Events != 7*24*time.Hour || c.Keep.Logs != 36*time.Hour {
		t.Errorf("%+v", c.Keep)
	}
	for text, want := range map[string]string{
		"keep: {events: 6d}":   "keep.events: is shorter than 7 days",
		"keep: {logs: 0}":      "keep.logs: is shorter than a day",
		"keep: {events: soon}": "keep.events: \"soon\" is no time span",
		"keep: {log: 30d}":     "did you mean logs?",
	} {
		if _, err := LoadConfig(writeConfig(t, smallest+text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// A database that has had a key gets no new one: that would hide that the old one is lost.
func TestLostDataKeyIsNotReplaced(t *testing.T) {
	c := loadConfig(t, smallest)
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.database(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureDataKey(); err == nil || !strings.Contains(err.Error(), "put back the one") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "data.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
}

func TestLoadDataConfigNeedsOneSecret(t *testing.T) {
	path := writeConfig(t, smallest+"data_key: env:SHIPMATE_KEY_OF_TEST")
	if err := os.Unsetenv("GITHUB_WEBHOOK_SECRET"); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDataConfig(path); err == nil || !strings.Contains(err.Error(), "SHIPMATE_KEY_OF_TEST is not set") {
		t.Errorf("without the data key: %v", err)
	}
	t.Setenv("SHIPMATE_KEY_OF_TEST", strings.Repeat("k", 32))
	if c, err := LoadDataConfig(path); err != nil || c.DataKey.Value() == "" || c.GitHub.PrivateKey.Value() != "" {
		t.Errorf("%v", err)
	}
}

func TestDataKey(t *testing.T) {
	path := writeConfig(t, smallest)
	load := func() *Config {
		c, err := LoadConfig(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := load()
	if c.DataKey.Value() != "" {
		t.Fatal("LoadConfig must make nothing")
	}
	if _, err := os.Stat(c.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("LoadConfig must make no folder")
	}
	late := load() // a second server, say
	if err := c.EnsureDataKey(); err != nil || len(c.DataKey.Value()) != 64 {
		t.Fatalf("key of %d characters, %v", len(c.DataKey.Value()), err)
	}
	if err := late.EnsureDataKey(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("an existing key must not be touched: %v", err)
	}
	again := load()
	if err := again.EnsureDataKey(); err != nil || again.DataKey.Value() != c.DataKey.Value() {
		t.Errorf("the key must stay: %v", err)
	}
	file := filepath.Join(c.DataDir, "data.key")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(c.DataDir); err != nil || len(entries) != 1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	for text, want := range map[string]string{"short": "is shorter than 32 characters", "": "is empty"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("key %q: %v", text, err)
		}
	}
}

// Each case is the example with one text in it replaced.
func TestServerMistakes(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		"unknown key":                        {"data_dir: ./data", "datadir: ./data", `:6: datadir: unknown key; did you mean data_dir?`},
		"listen":                             {"127.0.0.1:8080", "localhost", `listen: "localhost" is no address; write host:port, such as 127.0.0.1:8080`},
		"listen, port":                       {"127.0.0.1:8080", "127.0.0.1:80800", `listen: "127.0.0.1:80800" is no address; write host:port`},
		"public_url, path":                   {"https://ship.example.com", "https://www.example.com/ship/", `public_url: has a path, below which the pages do not work; write a host of its own`},
		"client_id alone":                    {"  client_secret: env:GITHUB_CLIENT_SECRET\n", "", `github.client_secret: is missing beside client_id, so that nobody could sign in; write`},
		"client_secret alone":                {"  client_id: Iv1.0123456789abcdef\n", "", `github.client_id: is missing beside client_secret, so that nobody could sign in; write`},
		"public_url":                         {"https://ship.example.com", "ship.example.com", `public_url: is no web address; write http:// or https:// and a host, without credentials or query`},
		"public_url, password":               {"https://ship", "https://u:s3cret-x@ship", `public_url: is no web address`},
		"language":                           {"language: en", "language: de", `language: "de" is not spoken here; write en or zh`},
		"app_id":                             {"app_id: 12345", "app_id: 0", `github.app_id: is missing`},
		"private_key":                        {"  private_key: file:./app.pem\n", "", `github.private_key: is missing; write where the App's private key is, such as file:./app.pem`},
		"webhook_secrets":                    {"[env:GITHUB_WEBHOOK_SECRET]", "[]", `github.webhook_secrets: is missing`},
		"literal":                            {"env:GITHUB_WEBHOOK_SECRET", "s3cret-literal", `github.webhook_secrets[0]: a secret does not stand in this file; write env:NAME or file:PATH, and put it there`},
		"literal, as a text":                 {"[env:GITHUB_WEBHOOK_SECRET]", "s3cret-literal", `github.webhook_secrets: must be a list, not a text`},
		"literal, quoted":                    {"file:./registry.password", `"env:s3cret-literal"`, `registries.registry.example.com.password: env: is not followed by the name of an environment variable`},
		"literal, a password":                {"file:./registry.password", "*s3cret-literal", `an alias (*) is not supported`},
		"no path":                            {"file:./app.pem", `"file:"`, `github.private_key: file: is not followed by a path`},
		"no variable":                        {"env:NPM_TOKEN", "env:NO_SUCH_VARIABLE", `secrets.npm_token.value: the environment variable NO_SUCH_VARIABLE is not set; set it where the server is started`},
		"no file":                            {"file:./prod.token", "file:./none.token", `none.token: no such file or directory; put the secret into that file`},
		"allow":                              {`allow: ["acme/*"] #`, `allow: ["acme"] #`, `github.allow[0]: "acme" names no repositories; write owner/name, or owner/* for all of an owner's`},
		"allow everybody":                    {`allow: ["acme/*"] #`, `allow: ["*/*"] #`, `github.allow[0]: "*/*" names no repositories`},
		"allow, half a name":                 {`allow: ["acme/*"] #`, `allow: ["acme/web-*"] #`, `github.allow[0]: "acme/web-*" names no repositories`},
		"recover_every":                      {"recover_every: 1m", "recover_every: 10ms", `github.recover_every: must be between 1s and 24h, or 0 to turn it off; write for example 1m`},
		"concurrency":                        {"concurrency: 4", "concurrency: 0", `builder.concurrency: must be between 1 and 100`},
		"builder":                            {"tcp://builder-2:1234", "ssh://b", `builder.buildkit[1]: "ssh://b" is not supported; write unix:///path/of/buildkitd.sock, tcp://host:port or kube-pod://NAME?namespace=NAMESPACE`},
		"builder, no addr":                   {`{addr: "tcp://builder-2:1234"}`, `{forks: false}`, `builder.buildkit[1]: has no addr; write`},
		"builder, no key":                    {`{addr: "tcp://builder-2:1234"}`, `{addr: "tcp://builder-2:1234", cert: env:NPM_TOKEN}`, `builder.buildkit[1].key: is missing beside cert; write`},
		"builder, no cert":                   {`{addr: "tcp://builder-2:1234"}`, `{addr: "tcp://builder-2:1234", key: env:NPM_TOKEN}`, `builder.buildkit[1].cert: is missing beside key; write`},
		"builder, CA that is none":           {`{addr: "tcp://builder-2:1234"}`, `{addr: "tcp://builder-2:1234", ca: env:NPM_TOKEN}`, `builder.buildkit[1]: builder tcp://builder-2:1234: ca holds no certificate in PEM; write`},
		"builder, unix with TLS":             {`{addr: "tcp://builder-2:1234"}`, `{addr: "unix:///b.sock", ca: env:NPM_TOKEN}`, `builder.buildkit[1]: has ca, cert or key, which are a matter of tcp://; remove`},
		"builder, pod of no cluster":         {`{addr: "tcp://builder-2:1234"}`, `{addr: "kube-pod://b"}`, `builder.buildkit[1].cluster: is missing beside a pod; write`},
		"builder, pod of an unknown cluster": {`{addr: "tcp://builder-2:1234"}`, `{addr: "kube-pod://b", cluster: tst}`, `builder.buildkit[1].cluster: there is no cluster tst in the server's file; did you mean test?`},
		"builder, pod of a context":          {`{addr: "tcp://builder-2:1234"}`, `{addr: "kube-pod://b?context=c", cluster: test}`, `builder.buildkit[1]: "kube-pod://b?context=c" is no pod; write`},
		"builder, cluster of tcp":            {`{addr: "tcp://builder-2:1234"}`, `{addr: "tcp://builder-2:1234", cluster: test}`, `builder.buildkit[1].cluster: is a matter of kube-pod://; remove`},
		"builder, twice":                     {`{addr: "tcp://builder-2:1234"}`, `unix:///run/buildkit/buildkitd.sock`, `builder.buildkit[1]: is builder.buildkit[0] already; write`},
		"builder, only of forks":             {"    - unix:///run/buildkit/buildkitd.sock\n    - {addr: \"tcp://builder-2:1234\"}", "    - {addr: \"tcp://builder-2:1234\", forks: true}", `builder.buildkit: has only builders for forks, which build nothing else; add`},
		"registry":                           {"  registry.example.com:", "  https://registry.example.com:", `"https://registry.example.com" is no registry; write its host`},
		"registry, with path":                {"  registry.example.com:", "  registry.example.com/team:", `"registry.example.com/team" is no registry; write its host`},
		"registry, no user":                  {"    username: env:REGISTRY_USER\n", "", `registries.registry.example.com.username: is missing beside password`},
		"registry, pull":                     {"host: registry-vpc.example.com", "host: registry-vpc.example.com/team", `registries.registry.example.com.pull.host: "registry-vpc.example.com/team" is no registry's host`},
		"registry, path":                     {`paths: ["team/web"]`, `paths: ["team/../web"]`, `registries.registry.example.com.allow[0].paths[0]: "team/../web" is no path of images`},
		"registry, all paths":                {`paths: ["team/web"]`, `paths: [""]`, `registries.registry.example.com.allow[0].paths[0]: "" is no path of images`},
		"cluster, name":                      {"  prod:\n", "  a/b:\n", `clusters.a/b: "a/b" is not a valid name`},
		"cluster, how":                       {"    kubeconfig: ./kubeconfig\n", "", `clusters.test: says not how it is reached; write kubeconfig, or server and token`},
		"cluster, both":                      {"context: test", "server: https://x", `clusters.test.server: stands beside kubeconfig; write one of them`},
		"cluster, kubeconfig":                {"./kubeconfig", "./none", `none: no such file or directory; write the path of a kubeconfig file`},
		"cluster, http":                      {"https://10.0.0.1:6443", "http://10.0.0.1:6443", `clusters.prod.server: is no https address`},
		"cluster, no token":                  {"    token: file:./prod.token\n", "", `clusters.prod.token: is missing beside server`},
		"cluster, also":                      {"namespaces: [prod]", `namespaces: [prod], also: [Prod]`, `clusters.prod.allow[0].also[0]: "Prod" is no namespace; write each one's name`},
		"cluster, kinds":                     {"namespaces: [prod]", `namespaces: [prod], kinds: [clusterroles]`, `clusters.prod.allow[0].kinds[0]: "clusterroles" is no kind; write each one's name as manifests do, such as CustomResourceDefinition`},
		"cluster, namespaces":                {"namespaces: [prod]", `namespaces: ["*"]`, `clusters.prod.allow[0].namespaces[0]: "*" is no namespace; write each one's name`},
		"cluster, require":                   {"approvals: 1", "approvals: -1", `clusters.prod.require.approvals: must not be less than 0`},
		"wecom, no key":                      {"robot_keys: [env:WECOM_KEY]", "robot_keys: []", `chat.wecom.ops.robot_keys: is missing`},
		"slack, no token":                    {"      bot_token: env:SLACK_TOKEN\n", "", `chat.slack.team.bot_token: is missing`},
		"slack, socket twice":                {"  slack:\n", "  slack:\n    a: {bot_token: env:SLACK_TOKEN, app_token: env:NPM_TOKEN}\n    b: {bot_token: env:SLACK_TOKEN, app_token: env:NPM_TOKEN}\n", `chat.slack.b.app_token: is that of chat.slack.a.app_token; what people say there is told to one of them alone`},
		"webhook, address":                   {"  slack:\n", "  webhook: {audit: {url: 'ftp://x', secret: 'env:NPM_TOKEN'}}\n  slack:\n", `chat.webhook.audit.url: is no web address`},
		"webhook, password":                  {"  slack:\n", "  webhook: {audit: {url: 'https://a:b@x/', secret: 'env:NPM_TOKEN'}}\n  slack:\n", `chat.webhook.audit.url: is no web address; write http:// or https:// and a host, without credentials`},
		"webhook, no secret":                 {"  slack:\n", "  webhook: {audit: {url: 'https://x/'}}\n  slack:\n", `chat.webhook.audit.secret: is missing`},
		"chat, address":                      {"https://slack.com/api/", "slack.com", `chat.slack.team.base_url: is no web address`},
		"person, chat":                       {"wecom: {ops: alice.w}", "wecom: {opps: alice.w}", `people[0].wecom.opps: there is no wecom chat opps in the server's file; did you mean ops?`},
		"person, no login":                   {"{github: alice, ", "{", `people[0].github: is missing`},
		"person, twice":                      {"\nsecrets:", "  - {github: Alice}\nsecrets:", `people[1].github: Alice is people[0] already`},
		"secret, no value":                   {"value: env:NPM_TOKEN, ", "", `secrets.npm_token.value: is missing; write env:NAME or file:PATH`},
		"secret, refs":                       {"refs: [default,", `refs: ["*",`, `secrets.npm_token.refs[0]: "*" is no branch's name`},
		"secret, empty":                      {"secrets: # of builds", "secrets:\n  other:", `secrets.other: has no value; write one or remove the key`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(example(t), test.old, test.new, 1)
			if text == example(t) {
				t.Fatal("the case changes nothing")
			}
			_, err := LoadConfig(writeConfig(t, text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got\n%v\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is shown: %v", err)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.Contains(line, "shipmate.yaml:") || !strings.Contains(line, ";") && !strings.Contains(line, "did you mean") {
					t.Errorf("no place or no remedy: %s", line)
				}
			}
		})
	}
}

func TestEmptyChats(t *testing.T) {
	loadConfig(t, smallest+"chat: {wecom: {}}\n") // what is empty asks for nothing
}

func TestLoadConfigUnreadable(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadConfig(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := LoadConfig(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadConfig("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("an endless file: %v", err)
	}
	_, err := LoadConfig(writeConfig(t, "{"))
	var mistakes strictyaml.Errors
	if !errors.As(err, &mistakes) || len(mistakes) != 1 {
		t.Errorf("what cannot be parsed is one mistake: %v", err)
	}
}

// However a Secret is shown, and whatever holds it, its value and its place stay hidden.
func TestSecretIsNeverShown(t *testing.T) {
	c := loadConfig(t, example(t))
	secret := c.GitHub.WebhookSecrets[0]
	hidden := struct {
		s  Secret
		p  *Secret
		l  []Secret
		it any
	}{secret, &secret, []Secret{secret}, secret}
	var logged bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(handler).Info("x", "secret", secret, "config", c, "hidden", hidden, "group", slog.GroupValue(slog.Any("s", secret)))
	}
	asJSON, err := json.Marshal(map[string]any{"secret": secret, "config": c})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"secret": secret, "github": c.GitHub})
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{logged.String(), string(asJSON), string(asYAML), secret.String(), fmt.Errorf("%w: %v", errors.New("x"), secret).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, hidden), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.GitHub))
	}
	for _, text := range shown {
		for _, value := range secretValues {
			if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
				t.Errorf("%q shows %q", text, value)
			}
		}
	}
	if got := fmt.Sprintf("%v %s %+v", secret, secret, secret); got != "••• ••• •••" {
		t.Errorf("got %q", got)
	}
}

// refused wants err to be a refusal that says what to add.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	var no *NotAllowed
	if !errors.As(err, &no) {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	if err.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
}

func TestMayUseServer(t *testing.T) {
	c := loadConfig(t, example(t))
	for _, repo := range []string{"acme/web", "ACME/Web", "acme/.github"} {
		if err := c.MayUseServer(repo); err != nil {
			t.Error(err)
		}
	}
	for _, repo := range []string{"", "acme", "acme/", "/web", "acme/web/x", "acme2/web", "xacme/web", "acme/..", "acme/.", "acme/*", "*/*", "acme/we b", "acme/web\n", "other/acme/web", "\u0061cme\u0301/web", "acm\u212f/web"} {
		if err := c.MayUseServer(repo); err == nil {
			t.Errorf("%q must be refused", repo)
		}
	}
	refused(t, c.MayUseServer("other/web"), `other/web may not use this server; to allow it, add - "other/web" at shipmate.yaml:17 (github.allow)`)
	refused(t, loadConfig(t, smallest).MayUseServer("acme/web"), `acme/web may not use this server; to allow it, add allow: ["acme/web"] at shipmate.yaml:2 (github.allow)`)
}

func TestMayUseCluster(t *testing.T) {
	c := loadConfig(t, example(t))
	for _, use := range [][3]string{{"test", "acme/web", "staging"}, {"test", "Acme/Other", "staging"}, {"prod", "acme/WEB", "prod"}} {
		if err := c.MayUseCluster(use[0], use[1], use[2]); err != nil {
			t.Error(err)
		}
	}
	for _, use := range [][3]string{
		{"prod", "acme/other", "prod"}, {"prod", "acme/web", "staging"}, {"prod", "acme/web", "Prod"}, {"prod", "acme/web", ""}, {"prod", "acme/web", "kube-system"},
		{"test", "other/web", "staging"}, {"", "acme/web", "prod"}, {"Prod", "acme/web", "prod"}, {"prod", "", "prod"}, {"prod", "acme/web2", "prod"}, {"prod", "acme/web", "prod,staging"},
	} {
		if err := c.MayUseCluster(use[0], use[1], use[2]); err == nil {
			t.Errorf("%q must be refused", use)
		}
	}
	refused(t, c.MayUseCluster("prod", "acme/api", "prod"),
		`acme/api may not deploy to the namespace prod of cluster prod; to allow it, add - {repositories: ["acme/api"], namespaces: [prod]} at shipmate.yaml:49 (clusters.prod.allow)`)
	refused(t, c.MayUseCluster("prd", "acme/web", "prod"), `there is no cluster prd in the server's file; did you mean prod?`)
	refused(t, c.MayUseCluster("elsewhere", "acme/web", "prod"), `there is no cluster elsewhere in the server's file; to allow it, add elsewhere: … at shipmate.yaml:39 (clusters)`)
}

func TestMayUseKind(t *testing.T) {
	c := loadConfig(t, strings.Replace(example(t), `{repositories: ["acme/web"], namespaces: [prod]}`, `{repositories: ["acme/web"], namespaces: [prod], kinds: [ClusterRole]}`, 1))
	if err := c.MayUseKind("prod", "Acme/web", "prod", "ClusterRole"); err != nil {
		t.Error(err)
	}
	refused(t, c.MayUseKind("prod", "acme/web", "prod", "Namespace"),
		`acme/web may not apply objects of the kind Namespace in cluster prod; to allow it, add - Namespace at shipmate.yaml:50 (clusters.prod.allow[0].kinds)`)
	refused(t, c.MayUseKind("test", "acme/web", "staging", "ClusterRole"),
		`acme/web may not apply objects of the kind ClusterRole in cluster test; to allow it, add kinds: [ClusterRole] at shipmate.yaml:44 (clusters.test.allow[0].kinds)`)
	refused(t, c.MayAlsoUse("test", "acme/web", "staging", "prod"),
		`acme/web may not apply objects in the namespace prod with those of staging in cluster test; to allow it, add also: [prod] at shipmate.yaml:44 (clusters.test.allow[0].also)`)
	c.Clusters["test"].Allow[0].Also = []string{"monitoring"}
	if err := c.MayAlsoUse("test", "acme/web", "staging", "monitoring"); err != nil {
		t.Error(err)
	}
	if err := c.MayUseCluster("test", "acme/web", "monitoring"); err == nil {
		t.Error("an environment must not deploy there by that")
	}
	for _, use := range [][4]string{{"prod", "acme/web", "staging", "ClusterRole"}, {"prod", "acme/api", "prod", "ClusterRole"}, {"prod", "acme/web", "prod", "clusterrole"}, {"prod", "acme/web", "prod", ""}, {"none", "acme/web", "prod", "ClusterRole"}} {
		if err := c.MayUseKind(use[0], use[1], use[2], use[3]); err == nil {
			t.Errorf("%q must be refused", use)
		}
	}
}

func TestMayUseRegistry(t *testing.T) {
	c := loadConfig(t, example(t))
	for _, image := range []string{"registry.example.com/team/web", "registry.example.com/team/web/worker"} {
		if err := c.MayUseRegistry(image, "Acme/web"); err != nil {
			t.Error(err)
		}
	}
	for _, image := range []string{
		"registry.example.com/team/webx", "registry.example.com/team", "registry.example.com/team/we", "registry.example.com/other/team/web", "registry.example.com/team/web-x",
		"registry.example.com/team/web/../other", "registry.example.com/team/web/..", "registry.example.com/team//web", "registry.example.com/team/web/", "registry.example.com/team/web:x",
		"registry.example.com/Team/web", "registry.example.com:443/team/web", "registry.example.com.evil.org/team/web", "team/web", "", "registry.example.com", "registry.example.com/",
		"registry.example.com/team/web%2f..%2fother", "registry-vpc.example.com/team/web",
	} {
		if err := c.MayUseRegistry(image, "acme/web"); err == nil {
			t.Errorf("%q must be refused", image)
		}
	}
	refused(t, c.MayUseRegistry("registry.example.com/team/web", "acme/api"),
		`acme/api may not use registry.example.com/team/web; to allow it, add - {repositories: ["acme/api"], paths: ["team/web"]} at shipmate.yaml:36 (registries.registry.example.com.allow)`)
	refused(t, c.MayUseRegistry("registry.exmple.com/team/web", "acme/web"), `there is no registry registry.exmple.com in the server's file; did you mean registry.example.com?`)
}

func TestMayUseChat(t *testing.T) {
	c := loadConfig(t, example(t))
	for _, use := range [][3]string{{"wecom", "ops", "acme/any"}, {"slack", "team", "acme/web"}} {
		if err := c.MayUseChat(use[0], use[1], use[2]); err != nil {
			t.Error(err)
		}
	}
	for _, use := range [][3]string{{"slack", "team", "acme/api"}, {"slack", "ops", "acme/web"}, {"wecom", "team", "acme/web"}, {"wecom", "ops", "other/web"}, {"", "ops", "acme/web"}, {"email", "ops", "acme/web"}, {"wecom", "", "acme/web"}} {
		if err := c.MayUseChat(use[0], use[1], use[2]); err == nil {
			t.Errorf("%q must be refused", use)
		}
	}
	refused(t, c.MayUseChat("slack", "team", "acme/api"), `acme/api may not send to the slack chat team; to allow it, add - "acme/api" at shipmate.yaml:64 (chat.slack.team.allow)`)
}

// TestFlowsReachOutside lets flows of some repositories into private networks, and nobody's to where clouds keep secrets.
func TestFlowsReachOutside(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer far.Close()
	get := outside(&Config{PrivateAddresses: []string{"acme/web"}})
	for repo, want := range map[string]string{"acme/web": "", "acme/Web": "", "acme/api": "add the repository to private_addresses"} {
		answer, err := get(repo).Get(far.URL)
		if err == nil {
			err = answer.Body.Close()
		}
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", repo, err)
		}
	}
	if _, err := get("acme/web").Get("http://169.254.169.254/"); err == nil || !strings.Contains(err.Error(), "never reached") {
		t.Error(err)
	}
}

func TestMayUseSecret(t *testing.T) {
	c := loadConfig(t, example(t)+"  bare: {value: env:NPM_TOKEN}\n  anywhere: {value: env:NPM_TOKEN, repositories: [acme/web]}\n")
	for _, ref := range []string{"refs/heads/master", "refs/heads/release/1"} {
		if err := c.MayUseSecret("npm_token", "acme/Web", ref, "master"); err != nil {
			t.Error(err)
		}
	}
	for _, use := range [][3]string{
		{"npm_token", "acme/web", "refs/heads/feature"}, {"npm_token", "acme/web", "refs/tags/master"}, {"npm_token", "acme/web", "refs/heads/default"}, {"npm_token", "acme/web", ""},
		{"npm_token", "acme/web", "refs/heads/refs/heads/master"}, {"npm_token", "acme/web", "refs/heads/x/release/1"}, {"npm_token", "acme/web", "master"},
		{"npm_token", "acme/api", "refs/heads/master"}, {"npm_token", "fork/web", "refs/heads/master"}, {"bare", "acme/web", "refs/heads/master"}, {"anywhere", "acme/web", "refs/heads/master"},
		{"NPM_TOKEN", "acme/web", "refs/heads/master"}, {"", "acme/web", "refs/heads/master"},
	} {
		if err := c.MayUseSecret(use[0], use[1], use[2], "master"); err == nil {
			t.Errorf("%q must be refused", use)
		}
	}
	tags := loadConfig(t, example(t)+"  signing: {value: env:NPM_TOKEN, repositories: [acme/web], refs: [default, '/^refs/tags/v/']}\n")
	if err := tags.MayUseSecret("signing", "acme/web", "refs/tags/v1", "master"); err != nil {
		t.Error(err)
	}
	refused(t, tags.MayUseSecret("signing", "acme/web", "refs/tags/master", "master"),
		`builds of refs/tags/master may not use the secret signing; to allow it, add - "refs/tags/master" at shipmate.yaml:71 (secrets.signing.refs)`)
	refused(t, c.MayUseSecret("npm_token", "acme/web", "refs/heads/feature", "master"),
		`builds of refs/heads/feature may not use the secret npm_token; to allow it, add - "feature" at shipmate.yaml:70 (secrets.npm_token.refs)`)
	refused(t, c.MayUseSecret("bare", "acme/web", "refs/heads/master", "master"),
		`acme/web may not use the secret bare; to allow it, add repositories: ["acme/web"] at shipmate.yaml:71 (secrets.bare.repositories)`)
}

func TestFloor(t *testing.T) {
	c := loadConfig(t, example(t))
	tests := []struct {
		cluster   string
		asks      pipeline.Approvals
		wantCount int
		wantSelf  bool
	}{
		{"prod", pipeline.Approvals{}, 1, false},
		{"prod", pipeline.Approvals{Count: 1, Self: true}, 1, false},
		{"prod", pipeline.Approvals{Count: 3}, 3, false},
		{"prod", pipeline.Approvals{Count: -5, Self: true}, 1, false},
		{"test", pipeline.Approvals{}, 0, false},
		{"test", pipeline.Approvals{Count: 1, Self: true}, 1, true},
	}
	for _, test := range tests {
		got := c.Floor(test.cluster, test.asks)
		if got.Count != test.wantCount || got.Self != test.wantSelf {
			t.Errorf("%+v on %s becomes %+v", test.asks, test.cluster, got)
		}
	}
	self := loadConfig(t, strings.Replace(example(t), "{approvals: 1, self: false}", "{approvals: 2, self: true}", 1))
	if got := self.Floor("prod", pipeline.Approvals{Self: true}); got.Count != 2 || !got.Self {
		t.Errorf("got %+v", got)
	}
	silent := loadConfig(t, strings.Replace(example(t), "{approvals: 1, self: false}", "{approvals: 1}", 1))
	if got := silent.Floor("prod", pipeline.Approvals{Self: true}); got.Self {
		t.Error("a floor that says nothing of self must not let people approve their own")
	}
}

func TestCheck(t *testing.T) {
	server := writeConfig(t, example(t))
	lines := func(errs []error) string {
		var b strings.Builder
		for _, err := range errs {
			fmt.Fprintln(&b, strings.ReplaceAll(err.Error(), filepath.Dir(server)+"/", ""))
		}
		return b.String()
	}
	repoFile := func(text string) string {
		name := filepath.Join(filepath.Dir(server), ".shipmate.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}

	good := repoFile(`build: {image: registry.example.com/team/web, secrets: [npm_token]}
environments:
  - {name: staging, cluster: test, namespace: staging, manifests: deploy}
  - {name: production, cluster: prod, namespace: prod, manifests: deploy}
notify: [{wecom: ops}, {slack: team, channel: C1}]
`)
	if errs := Check(server, "acme/web", []string{good}); len(errs) > 0 {
		t.Errorf("got\n%s", lines(errs))
	}
	if errs := Check("", "", []string{good}); len(errs) > 0 {
		t.Errorf("got\n%s", lines(errs))
	}
	copies := repoFile("build: {image: registry.example.com/team/web}\nenvironments: [{name: staging, cluster: test, namespace: staging, manifests: deploy, pull_secret: tcr, registry: registry.example.com/secret/web}, {name: other, cluster: test, namespace: staging, manifests: deploy, registry: other.example.com/team/web}]\n")
	told := lines(Check(server, "acme/web", []string{copies}))
	for _, want := range []string{".shipmate.yaml:2: environments[0].registry: acme/web may not use registry.example.com/secret/web; to allow it, add - {repositories: [\"acme/web\"], paths: [\"secret/web\"]}",
		"environments[1].registry: there is no registry other.example.com in the server's file"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in\n%s", want, told)
		}
	}
	pulls := repoFile("build: {image: registry.example.com/team/web}\nenvironments: [{name: staging, cluster: test, namespace: staging, manifests: deploy, pull_secret: tcr}]\n")
	if errs := Check(server, "", []string{pulls}); len(errs) > 0 {
		t.Errorf("got\n%s", lines(errs))
	}
	text := got(os.ReadFile(server))(t)
	without := strings.NewReplacer("      username: env:REGISTRY_PULL_USER\n", "", "      password: env:REGISTRY_PULL_PASSWORD\n", "").Replace(string(text))
	must(t, os.WriteFile(server, []byte(without), 0o600))
	if got, want := lines(Check(server, "", []string{pulls})), ".shipmate.yaml:2: environments[0].pull_secret: pull_secret needs credentials that only pull from registry.example.com, and the server's file has none; to allow it, add username: env:…, password: env:… at shipmate.yaml:32 (registries.registry.example.com.pull)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	must(t, os.WriteFile(server, text, 0o600))

	bad := `build: {image: registry.example.com/team/other, secrets: [npm_tokn]}
environments:
  - {name: staging, cluster: test, namespace: kube-system, manifests: deploy, flow: [deploy, webhook: {url: "https://a.example.com/", secret: npm_tokn}]}
  - {name: production, cluster: prd, namespace: prod, manifests: /deploy}
notify: [{wecom: opps}, {slack: team, channel: C1}]
`
	got := lines(Check(server, "acme/api", []string{repoFile(bad), filepath.Join(filepath.Dir(server), "none.yaml")}))
	want := `.shipmate.yaml:1: build.image: acme/api may not use registry.example.com/team/other; to allow it, add - {repositories: ["acme/api"], paths: ["team/other"]} at shipmate.yaml:36 (registries.registry.example.com.allow)
.shipmate.yaml:1: build.secrets[0]: there is no secret npm_tokn in the server's file; did you mean npm_token?
.shipmate.yaml:3: environments[0].cluster: acme/api may not deploy to the namespace kube-system of cluster test; to allow it, add - {repositories: ["acme/api"], namespaces: [kube-system]} at shipmate.yaml:43 (clusters.test.allow)
.shipmate.yaml:3: environments[0].flow[1].webhook.secret: there is no secret npm_tokn in the server's file; did you mean npm_token?
.shipmate.yaml:4: environments[1].manifests: "/deploy" must be relative to the repository's root, with / between its parts
.shipmate.yaml:4: environments[1].cluster: there is no cluster prd in the server's file; did you mean prod?
.shipmate.yaml:5: notify[0].wecom: there is no wecom chat opps in the server's file; did you mean ops?
.shipmate.yaml:5: notify[1].slack: acme/api may not send to the slack chat team; to allow it, add - "acme/api" at shipmate.yaml:64 (chat.slack.team.allow)
open none.yaml: no such file or directory
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	got = lines(Check(server, "", []string{repoFile(bad)}))
	want = `.shipmate.yaml:1: build.secrets[0]: there is no secret npm_tokn in the server's file; did you mean npm_token?
.shipmate.yaml:3: environments[0].flow[1].webhook.secret: there is no secret npm_tokn in the server's file; did you mean npm_token?
.shipmate.yaml:4: environments[1].manifests: "/deploy" must be relative to the repository's root, with / between its parts
.shipmate.yaml:4: environments[1].cluster: there is no cluster prd in the server's file; did you mean prod?
.shipmate.yaml:5: notify[0].wecom: there is no wecom chat opps in the server's file; did you mean ops?
`
	if got != want {
		t.Errorf("without a repository: got\n%s\nwant\n%s", got, want)
	}

	if err := os.WriteFile(server, []byte(strings.Replace(example(t), "app_id: 12345", "app: 1", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	got = lines(Check(server, "acme/web", []string{repoFile(bad)}))
	want = `shipmate.yaml:10: github.app_id: is missing; write the App ID from the GitHub App's settings page, or start bot serve without any of the App's keys to register one
shipmate.yaml:12: github.app: unknown key; known keys: api_url, app_id, private_key, webhook_secrets, client_id, client_secret, allow, bare_commands, recover_every
.shipmate.yaml:4: environments[1].manifests: "/deploy" must be relative to the repository's root, with / between its parts
`
	if got != want {
		t.Errorf("a server's file with mistakes: got\n%s\nwant\n%s", got, want)
	}
}

// FuzzLoadConfig: every mistake in a server's file names its place, and the same file has the same mistakes.
func FuzzLoadConfig(f *testing.F) {
	text, err := os.ReadFile("testdata/shipmate.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("github: {webhook_secrets: [s3cret-literal], allow: [\"*\", a/b, \"[\"]}\nregistries: {\"a b\": {pull: null}}"))
	f.Add([]byte("listen: 1\npublic_url: \"http://u:p@x\"\nclusters: {x: {server: \"::\", require: {approvals: -1}}}\npeople: [{github: -}]\nchat: {slack: {a: null}}"))
	f.Add([]byte("&a {github: *a}"))
	file := filepath.Join(f.TempDir(), "shipmate.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		data = bytes.ReplaceAll(data, []byte("file:"), []byte("env:")) // it would read any file
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadConfig(file)
		if (c == nil) == (err == nil) {
			t.Fatalf("%+v, %v", c, err)
		}
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, file+":") {
				t.Errorf("a mistake without its place: %q", line)
			}
		}
		if _, again := LoadConfig(file); again == nil || again.Error() != err.Error() {
			t.Errorf("%v, and again: %v", err, again)
		}
		const secret = "s3cret-literal" // where a reference should stand; a key may be repeated
		if strings.Contains(string(data), "webhook_secrets: ["+secret+"]") && strings.Count(string(data), secret) == 1 && strings.Contains(err.Error(), secret) {
			t.Errorf("it repeats a secret: %v", err)
		}
	})
}
