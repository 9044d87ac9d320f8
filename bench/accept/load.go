package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// bodySize is about what GitHub sends for a push of one or two commits.
const bodySize = 7 << 10

// load sends deliveries on as many connections for a while, on each one after the other, and waits for every answer.
func load(url string, conns int, span time.Duration) result {
	body := push()
	parts := make([]result, conns)
	times := make([][]time.Duration, conns)
	var wg sync.WaitGroup
	began := time.Now()
	for c := range conns {
		wg.Go(func() {
			part := &parts[c]
			part.Other = map[string]int{}
			client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			body := bytes.Clone(body)
			for i := 0; time.Since(began) < span; i++ {
				r, err := delivery(url, body, fmt.Sprintf("%08x%032x", c, i))
				if err != nil {
					part.Other[err.Error()]++
					break
				}
				sent := time.Now()
				status, err := send(client, r)
				switch {
				case err != nil:
					part.Other[err.Error()]++
				case status/100 != 2:
					part.Other[http.StatusText(status)]++
				default:
					part.Accepted++
					times[c] = append(times[c], time.Since(sent))
				}
			}
		})
	}
	wg.Wait()
	total := result{Elapsed: time.Since(began), Other: map[string]int{}}
	for _, r := range parts {
		total.Accepted += r.Accepted
		for what, n := range r.Other {
			total.Other[what] += n
		}
	}
	if all := slices.Concat(times...); len(all) > 0 {
		slices.Sort(all)
		total.P50, total.P99 = all[len(all)/2], all[len(all)*99/100]
	}
	return total
}

// delivery is a request as GitHub makes it, of a push of its own: signed with a commit that no other has.
func delivery(url string, body []byte, commit string) (*http.Request, error) {
	copy(body[bytes.Index(body, []byte(after))+len(after):], commit)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	r, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "GitHub-Hookshot/044aadd")
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "push")
	r.Header.Set("X-GitHub-Delivery", deliveryID())
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(h.Sum(nil)))
	return r, nil
}

func send(client *http.Client, r *http.Request) (status int, err error) {
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }() // read to its end below
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// deliveryID is a UUID of version 1, as GitHub's are: its first part is the low end of the time (RFC 9562, 5.1).
func deliveryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	t := uint64(time.Now().UnixNano()/100) + 0x01b21dd213814000
	binary.BigEndian.PutUint32(b[0:], uint32(t))
	binary.BigEndian.PutUint16(b[4:], uint16(t>>32))
	binary.BigEndian.PutUint16(b[6:], uint16(t>>48)&0x0fff|0x1000)
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// after stands before the newest commit of a push.
const after = `"after":"`

// push is a body with the members of a push in GitHub's order, filled up to bodySize with commits.
func push() []byte {
	sha := fmt.Sprintf("%040x", 0xabcdef0123)
	const api = "https://api.github.com/repos/acme/web"
	var b strings.Builder
	fmt.Fprintf(&b, `{"ref":"refs/heads/master","before":"%040x",`+after+`%s","repository":{"id":186853002,"node_id":"MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI=","name":"web","full_name":"acme/web","private":true,`+
		`"owner":{"name":"acme","login":"acme","id":21031067,"avatar_url":"https://avatars.githubusercontent.com/u/21031067?v=4","url":"https://api.github.com/users/acme","html_url":"https://github.com/acme","type":"Organization","site_admin":false},`+
		`"html_url":"https://github.com/acme/web","description":null,"fork":false`, 0, sha)
	for _, name := range strings.Fields("forks keys collaborators teams hooks issue_events events assignees branches tags blobs git_tags git_refs trees statuses languages stargazers contributors subscribers subscription commits git_commits comments issue_comment contents compare merges archive downloads issues pulls milestones notifications labels releases deployments") {
		fmt.Fprintf(&b, `,"%s_url":"%s/%s{/id}"`, name, api, name)
	}
	b.WriteString(`,"created_at":1557933565,"updated_at":"2026-01-02T15:20:41Z","pushed_at":1767367226,"default_branch":"master","visibility":"private"},` +
		`"pusher":{"name":"alice","email":"alice@example.com"},"sender":{"login":"alice","id":21031068,"type":"User","site_admin":false},"installation":{"id":4711,"node_id":"MDIzOkludGVncmF0aW9uSW5zdGFsbGF0aW9uNDcxMQ=="},` +
		`"created":false,"deleted":false,"forced":false,"base_ref":null,"compare":"https://github.com/acme/web/compare/a...b","commits":[`)
	commit := func(i int) string {
		return fmt.Sprintf(`{"id":"%s","tree_id":"%040x","distinct":true,"message":"Answer on /v%d as well\n\nThe old address stays for those who have it in their bookmarks.","timestamp":"2026-01-02T15:20:%02dZ",`+
			`"url":"https://github.com/acme/web/commit/%s","author":{"name":"Alice","email":"alice@example.com","username":"alice"},"committer":{"name":"Alice","email":"alice@example.com","username":"alice"},`+
			`"added":["handlers/v%d.go"],"removed":[],"modified":["main.go","deploy/web.yaml"]}`, sha, i, i, i%60, sha, i)
	}
	for i := 0; ; i++ {
		c := commit(i)
		if b.Len()+2*len(c) > bodySize {
			fmt.Fprintf(&b, `%s],"head_commit":%s}`, c, c)
			break
		}
		b.WriteString(c + ",")
	}
	return []byte(b.String())
}
