package bot

import (
	"errors"
	"fmt"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/pipeline"
)

// Check reports every mistake in a server's file (none if serverFile is empty) and in repository files, each with its
// file and line. With both, what a repository file names must exist in the server's, and must be allowed to repo
// (owner/name), the repository of those files, where that is known and not empty. What a server's file with mistakes
// would allow is not guessed at.
func Check(serverFile, repo string, repoFiles []string) []error {
	var errs []error
	var server *Config
	if serverFile != "" {
		c, err := LoadConfig(serverFile)
		errs, server = appendEach(errs, err), c
	}
	for _, file := range repoFiles {
		data, err := readSmall(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = pipeline.Check(file, data, func(c *pipeline.Config, doc *strictyaml.Document) {
			if server != nil {
				server.checkUse(c, doc, repo)
			}
		})
		errs = appendEach(errs, err)
	}
	return errs
}

func appendEach(errs []error, err error) []error {
	var mistakes strictyaml.Errors
	if errors.As(err, &mistakes) {
		return append(errs, mistakes.Unwrap()...)
	}
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// checkUse adds what the server's file refuses of c, a file of repo. Without a repo only what does not exist is told.
func (c *Config) checkUse(file *pipeline.Config, doc *strictyaml.Document, repo string) {
	tell := func(at string, err error) {
		var refused *NotAllowed
		if errors.As(err, &refused) && (repo != "" || !refused.exists) {
			doc.Errorf(at, "%s", err)
		}
	}
	tell("", c.MayUseServer(repo))
	if file.Build.Image != "" {
		tell("build.image", c.MayUseRegistry(file.Build.Image, repo))
	}
	if file.Trigger.Registry.Repository != "" {
		tell("trigger.registry.repository", c.MayUseRegistry(file.Trigger.Registry.Repository, repo))
	}
	for i, name := range file.Build.Secrets {
		tell(fmt.Sprintf("build.secrets[%d]", i), c.mayUseSecretSomewhere(name, repo)) // which refs is known only at a build
	}
	for i, env := range file.Environments {
		at := fmt.Sprintf("environments[%d].cluster", i)
		if env.Cluster != "" {
			tell(at, c.MayUseCluster(env.Cluster, repo, env.Namespace))
		}
		images := []string{file.Build.Image, file.Trigger.Registry.Repository}
		if env.Registry != "" {
			tell(fmt.Sprintf("environments[%d].registry", i), c.MayUseRegistry(env.Registry, repo))
			images = []string{env.Registry}
		}
		for _, image := range images {
			if host, _, err := pipeline.ParseRepository(image); err == nil && env.PullSecret != "" && c.Registries[host] != nil {
				_, _, err := c.PullCredentials(host)
				tell(fmt.Sprintf("environments[%d].pull_secret", i), err)
			}
		}
		for j, step := range env.Flow {
			if step.Webhook != nil && step.Webhook.Secret != "" { // which refs is known only when it is sent
				tell(fmt.Sprintf("environments[%d].flow[%d].webhook.secret", i, j), c.mayUseSecretSomewhere(step.Webhook.Secret, repo))
			}
		}
	}
	for i, n := range file.Notify {
		at := fmt.Sprintf("notify[%d]", i)
		if n.WeCom != "" {
			tell(at+".wecom", c.MayUseChat("wecom", n.WeCom, repo))
			if w := c.Chat.WeCom[n.WeCom]; w != nil && !w.robot() && !w.app() {
				doc.Errorf(at+".wecom", "%s is a smart robot, which only answers; write robots of a group, or an app", n.WeCom)
			} else if w != nil {
				if err := w.checkPlace(n.WeCom, n.Channel); err != nil {
					doc.Errorf(at+".channel", "%s", err)
				}
			}
		}
		if n.Slack != "" {
			tell(at+".slack", c.MayUseChat("slack", n.Slack, repo))
		}
		if n.Webhook != "" {
			tell(at+".webhook", c.MayUseChat(kindWebhook, n.Webhook, repo))
		}
	}
}
