package egress

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for address, want := range map[string]string{
		"93.184.216.34":           "",
		"2606:2800:220:1::1":      "",
		"64:ff9b::5db8:d822":      "", // 93.184.216.34
		"127.0.0.1":               "private",
		"127.9.9.9":               "private",
		"::1":                     "private",
		"10.1.2.3":                "private",
		"172.31.0.1":              "private",
		"192.168.0.1":             "private",
		"100.64.0.1":              "private",
		"fd12::1":                 "private",
		"::ffff:10.0.0.1":         "private",
		"64:ff9b::a00:1":          "private", // 10.0.0.1
		"2002:a00:1::":            "private",
		"0.1.2.3":                 "private",
		"255.255.255.255":         "private",
		"0.0.0.0":                 "never",
		"::":                      "never",
		"::ffff:169.254.169.254":  "never",
		"169.254.169.254":         "never",
		"169.254.0.23":            "never",
		"64:ff9b::a9fe:a9fe":      "never",
		"168.63.129.16":           "never",
		"fd20:ce::254":            "never",
		"64:ff9b:1:a00:0:100::1":  "private", // 10.0.0.1 by RFC 6052, in a prefix of 48 bits
		"64:ff9b:1::5db8:d822":    "private", // it may be another than 93.184.216.34
		"2001:0:5ef5:79fb::1":     "private",
		"fe80::1":                 "never",
		"fe80::1%eth0":            "never",
		"100.100.100.200":         "never",
		"fd00:ec2::254":           "never",
		"224.0.0.1":               "never",
		"ff02::1":                 "never",
		"::a9fe:a9fe":             "never",
		"64:ff9b:1::169.254.10.1": "never",
	} {
		a := netip.MustParseAddr(address)
		for _, private := range []bool{false, true} {
			err := Check(a, private)
			refused := want == "never" || want == "private" && !private
			if (err != nil) != refused {
				t.Errorf("%s, private %v: %v, want refused: %v", address, private, err, refused)
			}
		}
	}
}

func TestClient(t *testing.T) {
	elsewhere := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			elsewhere = true
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	t.Setenv("HTTP_PROXY", server.URL)
	if _, err := Client(false, time.Minute).Get(server.URL); err == nil || !strings.Contains(err.Error(), "private network") {
		t.Errorf("loopback: %v", err)
	}
	// A name counts by what it resolves to.
	if _, err := Client(false, time.Minute).Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1)); err == nil || !strings.Contains(err.Error(), "private network") {
		t.Errorf("localhost: %v", err)
	}
	answer, err := Client(true, time.Minute).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusFound || elsewhere {
		t.Errorf("a redirect: status %d, followed: %v", answer.StatusCode, elsewhere)
	}
}
