package bot

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullDisk: a bot whose files may not grow refuses deliveries, says so once and on /readyz, and goes on by itself when
// they may; what it accepted is stored and decided, and nothing else.
func TestFullDisk(t *testing.T) {
	if file := os.Getenv(serveConfig); file != "" {
		must(t, serveUntilKilled(file))
		return
	}
	t.Parallel()
	l := newLab(t, nil)
	must(t, l.Stop()) // its child has the data directory
	child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$")
	child.Env = append(os.Environ(), serveConfig+"="+filepath.Join(l.dir, "shipmate.yaml"))
	var logged buffer
	child.Stderr = &logged
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill() // it is no longer there, if all went well
		_ = child.Wait()         // "signal: killed"
	})
	url := "http://" + strings.TrimSpace(got(bufio.NewReader(out).ReadString('\n'))(t))
	ask := func(r *http.Request) int {
		t.Helper()
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		_, _ = io.Copy(io.Discard, resp.Body) // the status has come, which counts
		must(t, resp.Body.Close())
		return resp.StatusCode
	}
	body := fmt.Sprintf(`{"zen":%q}`, strings.Repeat("It's not fully shipped until it's fast. ", 2000))
	accepted, sent := map[string]bool{}, 0
	send := func() int {
		t.Helper()
		sent++
		id := fmt.Sprintf("full-%d", sent)
		r := got(http.NewRequestWithContext(t.Context(), "POST", url+"/webhooks/github", strings.NewReader(body)))(t)
		r.Header = delivery(id, "ping", "application/json", signature(hookSecret, body), "").Header
		status := ask(r)
		switch status {
		case http.StatusAccepted:
			accepted[id] = true
		case http.StatusServiceUnavailable:
		default:
			t.Errorf("%s: %d", id, status)
		}
		return status
	}
	ready := func() int {
		t.Helper()
		return ask(got(http.NewRequestWithContext(t.Context(), "GET", url+"/readyz", nil))(t))
	}
	sends := func(status int) {
		t.Helper()
		must(t, until(fmt.Sprintf("a delivery is answered %d", status), func() error {
			if got := send(); got != status {
				return fmt.Errorf("the last was answered %d", got)
			}
			return nil
		}))
	}

	sends(202)
	var before unix.Rlimit
	for range 2 {
		full := unix.Rlimit{Cur: 4 << 10, Max: unix.RLIM_INFINITY} // less than the log needs for one page
		must(t, unix.Prlimit(child.Process.Pid, unix.RLIMIT_FSIZE, &full, &before))
		sends(503)
		for range 20 {
			send()
		}
		must(t, until("/readyz says so", func() error {
			if status := ready(); status != 503 {
				return fmt.Errorf("%d", status)
			}
			return nil
		}))
		must(t, unix.Prlimit(child.Process.Pid, unix.RLIMIT_FSIZE, &before, nil))
		sends(202)
		if status := ready(); status != 200 {
			t.Errorf("/readyz: %d", status)
		}
	}
	must(t, until("all that was accepted is decided", func() error {
		var stored map[string]bool
		if err := json.Unmarshal([]byte(got(l.lookup("SELECT json_group_object(id, json(iif(decided_at IS NULL, 'false', 'true'))) FROM events"))(t)), &stored); err != nil {
			return err
		}
		if fmt.Sprint(stored) != fmt.Sprint(accepted) {
			return fmt.Errorf("accepted %v\nstored %v\n%s", accepted, stored, logged.String())
		}
		return nil
	}))
	if log := logged.String(); strings.Count(log, "deliveries cannot be stored") != 2 || strings.Count(log, "\n") > 40 || !strings.Contains(log, "remedy=") || strings.Contains(log, hookSecret) {
		t.Errorf("it logged:\n%s", log)
	}
}
