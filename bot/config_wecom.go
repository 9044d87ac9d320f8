package bot

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

// check says which of the three it is meant to be, and what that lacks or has too much.
func (w *WeComConfig) check(doc *strictyaml.Document, at string) {
	fields := []struct {
		name       string
		set        bool
		app, smart bool // whether one needs it
		remedy     string
	}{
		{"corp_id", w.CorpID != "", true, false, "write the corp's id, such as ww0123456789abcdef"},
		{"agent_id", w.AgentID > 0, true, false, "write the app's AgentId, such as 1000002"},
		{"secret", w.Secret.IsSet(), true, false, "write where the app's Secret is, such as env:WECOM_SECRET"},
		{"token", w.Token.IsSet(), true, true, "write where the callback's Token is, such as env:WECOM_TOKEN"},
		{"aes_key", w.AESKey.IsSet(), true, true, "write where the callback's EncodingAESKey is, such as env:WECOM_AES_KEY"},
	}
	var set []string
	for _, f := range fields {
		if f.set {
			set = append(set, f.name)
		}
	}
	switch {
	case w.robot() && len(set) > 0:
		doc.Errorf(at+"."+set[0], "stands beside robot_keys, which robots of a group have alone; make an entry of its own of %s", strings.Join(set, ", "))
		return
	case w.robot():
		return
	case len(set) == 0:
		doc.Errorf(at+".robot_keys", "is missing; write the key of the group's robot, such as [env:WECOM_KEY]")
		return
	}
	kind := "a smart robot has token and aes_key"
	if w.app() {
		kind = "an app has corp_id, agent_id, secret, token and aes_key"
	}
	for _, f := range fields {
		if !f.set && (w.app() && f.app || !w.app() && f.smart) {
			doc.Errorf(at+"."+f.name, "is missing, and %s; %s", kind, f.remedy)
		}
	}
}

// checkCallbacks checks the form of the secrets of WeCom's callbacks, where they are known.
func (c *Config) checkCallbacks() {
	for _, name := range slices.Sorted(maps.Keys(c.Chat.WeCom)) {
		w := c.Chat.WeCom[name].Chat()
		if w.AESKey.Reveal() == "" || w.Token.Reveal() == "" {
			continue // there are none, or that was told already
		}
		if err := chat.CheckWeComCallback(w); err != nil {
			c.doc.Errorf("chat.wecom."+name, "%s", err)
		}
	}
}

// checkShared refuses what cannot be named twice, where it is known: a robot of a group, whose messages would be counted twice, and a
// socket of Slack, which tells either of two chats, and not always the same, what people say.
func (c *Config) checkShared() {
	first := map[string]string{}
	c.eachSecret(func(path string, s *Secret) {
		key, remedy := "", ""
		if entry, _, isRobot := strings.Cut(path, ".robot_keys["); isRobot {
			key, remedy = entry+" "+s.Value(), "a robot shares no load with itself; take it out"
		} else if strings.HasPrefix(path, "chat.slack.") && strings.HasSuffix(path, ".app_token") {
			key, remedy = s.Value(), "what people say there is told to one of them alone; make one chat of both, or another Slack app"
		}
		if remedy == "" || s.Value() == "" {
			return
		}
		if before, twice := first[key]; twice {
			c.doc.Errorf(path, "is that of %s; %s", before, remedy)
			return
		}
		first[key] = path
	})
}

// checkPlace tells what is wrong with the channel of an entry of notify for that chat, or nil.
func (w *WeComConfig) checkPlace(name, channel string) error {
	switch {
	case w.robot() && channel != "":
		return fmt.Errorf("is a matter of an app, and %s is robots of one group; remove it", name)
	case w.app():
		return chat.CheckWeComUsers(channel)
	}
	return nil
}
