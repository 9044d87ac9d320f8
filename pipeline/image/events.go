package image

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Formats of what registries send when an image is pushed.
const (
	EventsTCR          = "tcr"          // Tencent Container Registry's triggers; Harbor 1 sends the same
	EventsHarbor       = "harbor"       // Harbor 2's webhooks, in its own format or as CloudEvents
	EventsDistribution = "distribution" // notifications of the CNCF Distribution registry, 2 and 3
	EventsDockerHub    = "dockerhub"    // Docker Hub's webhooks
	EventsGHCR         = "ghcr"         // GitHub's events registry_package and package
)

// A Push is one image that got a tag in a registry, as the registry tells it. It is a hint: what the tag stands for is
// asked in the registry.
type Push struct {
	Host   string // of the registry, where the event is trusted to tell it (EventsGHCR); else empty
	Path   string // of the repository in the registry, as in team/web
	Tag    string
	Digest string    // sha256:…; empty where the registry tells none
	Pusher string    // as the registry calls them; empty for nobody
	At     time.Time // by the registry's clock; the zero time where it tells none
}

// Pushes reads the body of an event in one of the formats above. What is no push of a tagged image (deletions, pulls,
// scans, layers, charts, signatures, images without a tag) is left out, so there may be none; an error tells that the
// body is not of that format.
func Pushes(format string, body []byte) ([]Push, error) {
	read, ok := map[string]func([]byte) ([]Push, error){
		EventsTCR:          harborPushes,
		EventsHarbor:       harborPushes,
		EventsDistribution: distributionPushes,
		EventsDockerHub:    dockerHubPushes,
		EventsGHCR:         ghcrPushes,
	}[format]
	if !ok {
		return nil, fmt.Errorf("there are no registry events of the kind %q", format)
	}
	pushes, err := read(body)
	if err != nil {
		return nil, fmt.Errorf("this is no event of %s: %w", format, err)
	}
	kept := slices.DeleteFunc(pushes, func(p Push) bool { return p.Tag == "" || referrer.MatchString(p.Tag) })
	for i := range kept {
		if err := kept[i].check(); err != nil {
			return nil, fmt.Errorf("this is no event of %s: %w", format, err)
		}
	}
	return kept, nil
}

var (
	repositoryPath = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`) // OCI distribution specification, "name"
	digestPattern  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// referrer is a tag under which signatures, SBOMs and the like of another image are kept: those of cosign
	// (sha256-….sig), and the OCI distribution specification's "Referrers Tag Schema".
	referrer = regexp.MustCompile(`^sha256-[0-9a-f]{64}($|\.)`)
)

// maxPusher is how much of a pusher's name is kept, in characters.
const maxPusher = 100

func (p *Push) check() error {
	switch {
	case !repositoryPath.MatchString(p.Path) || len(p.Path) > 255:
		return fmt.Errorf("%q is no repository", p.Path)
	case !tagPattern.MatchString(p.Tag):
		return fmt.Errorf("%q is no tag", p.Tag)
	case p.Digest != "" && !digestPattern.MatchString(p.Digest):
		return fmt.Errorf("%q is no digest (sha256: and 64 hexadecimal digits)", p.Digest)
	}
	if y := p.At.Year(); y < 1970 || y > 9999 {
		p.At = time.Time{}
	}
	// A pusher is shown to people, among words that mention and link.
	name := []rune(strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._$+:-[]", r) {
			return r
		}
		return '_'
	}, strings.ToValidUTF8(p.Pusher, "_")))
	p.Pusher = string(name[:min(len(name), maxPusher)])
	return nil
}

// harborPushes reads what TCR ("触发器", its webhook's body) and Harbor ("Configure Webhook Notifications") send.
func harborPushes(body []byte) ([]Push, error) {
	type data struct {
		Resources []struct {
			Digest string `json:"digest"`
			Tag    string `json:"tag"`
			URL    string `json:"resource_url"`
		} `json:"resources"`
		Repository struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
			FullName  string `json:"repo_full_name"`
		} `json:"repository"`
	}
	var e struct {
		Type     string `json:"type"`
		At       int64  `json:"occur_at"` // seconds
		Operator string `json:"operator"`
		Event    *data  `json:"event_data"`

		// As a CloudEvent, its specification's JSON format.
		SpecVersion string    `json:"specversion"`
		Time        time.Time `json:"time"`
		CloudUser   string    `json:"operator_name"`
		Data        *data     `json:"data"`
	}
	if err := object(body, &e); err != nil {
		return nil, err
	}
	if e.Type == "" {
		return nil, errors.New(`it has no "type"`)
	}
	// The names of Harbor 1 and TCR, of Harbor 2, and of its CloudEvents.
	if !slices.Contains([]string{"pushImage", "PUSH_ARTIFACT", "harbor.artifact.pushed"}, e.Type) {
		return nil, nil
	}
	d, at := e.Event, time.Time{}
	if e.At > 0 {
		at = time.Unix(e.At, 0)
	}
	if e.SpecVersion != "" {
		d, at = e.Data, e.Time
	}
	if d == nil {
		return nil, fmt.Errorf("its %s has no data", e.Type)
	}
	path := d.Repository.FullName
	if path == "" && d.Repository.Namespace != "" && d.Repository.Name != "" {
		path = d.Repository.Namespace + "/" + d.Repository.Name
	}
	var pushes []Push
	for _, r := range d.Resources {
		p := Push{Path: path, Tag: r.Tag, Digest: r.Digest, Pusher: cmp.Or(e.Operator, e.CloudUser), At: at}
		if digestPattern.MatchString(p.Tag) { // Harbor 2 gives the digest for the tag where there is none
			p.Tag = ""
		}
		pushes = append(pushes, p)
	}
	return pushes, nil
}

// distributionPushes reads an envelope of the registry's notifications ("Work with notifications").
func distributionPushes(body []byte) ([]Push, error) {
	var envelope struct {
		Events []struct {
			At     time.Time `json:"timestamp"`
			Action string    `json:"action"`
			Target struct {
				MediaType  string `json:"mediaType"`
				Digest     string `json:"digest"`
				Repository string `json:"repository"`
				Tag        string `json:"tag"`
			} `json:"target"`
			Actor struct {
				Name string `json:"name"`
			} `json:"actor"`
		} `json:"events"`
	}
	if err := object(body, &envelope); err != nil {
		return nil, err
	}
	if envelope.Events == nil {
		return nil, errors.New(`it has no "events"`)
	}
	var pushes []Push
	for _, e := range envelope.Events {
		if e.Action == "push" && manifestTypes[e.Target.MediaType] {
			pushes = append(pushes, Push{Path: e.Target.Repository, Tag: e.Target.Tag, Digest: e.Target.Digest, Pusher: e.Actor.Name, At: e.At})
		}
	}
	return pushes, nil
}

// dockerHubPushes reads Docker Hub's webhook ("Webhooks", example payload). Its callback_url is nobody's business: a call
// to an address that a body names could be sent anywhere.
func dockerHubPushes(body []byte) ([]Push, error) {
	var e struct {
		Push *struct {
			At     float64 `json:"pushed_at"` // seconds
			Pusher string  `json:"pusher"`
			Tag    string  `json:"tag"`
		} `json:"push_data"`
		Repository struct {
			Full      string `json:"repo_name"`
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"repository"`
	}
	if err := object(body, &e); err != nil {
		return nil, err
	}
	if e.Push == nil {
		return nil, errors.New(`it has no "push_data"`)
	}
	path := e.Repository.Full
	if path == "" && e.Repository.Namespace != "" && e.Repository.Name != "" {
		path = e.Repository.Namespace + "/" + e.Repository.Name
	}
	p := Push{Path: path, Tag: e.Push.Tag, Pusher: e.Push.Pusher}
	if e.Push.At > 0 {
		p.At = time.Unix(int64(e.Push.At), 0)
	}
	return []Push{p}, nil
}

// ghcrPushes reads GitHub's events registry_package and package ("Webhook events and payloads"); the two have one shape.
func ghcrPushes(body []byte) ([]Push, error) {
	type pkg struct {
		Type    string `json:"package_type"`
		Version struct {
			Digest    string `json:"version"`
			URL       string `json:"package_url"` // ghcr.io/acme/web:v1
			Container struct {
				Tag struct {
					Name   string `json:"name"`
					Digest string `json:"digest"`
				} `json:"tag"`
			} `json:"container_metadata"`
		} `json:"package_version"`
	}
	var e struct {
		Action   string `json:"action"`
		Registry *pkg   `json:"registry_package"`
		Package  *pkg   `json:"package"`
		Sender   struct {
			Login string `json:"login"`
		} `json:"sender"`
	}
	if err := object(body, &e); err != nil {
		return nil, err
	}
	p := cmp.Or(e.Registry, e.Package)
	switch {
	case p == nil:
		return nil, errors.New("it has no package")
	case e.Action != "published" && e.Action != "updated", !strings.EqualFold(p.Type, "container"):
		return nil, nil
	}
	v := p.Version
	host, path, _ := strings.Cut(v.URL, "/")
	path, _, _ = strings.Cut(path, "@")
	path, _, _ = strings.Cut(path, ":")
	push := Push{Host: strings.ToLower(host), Path: strings.ToLower(path), Tag: v.Container.Tag.Name,
		Digest: cmp.Or(v.Container.Tag.Digest, v.Digest), Pusher: e.Sender.Login}
	if !hostPattern.MatchString(push.Host) {
		return nil, fmt.Errorf("%q names no registry", v.URL)
	}
	return []Push{push}, nil
}

var hostPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?$`)

// object reads a body that is one JSON object and nothing else.
func object(body []byte, into any) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return errors.New("it is no JSON object")
	}
	return json.Unmarshal(body, into)
}
