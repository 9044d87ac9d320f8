package bot

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shipmate-dev/shipmate/pipeline/build"
	"github.com/shipmate-dev/shipmate/pipeline/kube"
)

// BuildKitAddress is one BuildKit daemon; it may be written as its address alone.
type BuildKitAddress struct {
	Addr    string `yaml:"addr"`    // unix:///path, tcp://host:port or kube-pod://NAME?namespace=NS&container=C
	CA      Secret `yaml:"ca"`      // of tcp, PEM: what signs the daemon's certificate; default: the system's roots
	Cert    Secret `yaml:"cert"`    // of tcp, PEM: what we show it
	Key     Secret `yaml:"key"`     // of tcp, PEM: that of Cert
	Cluster string `yaml:"cluster"` // of kube-pod: one of clusters
	Forks   bool   `yaml:"forks"`   // builds what forks have, and nothing else
}

// UnmarshalText reads the short form.
func (a *BuildKitAddress) UnmarshalText(text []byte) error {
	a.Addr = string(text)
	return nil
}

// String is what the log and errors call the builder.
func (a BuildKitAddress) String() string {
	if a.Cluster != "" {
		return a.Addr + " of " + a.Cluster
	}
	return a.Addr
}

// inClear says whether what goes to the builder can be read, and it be used, by others on the network.
func (a BuildKitAddress) inClear() bool {
	u, err := url.Parse(a.Addr)
	if err != nil || u.Scheme != "tcp" || a.CA.IsSet() || a.Cert.IsSet() {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// pod is the container that an address of the form kube-pod://NAME?namespace=NS&container=C names; ok is false for another
// form. Without a namespace it is default's.
func (a BuildKitAddress) pod() (pod kube.Pod, ok bool, err error) {
	u, err := url.Parse(a.Addr)
	if err != nil || u.Scheme != "kube-pod" {
		return pod, false, nil // whatever it is, it is no pod
	}
	query, err := url.ParseQuery(u.RawQuery)
	pod = kube.Pod{Namespace: or(query.Get("namespace"), "default"), Name: u.Host, Container: query.Get("container")}
	delete(query, "namespace")
	delete(query, "container")
	switch {
	case err != nil, len(query) > 0, u.Path != "", u.User != nil, u.Fragment != "",
		len(validation.IsDNS1123Subdomain(pod.Name)) > 0, len(validation.IsDNS1123Label(pod.Namespace)) > 0,
		pod.Container != "" && len(validation.IsDNS1123Label(pod.Container)) > 0:
		return pod, true, errors.New("is no pod; write kube-pod://NAME?namespace=NAMESPACE&container=CONTAINER (one that is named anew with each start, as those of a Deployment are, will not do)")
	}
	return pod, true, nil
}

func (c *Config) checkBuilder() {
	if n := c.Builder.Concurrency; n < 1 || n > 100 {
		c.doc.Errorf("builder.concurrency", "must be between 1 and 100; write for example 4")
	}
	forks := 0
	for i, a := range c.Builder.BuildKit {
		at := fmt.Sprintf("builder.buildkit[%d]", i)
		if a.Forks {
			forks++
		}
		if c.doc.Has(at) { // else it is from the environment
			c.checkBuildKit(at, i, a)
		}
	}
	if forks > 0 && forks == len(c.Builder.BuildKit) {
		c.doc.Errorf("builder.buildkit", "has only builders for forks, which build nothing else; add one without forks: true")
	}
}

func (c *Config) checkBuildKit(at string, i int, a BuildKitAddress) {
	u, err := url.Parse(a.Addr)
	scheme := ""
	if err == nil {
		scheme = u.Scheme
	}
	_, isPod, podErr := a.pod()
	tcp := scheme == "tcp"
	switch {
	case a.Addr == "":
		c.doc.Errorf(at, "has no addr; write unix:///path/of/buildkitd.sock, tcp://host:port or kube-pod://NAME?namespace=NAMESPACE")
		return
	case podErr != nil:
		c.doc.Errorf(at, "%q %s", a.Addr, podErr)
	case isPod && a.Cluster == "":
		c.doc.Errorf(at+".cluster", "is missing beside a pod; write the name of one of clusters")
	case isPod && c.Clusters[a.Cluster] == nil:
		c.doc.Errorf(at+".cluster", "%s", c.missing("cluster", a.Cluster, "clusters", slices.Sorted(maps.Keys(c.Clusters))))
	case !isPod && a.Cluster != "":
		c.doc.Errorf(at+".cluster", "is a matter of kube-pod://; remove it")
	case !isPod:
		if _, err := build.Open(build.Address{URL: a.Addr}); err != nil {
			c.doc.Errorf(at, "%q is not supported; write unix:///path/of/buildkitd.sock, tcp://host:port or kube-pod://NAME?namespace=NAMESPACE", a.Addr)
		}
	}
	switch {
	case !tcp && (a.CA.IsSet() || a.Cert.IsSet() || a.Key.IsSet()):
		c.doc.Errorf(at, "has ca, cert or key, which are a matter of tcp://; remove them")
	case a.Cert.IsSet() && !a.Key.IsSet():
		c.doc.Errorf(at+".key", "is missing beside cert; write env:NAME or file:PATH")
	case a.Key.IsSet() && !a.Cert.IsSet():
		c.doc.Errorf(at+".cert", "is missing beside key; write env:NAME or file:PATH")
	}
	same := func(other BuildKitAddress) bool { return other.Addr == a.Addr && other.Cluster == a.Cluster }
	if j := slices.IndexFunc(c.Builder.BuildKit[:i], same); j >= 0 {
		c.doc.Errorf(at, "is builder.buildkit[%d] already; write each builder once, and raise concurrency for more builds at once", j)
	}
}

// checkCertificates tells of certificates and keys, once they are read, that are none.
func (c *Config) checkCertificates() {
	for i, a := range c.Builder.BuildKit {
		if !strings.HasPrefix(a.Addr, "tcp:") || a.Cert.IsSet() != a.Key.IsSet() {
			continue // that was told already
		}
		if _, err := build.Open(build.Address{URL: a.Addr, CA: a.CA.Value(), Cert: a.Cert.Value(), Key: a.Key.Value()}); err != nil {
			c.doc.Errorf(fmt.Sprintf("builder.buildkit[%d]", i), "%s; write PEM files, as those that buildkitd's --tlscacert, --tlscert and --tlskey take", err)
		}
	}
}
