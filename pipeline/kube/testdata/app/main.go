// The program of the test images: what it does is its first argument.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	mode := "serve"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "crash":
		for i := range 30 {
			fmt.Println("line", i)
		}
		fmt.Println("no database at db:5432")
		os.Exit(3)
	case "panic":
		fmt.Println("starting")
		handle(nil)
	case "deny": // a registry that asks for credentials, on the address in the second argument
		fmt.Println(http.ListenAndServe(os.Args[2], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="team"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		})))
	case "late-crash":
		time.Sleep(3 * time.Second)
		fmt.Println("lost it")
		os.Exit(4)
	case "oom":
		var hold [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := range b {
				b[i] = 1
			}
			hold = append(hold, b)
			fmt.Println(len(hold))
		}
	case "done":
		fmt.Println("done")
	case "serve":
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM)
		go func() { <-stop; os.Exit(0) }()
		http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "version", os.Getenv("VERSION"), r.URL.Path)
		})
		http.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/api/v1/secrets", http.StatusFound)
		})
		fmt.Println("listening on :5000")
		fmt.Println(http.ListenAndServe(":5000", nil))
	case "poll":
		var p polled
		go p.poll(os.Args[2])
		http.HandleFunc("/", p.tell)
		fmt.Println(http.ListenAndServe(":5000", nil))
	}
}

type order struct{ total int }

func handle(o *order) { fmt.Println(o.total) }

// polled is what an address answered so far.
type polled struct {
	mu      sync.Mutex
	Total   int
	Failed  []string // at most 100
	Answers []string // in their order, one after the other where they differ
}

// poll asks an address again and again, each time by a new connection.
func (p *polled) poll(address string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 3 * time.Second}
	for {
		said, err := ask(&client, address)
		p.mu.Lock()
		p.Total++
		switch {
		case err != nil && len(p.Failed) < 100:
			p.Failed = append(p.Failed, time.Now().Format("15:04:05.000 ")+err.Error())
		case err == nil && (len(p.Answers) == 0 || p.Answers[len(p.Answers)-1] != said):
			p.Answers = append(p.Answers, said)
		}
		p.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
}

func ask(client *http.Client, address string) (string, error) {
	response, err := client.Get(address)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}

func (p *polled) tell(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(p) // who asks sees that it is cut
}
