package sim

import (
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// gitRequest recognizes git's smart HTTP protocol: /OWNER/NAME(.git)/SERVICE.
func gitRequest(path string) (repo, service string, ok bool) {
	for _, service := range []string{"/info/refs", "/git-upload-pack", "/git-receive-pack"} {
		if repo, ok := strings.CutSuffix(path, service); ok && strings.Count(repo, "/") == 2 {
			return strings.TrimSuffix(repo[1:], ".git"), service, true
		}
	}
	return "", "", false
}

// serveGit runs git http-backend for who may read (contents:read) or push (a
// user's token with write permission).
func (gh *GitHub) serveGit(w http.ResponseWriter, r *http.Request, name, service string) {
	push := service == "/git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack"
	repo, actor, status := gh.authorizeGit(r, name, push)
	if status != http.StatusOK {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		http.Error(w, http.StatusText(status), status)
		return
	}
	git, err := exec.LookPath("git")
	if err != nil {
		http.Error(w, "the simulator needs git: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if r.ContentLength < 0 { // CGI programs want to know the length
		body, err := spool(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		defer os.Remove(body.Name()) //nolint:errcheck // a temporary file
		defer body.Close()
		size, err := body.Seek(0, io.SeekEnd)
		if err == nil {
			_, err = body.Seek(0, io.SeekStart)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		r.Body, r.ContentLength, r.TransferEncoding = body, size, nil
	}
	env := append(gitEnv(), "GIT_PROJECT_ROOT="+filepath.Dir(filepath.Dir(string(repo.dir))), "GIT_HTTP_EXPORT_ALL=1", "PATH_INFO="+repo.pathInfo(service))
	if push {
		env = append(env, "REMOTE_USER="+actor.Login)
	}
	handler := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Dir: string(repo.dir), Env: env, Stderr: io.Discard, Logger: log.New(io.Discard, "", 0)}
	handler.ServeHTTP(w, r)
	if service != "/git-receive-pack" {
		return
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	if err := repo.refsChanged(actor, ""); err != nil {
		gh.violations = append(gh.violations, "push: "+err.Error())
	}
}

func (repo *Repo) pathInfo(service string) string {
	return "/" + repo.owner.Login + "/" + repo.name + ".git" + service
}

func spool(body io.Reader) (*os.File, error) {
	file, err := os.CreateTemp("", "sim-git-")
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, body); err != nil {
		file.Close()
		os.Remove(file.Name()) //nolint:errcheck // a temporary file
		return nil, err
	}
	return file, nil
}

// authorizeGit decides as GitHub: without credentials a private repository asks
// for some; with wrong ones it does not exist.
func (gh *GitHub) authorizeGit(r *http.Request, name string, push bool) (*Repo, *account, int) {
	_, password, given := r.BasicAuth()
	installation := gh.installationToken(password)
	gh.mu.Lock()
	defer gh.mu.Unlock()
	repo, person := gh.repos[strings.ToLower(name)], gh.userTokens[password]
	switch {
	case !given && (repo == nil || repo.private || push):
		return nil, nil, http.StatusUnauthorized
	case given && installation == nil && person == nil:
		return nil, nil, http.StatusUnauthorized
	case repo == nil:
		return nil, nil, http.StatusNotFound
	case person != nil && repo.may(person, "write"):
		return repo, person, http.StatusOK
	case person != nil && repo.may(person, "read"):
		if push {
			return nil, nil, http.StatusForbidden
		}
		return repo, person, http.StatusOK
	case installation != nil && installation.reaches(repo) && installation.may("contents", "read"):
		if push && !installation.may("contents", "write") {
			return nil, nil, http.StatusForbidden
		}
		return repo, gh.bot(), http.StatusOK
	case installation != nil && installation.reaches(repo) && repo.private:
		return nil, nil, http.StatusForbidden
	case !repo.private && !push:
		return repo, gh.bot(), http.StatusOK
	case !repo.private:
		return nil, nil, http.StatusForbidden
	}
	return nil, nil, http.StatusNotFound
}
