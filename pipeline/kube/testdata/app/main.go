// The program of the test images: what it does is its first argument.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
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
	}
}

type order struct{ total int }

func handle(o *order) { fmt.Println(o.total) }
