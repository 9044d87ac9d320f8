package bot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWeComKinds: what a chat of WeCom is follows from its fields, and half of one or two at once is no guess.
func TestWeComKinds(t *testing.T) {
	t.Setenv("WECOM_AES_KEY", callbackKey)
	const secrets = `token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY"`
	for name, test := range map[string]struct{ fields, want string }{
		"robots":             {`robot_keys: ["env:WECOM_KEY"]`, ""},
		"app":                {`corp_id: ww1, agent_id: 2, secret: "env:WECOM_KEY", ` + secrets, ""},
		"smart":              {secrets, ""},
		"smart of a corp":    {`corp_id: ww1, ` + secrets, ""},
		"a robot twice":      {`robot_keys: ["env:WECOM_KEY", "env:WECOM_KEY"]`, `chat.wecom.x.robot_keys[1]: is that of chat.wecom.x.robot_keys[0]; a robot shares no load with itself; take it out`},
		"nothing":            {`language: zh`, `chat.wecom.x.robot_keys: is missing; write the key`},
		"robots and a token": {`robot_keys: ["env:WECOM_KEY"], corp_id: ww1, token: "env:WECOM_KEY"`, `chat.wecom.x.corp_id: stands beside robot_keys, which robots of a group have alone; make an entry of its own of corp_id, token`},
		"app, no corp":       {`agent_id: 2, secret: "env:WECOM_KEY", ` + secrets, `chat.wecom.x.corp_id: is missing, and an app has corp_id, agent_id, secret, token and aes_key; write the corp's id`},
		"app, no agent":      {`corp_id: ww1, secret: "env:WECOM_KEY", ` + secrets, `chat.wecom.x.agent_id: is missing, and an app has`},
		"app, agent below":   {`corp_id: ww1, agent_id: -2, secret: "env:WECOM_KEY", ` + secrets, `chat.wecom.x.agent_id: is missing, and an app has`},
		"app, no secret":     {`corp_id: ww1, agent_id: 2, ` + secrets, `chat.wecom.x.secret: is missing, and an app has`},
		"app, no callback":   {`corp_id: ww1, agent_id: 2, secret: "env:WECOM_KEY"`, `chat.wecom.x.token: is missing, and an app has`},
		"smart, no key":      {`token: "env:WECOM_KEY"`, `chat.wecom.x.aes_key: is missing, and a smart robot has token and aes_key; write where the callback's EncodingAESKey is`},
		"smart, no token":    {`aes_key: "env:WECOM_AES_KEY"`, `chat.wecom.x.token: is missing, and a smart robot has`},
		"a corp alone":       {`corp_id: ww1`, `chat.wecom.x.token: is missing, and a smart robot has`},
		"another key":        {`token: "env:WECOM_KEY", aes_key: "env:WECOM_KEY"`, `chat.wecom.x: aes_key is no EncodingAESKey`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadConfig(writeConfig(t, smallest+"chat: {wecom: {x: {"+test.fields+"}}}\n"))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret")):
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestWeComPeople: userids are a corp's, so that somebody need be named once for all its chats, and only one person has each.
func TestWeComPeople(t *testing.T) {
	t.Setenv("WECOM_AES_KEY", callbackKey)
	chats := smallest + `chat: {wecom: {ops: {robot_keys: ["env:WECOM_KEY"]}, desk: {corp_id: ww1, agent_id: 2, secret: "env:WECOM_KEY", token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY"},
  near: {corp_id: ww1, token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY"}, far: {corp_id: ww2, token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY"}, any: {token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY"}}}
`
	c := loadConfig(t, chats+"people: [{github: alice, wecom: {desk: a1}}, {github: bob, wecom: {near: b1, far: a1}}]\n")
	for chat, want := range map[string][2]string{"desk": {"alice", "bob"}, "near": {"alice", "bob"}, "far": {"bob", ""}, "any": {"", ""}, "ops": {"", ""}} {
		if got := [2]string{c.personIn("wecom", chat, "a1"), c.personIn("wecom", chat, "b1")}; got != want {
			t.Errorf("%s: %v, want %v", chat, got, want)
		}
	}
	if got := c.ChatUser("wecom", "desk", "bob") + c.ChatUser("wecom", "near", "alice") + c.ChatUser("wecom", "any", "alice"); got != "b1a1" {
		t.Error(got)
	}
	for chat, want := range map[string]bool{"ops": false, "desk": true, "near": true, "none": false} {
		if c.hears("wecom", chat) != want {
			t.Errorf("%s is heard: %v", chat, !want)
		}
	}
	_, err := LoadConfig(writeConfig(t, chats+"people: [{github: alice, wecom: {desk: a1}}, {github: bob, wecom: {near: a1}}]\n"))
	if err == nil || !strings.Contains(err.Error(), "people[1].wecom.near: a1 is alice already") {
		t.Error(err)
	}
}

// TestCheckWeComPlaces: a repository's file may name whom an app writes to, and nothing that only answers.
func TestCheckWeComPlaces(t *testing.T) {
	t.Setenv("WECOM_AES_KEY", callbackKey)
	server := writeConfig(t, smallest+`chat: {wecom: {ops: {robot_keys: ["env:WECOM_KEY"], allow: ["acme/web"]}, desk: {corp_id: ww1, agent_id: 2, secret: "env:WECOM_KEY", token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY", allow: ["acme/web"]},
  helper: {token: "env:WECOM_KEY", aes_key: "env:WECOM_AES_KEY", allow: ["acme/web"]}}}
`)
	for notify, want := range map[string]string{
		`{wecom: ops}`:                          "",
		`{wecom: desk}`:                         "",
		`{wecom: desk, channel: alice|bob}`:     "",
		`{wecom: desk, channel: "@all"}`:        "",
		`{wecom: desk, channel: "alice, bob"}`:  `notify[0].channel: "alice, bob" is no userid; write userids with | between, such as alice|bob, or @all`,
		`{wecom: ops, channel: C1}`:             "notify[0].channel: is a matter of an app, and ops is robots of one group; remove it",
		`{wecom: helper, environments: [prod]}`: "notify[0].wecom: helper is a smart robot, which only answers; write robots of a group, or an app",
	} {
		file := filepath.Join(filepath.Dir(server), ".shipmate.yaml")
		must(t, os.WriteFile(file, []byte("build: {image: registry.example.com/team/web}\nenvironments: [{name: prod, cluster: prod, namespace: prod, manifests: deploy}]\nnotify: ["+notify+"]\n"), 0o600))
		got := ""
		for _, err := range Check(server, "acme/web", []string{file}) {
			if strings.Contains(err.Error(), "notify") {
				got += err.Error()
			}
		}
		if (got == "") != (want == "") || !strings.HasSuffix(got, want) {
			t.Errorf("%s: got %q, want %q", notify, got, want)
		}
	}
}
