package bot

import (
	"strings"

	"github.com/shipmate-dev/shipmate/pipeline"
)

// A chatPlace is where a chat is told something: a chat of the server's file, and a channel of it where it has several.
type chatPlace struct{ kind, name, channel string }

// chatOf is the place that an entry of notify names.
func chatOf(n pipeline.Notify) chatPlace {
	if n.WeCom != "" {
		return chatPlace{"wecom", n.WeCom, n.Channel}
	}
	return chatPlace{"slack", n.Slack, n.Channel}
}

// chatAt is the place whose surface that is.
func chatAt(surface string) (p chatPlace, ok bool) {
	part := strings.SplitN(surface, "/", 3)
	if len(part) < 2 || part[0] != "wecom" && part[0] != "slack" {
		return p, false
	}
	p.kind, p.name = part[0], part[1]
	if len(part) == 3 {
		p.channel = part[2]
	}
	return p, true
}

// surface names the place: kind/name, or kind/name/channel.
func (p chatPlace) surface() string {
	if p.channel == "" {
		return p.chat()
	}
	return p.chat() + "/" + p.channel
}

// chat names the chat, as in Bot.chats.
func (p chatPlace) chat() string { return p.kind + "/" + p.name }

// edits tells whether what was said there can be kept true: one message for each subject. Elsewhere each moment has its own.
func (p chatPlace) edits() bool { return p.kind == "slack" }
