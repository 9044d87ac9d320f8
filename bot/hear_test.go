package bot

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"
)

// TestAnswerBeforeWork: WeCom has its answer while what a person is told is still on its way, however long that takes.
func TestAnswerBeforeWork(t *testing.T) {
	asked, release := make(chan string, 1), make(chan struct{})
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cgi-bin/gettoken" {
			_, _ = fmt.Fprint(w, `{"errcode":0,"access_token":"x","expires_in":7200}`)
			return
		}
		asked <- r.URL.Path
		<-release
		_, _ = fmt.Fprint(w, `{"errcode":0}`)
	}))
	defer far.Close()
	desk := regexp.MustCompile(`(desk: .* base_url: )[^,]+`)
	l := newLab(t, func(server string) string { return desk.ReplaceAllString(server, "${1}"+far.URL) })
	defer close(release)
	must(t, l.wecom.Say("mallory.w", "status web")) // it wants an empty answer within 5 s
	select {
	case path := <-asked:
		if path != "/cgi-bin/message/send" {
			t.Errorf("it asks for %s", path)
		}
	case <-time.After(patience):
		t.Error("nobody is told anything")
	}
}
