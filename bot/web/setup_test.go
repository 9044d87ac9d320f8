package web

import (
	"html"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSetupInChinese: the set-up's pages speak the reader's language, and what somebody wrote is no markup in them.
func TestSetupInChinese(t *testing.T) {
	p := NewSetup("test", slog.New(slog.DiscardHandler))
	form := &SetupForm{Name: "<b>ship", Organization: "acme", GitHub: "https://github.com", PublicURL: "https://ship.example.com", FixedPublicURL: true,
		Wrong: Say("The App needs a name of at most 34 characters.")}
	problem := Say("%s is there already, and is not overwritten: move it away.", "<b>app.pem")
	for name, test := range map[string]struct {
		body   SetupPage
		en, zh []string
	}{
		"form": {SetupPage{Form: form}, []string{"register the GitHub App", "at most 34 characters", "As public_url in the server's file says. GitHub must reach"},
			[]string{"注册 GitHub App", "最多 34 个字符", "由服务器文件中的 public_url 指定。"}},
		"register": {SetupPage{Register: &SetupRegister{Form: form, Target: "https://github.com/x"}}, []string{"<p>Sign in to https://github.com in this browser first, as an owner"},
			[]string{"以组织 owner 的身份登录 https://github.com。"}},
		"done": {SetupPage{Done: &SetupDone{Name: "<b>ship", Install: "https://github.com/apps/x", File: "/etc/<b>.yaml"}},
			[]string{"The App <bdi>&lt;b&gt;ship</bdi> is registered", "in <code>/etc/&lt;b&gt;.yaml</code>, and", "<pre tabindex=\"0\">bot doctor --config /etc/&lt;b&gt;.yaml</pre>"},
			[]string{"App <bdi>&lt;b&gt;ship</bdi> 已注册", "在 <code>/etc/&lt;b&gt;.yaml</code> 的 <code>github:</code> 下"}},
		"problem": {SetupPage{Problem: problem, Remedy: Say("Then load this page again.")}, []string{"<bdi>&lt;b&gt;app.pem is there already", "Then load"},
			[]string{"<bdi>&lt;b&gt;app.pem 已存在", "然后重新加载此页面。"}},
	} {
		for l, want := range map[lang][]string{en: append(test.en, "<title>Set-up · "), zh: append(test.zh, "<title>初始设置 · ")} {
			for range 2 { // a saying may be said again
				w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/setup", nil)
				r.Header.Set("Accept-Language", string(l))
				p.Show(w, r, 200, test.body)
				body := strings.ReplaceAll(w.Body.String(), "&#39;", "'")
				for _, text := range want {
					if w.Code != 200 || !strings.Contains(body, text) {
						t.Errorf("%s in %s lacks %q: %s", name, l, text, body)
					}
				}
				if strings.Contains(body, `href="?`) != (name != "done") { // the last page's address is gone
					t.Errorf("%s in %s: the other language: %s", name, l, body)
				}
				if strings.Contains(body, "<b>") || strings.Contains(html.UnescapeString(body), "%!") {
					t.Errorf("%s in %s: %s", name, l, body)
				}
			}
		}
	}
	if got := problem.String(); got != "<b>app.pem is there already, and is not overwritten: move it away." {
		t.Errorf("in the log: %s", got)
	}
}

// TestAssetNotThere: what was asked is not repeated.
func TestAssetNotThere(t *testing.T) {
	w := httptest.NewRecorder()
	NewSetup("test", slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/assets/none.css?code=ABC&lang=zh", nil))
	if body := w.Body.String(); w.Code != 404 || strings.Contains(body, "ABC") || !strings.Contains(body, `lang="zh"`) || !strings.Contains(body, `href="?lang=en"`) {
		t.Errorf("%d %s", w.Code, body)
	}
}
