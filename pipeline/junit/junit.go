// Package junit reads the reports of test runners: the XML of JUnit's Ant task, which every runner writes in its own way
// (testmoapp/junitxml has the format as it is understood today).
//
// A report is written by what a stranger's code does. It is read as a stream, without entities, and what is kept of it is
// capped.
package junit

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Report is the sum of one or several files.
type Report struct {
	Tests    int           `json:"tests"`    // all of them
	Failed   int           `json:"failed"`   // of these: an assertion did not hold
	Errors   int           `json:"errors"`   // or the test broke
	Skipped  int           `json:"skipped"`  // or did not run
	Duration time.Duration `json:"duration"` // as the runner says; 0 where it does not
	Failing  []Test        `json:"failing"`  // the first of those that failed or broke, at most 50
}

// A Test did not pass.
type Test struct {
	Suite   string `json:"suite,omitempty"`   // its class or package, where it adds something to the name
	Name    string `json:"name"`              // at most 200 characters, one line
	Message string `json:"message,omitempty"` // the first lines of why, at most 5 lines and 500 characters
}

// The caps of what is kept and read.
const (
	maxFailing = 50
	maxName    = 200
	maxMessage = 500
	maxLines   = 5
	maxDepth   = 100
)

// Bad is how many tests failed or broke.
func (r *Report) Bad() int { return r.Failed + r.Errors }

// Add adds another file's.
func (r *Report) Add(o Report) {
	r.Tests += o.Tests
	r.Failed += o.Failed
	r.Errors += o.Errors
	r.Skipped += o.Skipped
	r.Duration += o.Duration
	r.Failing = append(r.Failing, o.Failing[:min(len(o.Failing), maxFailing-len(r.Failing))]...)
}

// Parse reads one file. mask is applied to every text before it is cut. The error says what is wrong with the file, by its
// line where it has one.
func Parse(in io.Reader, mask func(string) string) (Report, error) {
	d := xml.NewDecoder(in)
	d.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("it is written in %q; only UTF-8 is read", charset)
	}
	p := parser{d: d, mask: mask}
	for {
		t, err := d.Token()
		var syntax *xml.SyntaxError
		switch {
		case errors.Is(err, io.EOF) && !p.begun:
			return Report{}, errors.New("it is empty")
		case errors.Is(err, io.EOF):
			return p.report(), nil
		case errors.As(err, &syntax):
			return Report{}, fmt.Errorf("line %d: %s", syntax.Line, syntax.Msg)
		case err != nil:
			return Report{}, errors.New(strings.TrimPrefix(err.Error(), "xml: "))
		}
		if err := p.token(t); err != nil {
			line, _ := d.InputPos()
			return Report{}, fmt.Errorf("line %d: %w", line, err)
		}
	}
}

// parser follows the elements of one file.
type parser struct {
	d     *xml.Decoder
	mask  func(string) string
	begun bool
	open  []string // the names of the open elements
	sum   Report
	total seconds // of the outermost element
	top   seconds // the sum of the outermost suites
	cases seconds // the sum of the tests

	// Of the open test:

	suite, name, status string
	outcome             string // failure, error, skipped or ""
	message             string // attribute of the first failure or error
	text                strings.Builder
	reading             bool // inside that element
}

type seconds float64

func (p *parser) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return errors.New("a document type is not read; a report needs none")
	case xml.StartElement:
		return p.start(t)
	case xml.EndElement:
		p.end(t.Name.Local)
	case xml.CharData:
		if p.reading && p.text.Len() < 64<<10 {
			p.text.Write(t)
		}
	}
	return nil
}

func (p *parser) start(e xml.StartElement) error {
	name := e.Name.Local
	if !p.begun && name != "testsuites" && name != "testsuite" {
		return fmt.Errorf("<%s> is no JUnit report, which begins with <testsuites> or <testsuite>", name)
	}
	if len(p.open) == maxDepth {
		return fmt.Errorf("there are more than %d elements in each other", maxDepth)
	}
	took := parseSeconds(attr(e, "time"))
	switch {
	case !p.begun:
		p.begun, p.total = true, took
		if name == "testsuite" {
			p.top = took
		}
	case name == "testsuite" && len(p.open) == 1:
		p.top += took
	case name == "testcase":
		p.suite, p.name, p.status = attr(e, "classname"), attr(e, "name"), attr(e, "status")
		p.outcome, p.message = "", ""
		p.text.Reset()
		p.cases += took
	case p.in("testcase") && (name == "failure" || name == "error" || name == "skipped"):
		// A test may fail and then break in its teardown: the first counts, and what was done again (flakyFailure,
		// rerunFailure) does not.
		if p.outcome == "" || p.outcome == "skipped" {
			p.outcome, p.message, p.reading = name, attr(e, "message"), true
			p.text.Reset()
		}
	}
	p.open = append(p.open, name)
	return nil
}

// in tells whether the innermost open element has that name.
func (p *parser) in(name string) bool { return len(p.open) > 0 && p.open[len(p.open)-1] == name }

func (p *parser) end(name string) {
	p.open = p.open[:len(p.open)-1]
	switch name {
	case "failure", "error", "skipped":
		if p.in("testcase") {
			p.reading = false
		}
	case "testcase":
		p.test()
	}
}

func (p *parser) test() {
	p.sum.Tests++
	switch {
	case p.outcome == "failure":
		p.sum.Failed++
	case p.outcome == "error":
		p.sum.Errors++
	case p.outcome == "skipped", slices.Contains([]string{"notrun", "disabled", "skipped"}, p.status):
		p.sum.Skipped++
		return
	default:
		return
	}
	if len(p.sum.Failing) == maxFailing {
		return
	}
	t := Test{Suite: fit(p.mask(p.suite), maxName), Name: fit(p.mask(p.name), maxName), Message: p.why()}
	if t.Name == "" {
		t.Name, t.Suite = t.Suite, ""
	}
	if strings.HasPrefix(t.Name, t.Suite) {
		t.Suite = ""
	}
	p.sum.Failing = append(p.sum.Failing, t)
}

// why is the first lines of why the test did not pass: of the message, and where that says nothing, of the text.
func (p *parser) why() string {
	said := p.mask(p.message)
	if m := strings.TrimSpace(said); m == "" || m == "Failed" { // gotestsum's and go-junit-report's
		said = p.mask(p.text.String())
	}
	var lines []string
	for line := range strings.Lines(said) {
		if line = strings.TrimRight(line, " \t\r\n"); line == "" || strings.HasPrefix(line, "=== ") { // go test's own
			continue
		}
		if len(lines) == maxLines {
			lines = append(lines[:maxLines-1], lines[maxLines-1]+" …")
			break
		}
		lines = append(lines, line)
	}
	return cut(strings.Join(lines, "\n"), maxMessage)
}

func (p *parser) report() Report {
	took := p.total
	for _, other := range []seconds{p.top, p.cases} {
		if took == 0 {
			took = other
		}
	}
	const most = 365 * 24 * 3600 // more is no time that a test took
	if took > 0 && took < most {
		p.sum.Duration = time.Duration(float64(took) * float64(time.Second))
	}
	return p.sum
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// parseSeconds reads a time; Surefire puts a comma after the thousands.
func parseSeconds(s string) seconds {
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil || !(f > 0) { // also not a number
		return 0
	}
	return seconds(f)
}

// fit makes one line of at most limit characters.
func fit(s string, limit int) string { return cut(strings.Join(strings.Fields(s), " "), limit) }

func cut(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
