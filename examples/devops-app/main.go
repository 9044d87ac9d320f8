// Command devops-app answers on port 5000.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "Hello from devops-app, v1") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	host, _ := os.Hostname()
	log.Printf("devops-app listens on :5000 as %s", host)
	log.Fatal(http.ListenAndServe(":5000", mux))
}
