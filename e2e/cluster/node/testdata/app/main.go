// Command app is what the end-to-end test runs in its pods.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 { // by exec
		fmt.Println(os.Args[1])
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from", os.Getenv("HOSTNAME")) })
	http.HandleFunc("/fetch", fetch)
	http.HandleFunc("/lookup", func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		_, err := net.LookupHost(r.FormValue("name"))
		fmt.Fprintln(w, err, time.Since(start).Round(100*time.Millisecond))
	})
	log.Println("listening on :8000")
	log.Fatal(http.ListenAndServe(":8000", nil))
}

// fetch answers with what is at ?url=, asked for from inside the pod with the token of its service account.
func fetch(w http.ResponseWriter, r *http.Request) {
	token, err := os.ReadFile(serviceAccount + "token")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	ca, err := os.ReadFile(serviceAccount + "ca.crt")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	request, err := http.NewRequest(http.MethodGet, r.FormValue("url"), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	response, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.WriteHeader(response.StatusCode)
	io.Copy(w, response.Body)
}
