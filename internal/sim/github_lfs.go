package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	lfsMediaType = "application/vnd.git-lfs+json"
	lfsBatch     = ".git/info/lfs/objects/batch"
	lfsStorage   = "/storage/lfs/"
)

// LFS keeps an object for Git LFS and returns its pointer, which is committed in its place.
func (repo *Repo) LFS(content string) (pointer string) {
	oid := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	repo.gh.mu.Lock()
	defer repo.gh.mu.Unlock()
	if repo.lfs == nil {
		repo.lfs = map[string]string{}
	}
	repo.lfs[oid] = content
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content))
}

// serveLFS serves downloads: the batch API (git-lfs, docs/api/batch.md) and the storage that its answers name. It reports
// whether the request was for it.
func (gh *GitHub) serveLFS(w http.ResponseWriter, r *http.Request, path string) bool {
	if name, ok := strings.CutSuffix(path, lfsBatch); ok && strings.Count(name, "/") == 2 {
		gh.lfsBatch(w, r, name[1:])
		return true
	}
	if object, ok := strings.CutPrefix(path, lfsStorage); ok {
		gh.lfsObject(w, r, object)
		return true
	}
	return false
}

func (gh *GitHub) lfsBatch(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Content-Type", lfsMediaType)
	answer := func(status int, body object) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // the other side went away
	}
	var ask struct {
		Operation string
		Transfers []string
		Objects   []struct {
			OID  string
			Size int
		}
	}
	repo, _, status := gh.authorizeGit(r, name, false)
	switch {
	case status != http.StatusOK:
		w.Header().Set("LFS-Authenticate", `Basic realm="GitHub"`)
		answer(status, object{"message": http.StatusText(status)})
		return
	case r.Method != http.MethodPost || r.Header.Get("Accept") != lfsMediaType || r.Header.Get("Content-Type") != lfsMediaType:
		answer(http.StatusNotAcceptable, object{"message": "Accept and Content-Type must be " + lfsMediaType})
		return
	case json.NewDecoder(r.Body).Decode(&ask) != nil || ask.Operation != "download" || len(ask.Objects) > 100:
		answer(http.StatusUnprocessableEntity, object{"message": "not a download of at most 100 objects"})
		return
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	objects := []object{}
	for _, o := range ask.Objects {
		content, ok := repo.lfs[o.OID]
		if !ok || len(content) != o.Size {
			objects = append(objects, object{"oid": o.OID, "size": o.Size, "error": object{"code": http.StatusNotFound, "message": "Object does not exist on the server"}})
			continue
		}
		id := repo.owner.Login + "/" + repo.name + "/" + o.OID
		href := gh.url + lfsStorage + id + "?signature=" + gh.lfsSignature(id)
		objects = append(objects, object{"oid": o.OID, "size": o.Size, "authenticated": true,
			"actions": object{"download": object{"href": href, "expires_in": 3600}}})
	}
	answer(http.StatusOK, object{"transfer": "basic", "objects": objects})
}

// lfsObject serves as a cloud's storage: to whoever has the signed address, and to nobody who brings another credential too.
func (gh *GitHub) lfsObject(w http.ResponseWriter, r *http.Request, id string) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	name, oid := id[:max(0, strings.LastIndexByte(id, '/'))], id[strings.LastIndexByte(id, '/')+1:]
	repo := gh.repos[strings.ToLower(name)]
	switch {
	case r.Header.Get("Authorization") != "":
		http.Error(w, "Only one auth mechanism allowed", http.StatusBadRequest)
	case repo == nil || r.Method != http.MethodGet || !hmac.Equal([]byte(r.URL.Query().Get("signature")), []byte(gh.lfsSignature(id))):
		http.Error(w, "SignatureDoesNotMatch", http.StatusForbidden)
	default:
		_, _ = io.WriteString(w, repo.lfs[oid]) // the other side went away
	}
}

func (gh *GitHub) lfsSignature(id string) string {
	mac := hmac.New(sha256.New, []byte(gh.cfg.Secret))
	mac.Write([]byte(id))
	return hex.EncodeToString(mac.Sum(nil))
}
