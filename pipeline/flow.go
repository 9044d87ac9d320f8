package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
	"github.com/shipmate-dev/shipmate/store"
)

// FlowStep is a step of an environment's flow: one of its fields is set.
type FlowStep struct {
	Deploy  *struct{}     `yaml:"deploy" json:",omitempty"`
	Job     string        `yaml:"job" json:",omitempty"`  // the manifest of a Job, relative to the repository's root
	Wait    time.Duration `yaml:"wait" json:",omitempty"` // how long
	Verify  *Verify       `yaml:"verify" json:",omitempty"`
	Webhook *FlowHook     `yaml:"webhook" json:",omitempty"`
	Approve *Approvals    `yaml:"approve" json:",omitempty"` // who has to agree before it goes on; by: default the environment's
}

// Verify asks, again and again while For lasts, what must be so for a deployment to go on. Either HTTP or Prometheus is set.
type Verify struct {
	HTTP   string `yaml:"http" json:",omitempty"`   // http://service:port/path of the environment's namespace, through the API server
	Status int    `yaml:"status" json:",omitempty"` // what that has to answer; default 200

	Prometheus string `yaml:"prometheus" json:",omitempty"` // address of a server with Prometheus's HTTP API
	Query      string `yaml:"query" json:",omitempty"`      // PromQL; each value that it finds counts
	Max        *Limit `yaml:"max" json:",omitempty"`        // which it may have at most
	Min        *Limit `yaml:"min" json:",omitempty"`        // and at least

	For time.Duration `yaml:"for" json:",omitempty"` // how long it must be so; default: once is enough
}

// FlowHook is a request that another program must answer with a success or a redirect, which is not followed.
type FlowHook struct {
	URL    string `yaml:"url"`
	Secret string `yaml:"secret" json:",omitempty"` // a name in the server's file: what the body is signed by; empty: it is not
}

// Limit is a number as a file writes it.
type Limit float64

// UnmarshalText reads a finite number.
func (l *Limit) UnmarshalText(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%q is no number; write for example 0.01", text)
	}
	*l = Limit(f)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l Limit) String() string { return strconv.FormatFloat(float64(l), 'g', -1, 64) }

// UnmarshalText reads the short form, as in "flow: [deploy]".
func (s *FlowStep) UnmarshalText(text []byte) error {
	switch string(text) {
	case "deploy":
		s.Deploy = &struct{}{}
	case "approve":
		s.Approve = &Approvals{}
	default:
		return fmt.Errorf("%q is no step; write deploy, approve, or one of job, wait, verify and webhook with what it is to do", text)
	}
	return nil
}

// UnmarshalJSON reads what is stored with a run or deployment.
func (s *FlowStep) UnmarshalJSON(text []byte) error {
	type plain FlowStep // without this method
	return json.Unmarshal(text, (*plain)(s))
}

// verb and what are the step in two words. Of an address that may hold a secret only the host is told.
func (s FlowStep) verb() (verb, what string) {
	switch {
	case s.Job != "":
		return verbJob, s.Job
	case s.Wait != 0:
		return verbWait, shortDuration(s.Wait)
	case s.Verify != nil && s.Verify.HTTP != "":
		return verbVerify, s.Verify.HTTP
	case s.Verify != nil:
		return verbVerify, s.Verify.Query
	case s.Webhook != nil:
		u, err := url.Parse(s.Webhook.URL)
		if err != nil {
			return verbWebhook, ""
		}
		return verbWebhook, u.Host
	case s.Approve != nil:
		return verbApprove, fmt.Sprint(max(s.Approve.Count, 1))
	}
	return "deploy", ""
}

// String is the step as bot plan tells it, as in "job deploy/migrate.yaml".
func (s FlowStep) String() string {
	verb, what := s.verb()
	return strings.TrimSpace(verb + " " + what)
}

// First parts of the kinds of a flow's steps; the position in the flow, from 1, and what it is about follow, as in
// job/1/deploy/migrate.yaml.
const (
	verbJob     = "job"
	verbWait    = "wait"
	verbVerify  = "verify"
	verbWebhook = "webhook"
	verbApprove = "approve"
)

// steps are the kinds of the steps by which a release gets to the environment once it is rendered.
func (e *Environment) steps() (kinds []string) {
	if len(e.Flow) == 0 {
		return e.deploySteps(false)
	}
	if e.Registry != "" { // before the Jobs, whose pods pull it from there too
		kinds = append(kinds, StepCopy)
	}
	for i, s := range e.Flow {
		if s.Deploy != nil {
			kinds = append(kinds, e.Strategy.steps(false)...)
			continue
		}
		verb, what := s.verb()
		kinds = append(kinds, fmt.Sprintf("%s/%d/%s", verb, i+1, what))
	}
	return kinds
}

// flowStep finds the step of a flow that a kind of step stands for.
func (e *Environment) flowStep(kind string) (verb string, position int, s FlowStep, err error) {
	verb, rest, _ := strings.Cut(kind, "/")
	text, _, _ := strings.Cut(rest, "/")
	position, err = strconv.Atoi(text)
	if err != nil || position < 1 || position > len(e.Flow) {
		return "", 0, s, fmt.Errorf("the flow of %s has no step %q", e.Name, kind)
	}
	return verb, position, e.Flow[position-1], nil
}

// stepsOf are those of the environment that a request speaks of.
func stepsOf(q store.Request) ([]string, error) {
	var spec Spec
	if err := json.Unmarshal(q.Spec, &spec); err != nil {
		return nil, err
	}
	return append([]string{StepRender}, spec.Environment.steps()...), nil
}

const maxFlow = 20

func checkFlow(doc *strictyaml.Document, at string, flow []FlowStep) {
	if !doc.Has(at) {
		return
	}
	deploys := 0
	for i, s := range flow {
		here := fmt.Sprintf("%s[%d]", at, i)
		set := 0
		for _, is := range []bool{s.Deploy != nil, doc.Has(here + ".job"), doc.Has(here + ".wait"), s.Verify != nil, s.Webhook != nil, s.Approve != nil} {
			if is {
				set++
			}
		}
		switch {
		case set > 1:
			doc.Errorf(here, "is more than one step; give each an entry of its own")
		case set == 0:
			doc.Errorf(here, "is no step; write deploy, job, wait, approve, verify or webhook")
		}
		if s.Deploy != nil {
			deploys++
		}
		if doc.Has(here + ".job") {
			s.checkJob(doc, here+".job")
		}
		if doc.Has(here+".wait") && (s.Wait < time.Second || s.Wait > maxTimeout) {
			doc.Errorf(here+".wait", "must be between 1s and 24h; write for example 10m")
		}
		if s.Verify != nil {
			s.Verify.check(doc, here+".verify")
		}
		if s.Approve != nil {
			s.Approve.check(doc, here+".approve")
		}
		if s.Webhook != nil {
			checkAddress(doc, here+".webhook.url", s.Webhook.URL)
			if doc.Has(here + ".webhook.secret") {
				checkServerName(doc, here+".webhook.secret", s.Webhook.Secret, "secret")
			}
		}
	}
	if deploys != 1 {
		doc.Errorf(at, "has deploy %d times; it has to be there once", deploys)
	}
	if len(flow) > maxFlow {
		doc.Errorf(at, "has %d steps; at most %d are possible", len(flow), maxFlow)
	}
}

func (s FlowStep) checkJob(doc *strictyaml.Document, at string) {
	checkPath(doc, at, s.Job)
	if ext := path.Ext(s.Job); s.Job != "" && ext != ".yaml" && ext != ".yml" && ext != ".json" {
		doc.Errorf(at, "%q is no manifest; write the path of a .yaml, .yml or .json file with one Job", s.Job)
	}
}

func (v *Verify) check(doc *strictyaml.Document, at string) {
	switch {
	case (v.HTTP == "") == (v.Prometheus == ""):
		doc.Errorf(at, "asks nothing, or two things; write either http or prometheus")
	case v.HTTP != "":
		if _, _, _, err := v.service(); err != nil {
			doc.Errorf(at+".http", "%s", err)
		}
		for _, key := range []string{"query", "max", "min"} {
			if doc.Has(at + "." + key) {
				doc.Errorf(at+"."+key, "is of prometheus; remove it")
			}
		}
	default:
		checkAddress(doc, at+".prometheus", v.Prometheus)
		if doc.Has(at + ".status") {
			doc.Errorf(at+".status", "is of http; remove it")
		}
		if strings.TrimSpace(v.Query) == "" {
			doc.Errorf(at+".query", "is missing; write what Prometheus is asked, in PromQL")
		}
		switch {
		case v.Max == nil && v.Min == nil:
			doc.Errorf(at, "has no limit; write max, min or both")
		case v.Max != nil && v.Min != nil && *v.Min > *v.Max:
			doc.Errorf(at+".min", "is more than max; swap them")
		}
	}
	if doc.Has(at+".status") && (v.Status < 100 || v.Status > 599) {
		doc.Errorf(at+".status", "is no HTTP status; write for example 200")
	}
	if doc.Has(at+".for") && (v.For < time.Second || v.For > maxTimeout) {
		doc.Errorf(at+".for", "must be between 1s and 24h; write for example 5m")
	}
}

// service splits the address of a Service.
func (v *Verify) service() (name, port, pathAndQuery string, err error) {
	u, err := url.Parse(v.HTTP)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil || strings.Contains(u.Hostname(), ".") {
		return "", "", "", fmt.Errorf("%q is no address of a Service of the namespace; write for example http://web:8080/healthz", v.HTTP)
	}
	if port = u.Port(); port == "" {
		port = "80"
	}
	return u.Hostname(), port, u.RequestURI(), nil
}

func checkAddress(doc *strictyaml.Document, at, address string) {
	if _, err := httpAddress(address); err != nil {
		doc.Errorf(at, "%s", err)
	}
}

// httpAddress reads an address. Its errors do not repeat it: it may hold a secret.
func httpAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return nil, errors.New("is no http or https address; write for example https://prometheus.example.com/")
	case u.User != nil:
		return nil, errors.New("has a password in it, which everyone can read who reads this file; write the address without")
	}
	return u, nil
}
