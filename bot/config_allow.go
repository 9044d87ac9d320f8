package bot

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline"
)

// NotAllowed is a refusal by the server's file. Its text is for the person who was refused and names the line that the
// server's operator would add; it holds no secret.
type NotAllowed struct {
	What string // as in "acme/web may not use this server"
	Add  string // what to add where; empty when something else is the remedy

	exists bool // what was refused is in the file, only not for this repository
}

func (e *NotAllowed) Error() string {
	if e.Add == "" {
		return e.What
	}
	return e.What + "; to allow it, add " + e.Add
}

// MayUseServer says whether the repository (owner/name) may use this server at all: github.allow.
func (c *Config) MayUseServer(repo string) error {
	if matchesAny(c.GitHub.Allow, repo) {
		return nil
	}
	return c.refuse(repo+" may not use this server", "github.allow", quoted(repo))
}

// MayUseCluster says whether the repository may deploy to that namespace of the cluster: clusters.NAME.allow.
func (c *Config) MayUseCluster(cluster, repo, namespace string) error {
	at := "clusters." + cluster
	if c.Clusters[cluster] == nil {
		return c.missing("cluster", cluster, "clusters", slices.Sorted(maps.Keys(c.Clusters)))
	}
	for _, allow := range c.Clusters[cluster].Allow {
		if matchesAny(allow.Repositories, repo) && slices.Contains(allow.Namespaces, namespace) {
			return nil
		}
	}
	return c.refuse(fmt.Sprintf("%s may not deploy to the namespace %s of cluster %s", repo, namespace, cluster), at+".allow",
		fmt.Sprintf("{repositories: [%s], namespaces: [%s]}", quoted(repo), namespace))
}

// MayUseKind says whether the repository may, with what it deploys to that namespace of the cluster, apply objects of a
// cluster-scoped kind: kinds in clusters.NAME.allow.
func (c *Config) MayUseKind(cluster, repo, namespace, kind string) error {
	return c.mayApply(cluster, repo, namespace, "kinds", func(a ClusterAllow) []string { return a.Kinds }, "of the kind "+kind, kind)
}

// MayAlsoUse says the same of objects that name another namespace: also in clusters.NAME.allow. What the repository may deploy to by
// other environments does not count: those have rules of their own.
func (c *Config) MayAlsoUse(cluster, repo, namespace, other string) error {
	return c.mayApply(cluster, repo, namespace, "also", func(a ClusterAllow) []string { return a.Also }, "in the namespace "+other+" with those of "+namespace, other)
}

func (c *Config) mayApply(cluster, repo, namespace, key string, list func(ClusterAllow) []string, what, value string) error {
	if err := c.MayUseCluster(cluster, repo, namespace); err != nil {
		return err
	}
	path := ""
	for i, allow := range c.Clusters[cluster].Allow {
		if !matchesAny(allow.Repositories, repo) || !slices.Contains(allow.Namespaces, namespace) {
			continue
		}
		if slices.Contains(list(allow), value) {
			return nil
		}
		path = fmt.Sprintf("clusters.%s.allow[%d].%s", cluster, i, key)
	}
	return c.refuse(fmt.Sprintf("%s may not apply objects %s in cluster %s", repo, what, cluster), path, value)
}

// MayUseRegistry says whether the repository may push to that image repository (host/path), and make releases of what
// others push there: registries.HOST.allow. A path that is allowed stands for itself and for all below it.
func (c *Config) MayUseRegistry(imageRepository, repo string) error {
	host, path, err := pipeline.ParseRepository(imageRepository)
	if err != nil {
		return fmt.Errorf("image %w", err)
	}
	if c.Registries[host] == nil {
		return c.missing("registry", host, "registries", slices.Sorted(maps.Keys(c.Registries)))
	}
	for _, allow := range c.Registries[host].Allow {
		if matchesAny(allow.Repositories, repo) && slices.ContainsFunc(allow.Paths, func(p string) bool {
			return path == p || p != "" && strings.HasPrefix(path, p+"/")
		}) {
			return nil
		}
	}
	return c.refuse(fmt.Sprintf("%s may not use %s", repo, imageRepository), "registries."+host+".allow",
		fmt.Sprintf("{repositories: [%s], paths: [%s]}", quoted(repo), quoted(path)))
}

// MayUseChat says whether the repository may send notices to that chat; kind is wecom, slack or webhook: chat.KIND.NAME.allow.
func (c *Config) MayUseChat(kind, name, repo string) error {
	allow, err := c.chatAllow(kind, name)
	if err != nil || matchesAny(allow, repo) {
		return err
	}
	return c.refuse(fmt.Sprintf("%s may not send to the %s chat %s", repo, kind, name), "chat."+kind+"."+name+".allow", quoted(repo))
}

func (c *Config) chatAllow(kind, name string) ([]string, error) {
	switch {
	case kind == "wecom" && c.Chat.WeCom[name] != nil:
		return c.Chat.WeCom[name].Allow, nil
	case kind == "slack" && c.Chat.Slack[name] != nil:
		return c.Chat.Slack[name].Allow, nil
	case kind == kindWebhook && c.Chat.Webhook[name] != nil:
		return c.Chat.Webhook[name].Allow, nil
	}
	known := slices.Sorted(maps.Keys(c.Chat.WeCom))
	switch kind {
	case "slack":
		known = slices.Sorted(maps.Keys(c.Chat.Slack))
	case kindWebhook:
		known = slices.Sorted(maps.Keys(c.Chat.Webhook))
	}
	return nil, c.missing(kind+" chat", name, "chat."+kind, known)
}

// MayUseSecret says whether builds of ref (in full, as in refs/heads/master) in the repository may use that secret:
// secrets.NAME.repositories and refs.
func (c *Config) MayUseSecret(name, repo, ref, defaultBranch string) error {
	if err := c.mayUseSecretSomewhere(name, repo); err != nil {
		return err
	}
	if slices.ContainsFunc(c.BuildSecrets[name].Refs, func(p pipeline.RefPattern) bool { return p.Match(ref, defaultBranch) }) {
		return nil
	}
	branch := strings.TrimPrefix(ref, "refs/heads/")
	if branch == defaultBranch {
		branch = "default"
	}
	return c.refuse(fmt.Sprintf("builds of %s may not use the secret %s", ref, name), "secrets."+name+".refs", quoted(branch))
}

func (c *Config) mayUseSecretSomewhere(name, repo string) error {
	if c.BuildSecrets[name] == nil {
		return c.missing("secret", name, "secrets", slices.Sorted(maps.Keys(c.BuildSecrets)))
	}
	if matchesAny(c.BuildSecrets[name].Repositories, repo) {
		return nil
	}
	return c.refuse(fmt.Sprintf("%s may not use the secret %s", repo, name), "secrets."+name+".repositories", quoted(repo))
}

// Secret returns the value of a build secret. Ask MayUseSecret first.
func (c *Config) Secret(name string) (string, error) {
	if c.BuildSecrets[name] == nil {
		return "", c.missing("secret", name, "secrets", slices.Sorted(maps.Keys(c.BuildSecrets)))
	}
	return c.BuildSecrets[name].Value.Value(), nil
}

// Secrets lists every secret value of the file, and the tokens of clusters that were read again since, so that none of them is ever shown.
func (c *Config) Secrets() []string {
	var values []string
	c.eachSecret(func(_ string, s *Secret) {
		if v := s.Value(); v != "" {
			values = append(values, v)
		}
	})
	for _, k := range c.Clusters {
		if k != nil && k.tokens != nil {
			values = append(values, k.tokens.read()...)
		}
	}
	return values
}

// Floor raises what an environment asks for to what the cluster insists on (clusters.NAME.require).
func (c *Config) Floor(cluster string, a pipeline.Approvals) pipeline.Approvals {
	if c.Clusters[cluster] == nil || c.Clusters[cluster].Require == nil {
		return a
	}
	require := c.Clusters[cluster].Require
	a.Count = max(a.Count, require.Approvals)
	a.Self = a.Self && require.Self
	return a
}

// PullHost is the host by which clusters pull what is in the registry at host, often the same.
func (c *Config) PullHost(host string) string {
	if r := c.Registries[host]; r != nil && r.Pull.Host != "" {
		return r.Pull.Host
	}
	return host
}

// PullCredentials are the credentials for pulling from the registry at host. Those that may push are never handed to a
// cluster: without others it is an error.
func (c *Config) PullCredentials(host string) (username, password string, err error) {
	r := c.Registries[host]
	if r == nil {
		return "", "", c.missing("registry", host, "registries", slices.Sorted(maps.Keys(c.Registries)))
	}
	if !r.Pull.Username.IsSet() {
		at, add := "registries."+host+".pull", "username: env:…, password: env:…"
		if !c.doc.Has(at) {
			add = "pull: {" + add + "}"
		}
		return "", "", &NotAllowed{What: "pull_secret needs credentials that only pull from " + host + ", and the server's file has none",
			Add: fmt.Sprintf("%s at %s (%s)", add, c.place(at), at)}
	}
	return r.Pull.Username.Value(), r.Pull.Password.Value(), nil
}

// credentials are those that a build's builder is given when a registry asks for them. A fork's build gets none, not even
// those that only pull: with them its Dockerfile could take what other repositories keep in the registry, and send it away.
func (c *Config) credentials(fork bool) func(host string) (username, password string) {
	if fork {
		return func(string) (string, string) { return "", "" }
	}
	return func(host string) (string, string) {
		if r := c.Registries[host]; r != nil {
			return r.Username.Value(), r.Password.Value()
		}
		return "", ""
	}
}

// ChatUser is who a GitHub login is in that chat (kind is wecom or slack) by the server's file, or "".
func (c *Config) ChatUser(kind, name, login string) string {
	for _, p := range c.People {
		if !strings.EqualFold(p.GitHub, login) {
			continue
		}
		return c.idIn(p, kind, name)
	}
	return ""
}

// idIn is who a person is in a chat by the server's file: what is written for one chat counts in all of its scope.
func (c *Config) idIn(p Person, kind, name string) string {
	ids := p.WeCom
	if kind == "slack" {
		ids = p.Slack
	}
	if id := ids[name]; id != "" {
		return id
	}
	for _, other := range slices.Sorted(maps.Keys(ids)) {
		if c.scopeOf(kind, other) == c.scopeOf(kind, name) {
			return ids[other]
		}
	}
	return ""
}

// scopeOf names where the ids of a chat's users count: in all chats of one WeCom corp, or in that chat alone.
func (c *Config) scopeOf(kind, name string) string {
	if corp := c.corpOf(name); kind == "wecom" && corp != "" {
		return "wecom corp " + corp
	}
	return kind + "/" + name
}

// corpOf is the corp that a WeCom chat of the server's file belongs to, or "" where that names none.
func (c *Config) corpOf(name string) string {
	if w := c.Chat.WeCom[name]; w != nil {
		return w.CorpID
	}
	return ""
}

// tellsPeople tells whether something can be said to one person in that chat, by their id as the channel.
func (c *Config) tellsPeople(kind, name string) bool {
	w := c.Chat.WeCom[name]
	return kind == "slack" && c.Chat.Slack[name] != nil || kind == "wecom" && w != nil && w.app()
}

// hears tells whether people can speak to us in that chat.
func (c *Config) hears(kind, name string) bool {
	w, s := c.Chat.WeCom[name], c.Chat.Slack[name]
	return kind == "wecom" && w != nil && !w.robot() || kind == "slack" && s != nil && (s.SigningSecret.IsSet() || s.AppToken.IsSet())
}

// personIn is the GitHub login of somebody in that chat by the server's file, or "". See Bot.personIn.
func (c *Config) personIn(kind, name, id string) string {
	for _, p := range c.People {
		if id != "" && c.idIn(p, kind, name) == id {
			return p.GitHub
		}
	}
	return ""
}

// chatLanguage is the language of a chat, given by its kind and name with a slash between.
func (c *Config) chatLanguage(chat string) text.Lang {
	kind, name, _ := strings.Cut(chat, "/")
	if w := c.Chat.WeCom[name]; kind == "wecom" && w != nil {
		return text.Lang(w.Language)
	}
	if s := c.Chat.Slack[name]; kind == "slack" && s != nil {
		return text.Lang(s.Language)
	}
	return text.Lang(c.Language)
}

// matchesAny says whether repo, owner/name, is one of patterns: the same, or owner/*. Case does not count, as on GitHub.
// What is not a repository's name matches nothing.
func matchesAny(patterns []string, repo string) bool {
	if !repositoryName.MatchString(repo) {
		return false
	}
	repo = strings.ToLower(repo)
	owner, name, _ := strings.Cut(repo, "/")
	if name == "." || name == ".." {
		return false
	}
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.ToLower(p)
		return p == repo || p == owner+"/*"
	})
}

// refuse says that what is not allowed and which entry would have to be added to the list at path.
func (c *Config) refuse(what, path, entry string) error {
	key := path[strings.LastIndex(path, ".")+1:]
	add := fmt.Sprintf("%s: [%s]", key, entry)
	if c.doc.Has(path) {
		add = "- " + entry
	}
	return &NotAllowed{What: what, Add: fmt.Sprintf("%s at %s (%s)", add, c.place(path), path), exists: true}
}

// missing says that the server's file has no entry of that name under section.
func (c *Config) missing(what, name, section string, known []string) error {
	e := &NotAllowed{What: fmt.Sprintf("there is no %s %s in the server's file", what, name)}
	if near := strictyaml.Nearest(name, known); near != "" {
		e.What += "; did you mean " + near + "?"
	} else {
		e.Add = fmt.Sprintf("%s: … at %s (%s)", name, c.place(section), section)
	}
	return e
}

// place is where path stands, without the folder, which is nobody's business but the operator's.
func (c *Config) place(path string) string {
	at := c.doc.At(path)
	at.File = filepath.Base(at.File)
	return at.String()
}

// quoted is s as a YAML text.
func quoted(s string) string { return `"` + s + `"` }
