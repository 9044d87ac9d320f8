package main

import (
	"strings"
	"testing"

	"github.com/shipmate-dev/shipmate/internal/sim"
)

func status(sha, name, state string) sim.Write {
	return sim.Write{Kind: "status", SHA: sha, Name: name, State: state}
}

func TestNewsWait(t *testing.T) {
	const staging = "shipmate/deploy/staging"
	for _, tt := range []struct {
		name string
		old  []sim.Write // before the mark
		news []sim.Write
		want string // an error
	}{
		{name: "success", news: []sim.Write{status("a", staging, "pending"), status("a", staging, "success")}},
		{name: "not another's", news: []sim.Write{status("b", staging, "failure"), status("a", "shipmate/build", "success"), status("a", staging, "success")}},
		{name: "failed build", news: []sim.Write{status("a", "shipmate/build", "failure"), status("a", staging, "success")}, want: "shipmate/build of a is failure"},
		{name: "error", news: []sim.Write{status("a", staging, "error"), status("a", staging, "success")}, want: "is error"},
		{name: "refused", news: []sim.Write{{Kind: "reaction", State: "eyes"}, {Kind: "reaction", State: "confused"}, status("a", staging, "success")}, want: "refused"},
		{name: "not an old one", old: []sim.Write{status("a", staging, "failure")}, news: []sim.Write{status("a", staging, "success")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := news{changed: make(chan struct{})}
			for _, w := range tt.old {
				n.add(w)
			}
			mark := n.mark()
			told := make(chan struct{})
			go func() {
				defer close(told)
				for _, w := range tt.news {
					n.add(w)
				}
			}()
			done, err := n.wait(t.Context(), mark, "staging", func(w sim.Write) bool { return w.SHA == "a" })
			<-told
			switch {
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error with %q", err, tt.want)
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want == "" && (done.State != "success" || done.Name != staging || done.SHA != "a" || done.at.IsZero()):
				t.Errorf("got %+v", done)
			}
		})
	}
}
