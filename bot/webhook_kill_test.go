package bot

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serveConfig names the server's file to the child process of TestAcceptedOutlivesKill.
const serveConfig = "SHIPMATE_TEST_SERVE"

// TestAcceptedOutlivesKill kills a bot with -9 while deliveries pour in, again and again: each that was answered 202 is on
// disk, and each that is on disk is decided or queued. KILLS says how often; by default it is a few times.
func TestAcceptedOutlivesKill(t *testing.T) {
	if file := os.Getenv(serveConfig); file != "" {
		if err := serveUntilKilled(file); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	kills := 4
	if s := os.Getenv("KILLS"); s != "" {
		kills = got(strconv.Atoi(s))(t)
	}
	l := newLab(t, nil)
	must(t, l.Stop()) // its child has the data directory
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var accepted []string
	for kill := range kills {
		ids, err := killed(filepath.Join(l.dir, "shipmate.yaml"), fmt.Sprintf("kill-%d", kill), 1+rnd.IntN(400))
		must(t, err)
		accepted = append(accepted, ids...)
		var stored []string
		must(t, json.Unmarshal([]byte(got(l.lookup("SELECT json_group_array(id) FROM events"))(t)), &stored))
		there := map[string]bool{}
		for _, id := range stored {
			there[id] = true
		}
		for _, id := range accepted {
			if !there[id] {
				t.Fatalf("after kill %d: %s was answered 202, and is not stored", kill, id)
			}
		}
		lost := got(l.lookup("SELECT count(*) FROM events WHERE decided_at IS NULL AND id NOT IN (SELECT key FROM tasks WHERE kind = 'event' AND buried_at IS NULL)"))(t)
		if lost != "0" {
			t.Fatalf("after kill %d: %s are neither decided nor queued", kill, lost)
		}
	}
	t.Logf("%d kills, %d deliveries answered 202, %s stored, %s decided so far", kills, len(accepted),
		got(l.lookup("SELECT count(*) FROM events"))(t), got(l.lookup("SELECT count(*) FROM events WHERE decided_at IS NOT NULL"))(t))
}

// killed starts a bot in a process of its own, sends it deliveries from many sides, kills it when so many were accepted,
// and returns which.
func killed(file, prefix string, after int) (accepted []string, err error) {
	child := exec.Command(os.Args[0], "-test.run=^TestAcceptedOutlivesKill$")
	child.Env = append(os.Environ(), serveConfig+"="+file)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = child.Process.Kill() // it is no longer there, if all went well
		_ = child.Wait()         // "signal: killed"
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the child does not begin to serve: %w", err)
	}
	url := "http://" + strings.TrimSpace(line) + "/webhooks/github"

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: patience}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var number atomic.Int64
	var senders sync.WaitGroup
	var wrong error
	for range 16 {
		senders.Go(func() {
			for {
				id := fmt.Sprintf("%s-%d", prefix, number.Add(1))
				body := `{"action":"created","id":"` + id + `"}`
				r := delivery(id, "star", "application/json", signature(hookSecret, body), "")
				req, err := http.NewRequest("POST", url, strings.NewReader(body))
				if err != nil {
					return
				}
				req.Header = r.Header
				resp, err := client.Do(req)
				if err != nil {
					return // it was killed
				}
				_, _ = io.Copy(io.Discard, resp.Body) // the status has come, which counts
				_ = resp.Body.Close()
				mu.Lock()
				if resp.StatusCode == http.StatusAccepted {
					accepted = append(accepted, id)
				} else {
					wrong = fmt.Errorf("%s: %s", id, resp.Status)
				}
				if len(accepted) == after || wrong != nil {
					_ = child.Process.Kill() // the others go on until they notice
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	if len(accepted) < after && wrong == nil {
		wrong = fmt.Errorf("it ended by itself after %d of %d deliveries", len(accepted), after)
	}
	return accepted, wrong
}

// serveUntilKilled is the child: a bot as bot serve runs it, but that it says its address and ends with its parent at the
// latest.
func serveUntilKilled(file string) error {
	cfg, err := LoadConfig(file)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := New(ctx, cfg, "test", slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, b.Close())
	}
	fmt.Println(listener.Addr())
	return errors.Join(b.serve(ctx, listener), b.Close())
}
