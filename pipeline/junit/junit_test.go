package junit

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func same(s string) string { return s }

// What runners write, as their own tests and documents show it.
func TestDialects(t *testing.T) {
	tests := map[string]struct {
		xml  string
		want Report
	}{
		"gotestsum": {`<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" errors="0" time="0.507">
	<testsuite tests="3" failures="1" time="0.003000" name="example.com/calc" timestamp="2026-01-02T03:04:05Z">
		<properties><property name="go.version" value="go1.26"></property></properties>
		<testcase classname="example.com/calc" name="TestAdd/small" time="0.001000"></testcase>
		<testcase classname="example.com/calc" name="TestSub" time="0.000000"><failure message="Failed" type="">=== RUN   TestSub&#xA;    calc_test.go:12: 5 - 3 = 1, want 2&#xA;--- FAIL: TestSub (0.00s)&#xA;</failure></testcase>
		<testcase classname="example.com/calc" name="TestMul" time="0.000000"><skipped message="not yet"></skipped></testcase>
	</testsuite>
</testsuites>`, Report{Tests: 3, Failed: 1, Skipped: 1, Duration: 507 * time.Millisecond,
			Failing: []Test{{"example.com/calc", "TestSub", "    calc_test.go:12: 5 - 3 = 1, want 2\n--- FAIL: TestSub (0.00s)"}}}},
		"pytest": {`<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.412" hostname="ci">
<testcase classname="tests.test_calc.TestCalc" name="test_add[1-2]" time="0.001" />
<testcase classname="tests.test_calc.TestCalc" name="test_sub" time="0.002"><failure message="AssertionError: assert 1 == 2&#10;  +  where 1 = sub(3, 2)">def test_sub():
&gt;       assert sub(3, 2) == 2</failure><error message="failed on teardown with &quot;OSError&quot;">...</error></testcase>
<testcase classname="tests.test_db" name="test_open" time="0.000"><error message="failed on setup with &quot;ConnectionRefusedError&quot;">trace</error></testcase>
<testcase classname="tests.test_db" name="test_skip" time="0.000"><skipped type="pytest.skip" message="no database">x.py:3: no database</skipped></testcase>
</testsuite></testsuites>`, Report{Tests: 4, Failed: 1, Errors: 1, Skipped: 1, Duration: 412 * time.Millisecond, Failing: []Test{
			{"tests.test_calc.TestCalc", "test_sub", "AssertionError: assert 1 == 2\n  +  where 1 = sub(3, 2)"},
			{"tests.test_db", "test_open", `failed on setup with "ConnectionRefusedError"`}}}},
		"jest-junit": {`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="2" failures="1" errors="0" time="1.234">
  <testsuite name="math" errors="0" failures="1" skipped="0" time="0.9" tests="2">
    <testcase classname="math adds" name="math adds" time="0.005"/>
    <testcase classname="math subtracts" name="math subtracts" time="0.004">
      <failure>Error: expect(received).toBe(expected)

Expected: 2
Received: 1
    at Object.toBe (math.test.js:8:21)
    at Promise.then.completed (node_modules/jest-circus)
    at new Promise (&lt;anonymous&gt;)</failure>
      <failure>a second one</failure>
    </testcase>
  </testsuite>
</testsuites>`, Report{Tests: 2, Failed: 1, Duration: 1234 * time.Millisecond, Failing: []Test{{"", "math subtracts",
			"Error: expect(received).toBe(expected)\nExpected: 2\nReceived: 1\n    at Object.toBe (math.test.js:8:21)\n    at Promise.then.completed (node_modules/jest-circus) …"}}}},
		"surefire": {`<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="https://maven.apache.org/surefire/surefire-test-report.xsd" version="3.0" name="com.example.CalcTest" time="1,234.5" tests="3" errors="0" skipped="0" failures="1">
  <properties><property name="java.version" value="21"/></properties>
  <testcase name="adds" classname="com.example.CalcTest" time="0.01"><system-out><![CDATA[<failure> in what it printed]]></system-out></testcase>
  <testcase name="flaky" classname="com.example.CalcTest" time="0.02"><flakyFailure message="first try" type="x"><stackTrace>t</stackTrace></flakyFailure></testcase>
  <testcase name="subtracts" classname="com.example.CalcTest" time="0.03"><failure message="expected: &lt;2&gt; but was: &lt;1&gt;" type="org.opentest4j.AssertionFailedError"><![CDATA[org.opentest4j.AssertionFailedError: expected]]></failure><rerunFailure message="again" type="x"/></testcase>
</testsuite>`, Report{Tests: 3, Failed: 1, Duration: 1234500 * time.Millisecond, Failing: []Test{{"com.example.CalcTest", "subtracts", "expected: <2> but was: <1>"}}}},
		"gradle": {`<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.example.CalcTest" tests="2" skipped="1" failures="0" errors="0" timestamp="2026-01-02T03:04:05" hostname="ci" time="0.021">
  <properties/>
  <testcase name="adds()" classname="com.example.CalcTest" time="0.019"/>
  <testcase name="later()" classname="com.example.CalcTest" time="0.0"><skipped/></testcase>
  <system-out><![CDATA[]]></system-out>
</testsuite>`, Report{Tests: 2, Skipped: 1, Duration: 21 * time.Millisecond}},
		"suites in suites (PHPUnit)": {`<testsuites><testsuite name="all" time="0.5"><testsuite name="A" time="0.5"><testcase name="a" class="A" time="0.2"/><testsuite name="a with data"><testcase name="a #1" time="0.3"><error>it broke</error></testcase></testsuite></testsuite></testsuite></testsuites>`,
			Report{Tests: 2, Errors: 1, Duration: 500 * time.Millisecond, Failing: []Test{{"", "a #1", "it broke"}}}},
		"googletest": {`<testsuites tests="2" failures="0" disabled="1" errors="0" time="0."><testsuite name="F"><testcase name="Runs" status="run" time="0.25" classname="F"/><testcase name="Not" status="notrun" time="0." classname="F"/></testsuite></testsuites>`,
			Report{Tests: 2, Skipped: 1, Duration: 250 * time.Millisecond}},
		"no test":             {`<testsuites/>`, Report{}},
		"a namespace":         {`<j:testsuite xmlns:j="urn:x"><j:testcase name="a"><j:failure message="m"/></j:testcase></j:testsuite>`, Report{Tests: 1, Failed: 1, Failing: []Test{{"", "a", "m"}}}},
		"no name":             {`<testsuite><testcase classname="C"><failure/></testcase></testsuite>`, Report{Tests: 1, Failed: 1, Failing: []Test{{"", "C", ""}}}},
		"times that are none": {`<testsuite time="NaN"><testcase name="a" time="-5"/><testcase name="b" time="1e300"/><testcase name="c" time="Inf"/></testsuite>`, Report{Tests: 3}},
	}
	for name, tt := range tests {
		got, err := Parse(strings.NewReader(tt.xml), same)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", name, err, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ xml, want string }{
		"nothing":         {"", "it is empty"},
		"spaces":          {"  \n ", "it is empty"},
		"another format":  {"<html><body/></html>", "line 1: <html> is no JUnit report"},
		"no XML":          {"{}", "it is empty"},
		"cut off":         {"<testsuite>\n<testcase name='a'>", "line 2: unexpected EOF"},
		"an unknown word": {"<testsuite>&lol;</testsuite>", "line 1: invalid character entity &lol;"},
		"billion laughs":  {"<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]>\n<testsuite name=\"&lol2;\"/>", "line 1: a document type is not read"},
		"a file of ours":  {`<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>`, "line 1: a document type is not read"},
		"deep":            {strings.Repeat("<testsuite>", 101), "line 1: there are more than 100 elements"},
		"another script":  {`<?xml version="1.0" encoding="GBK"?><testsuite/>`, `it is written in "GBK"; only UTF-8 is read`},
		"not UTF-8":       {"<testsuite name=\"\xff\"/>", "line 1: invalid UTF-8"},
		"control":         {"<testsuite>\n\x1b[31m</testsuite>", "line 2: illegal character code U+001B"},
	}
	for name, tt := range tests {
		got, err := Parse(strings.NewReader(tt.xml), same)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !reflect.DeepEqual(got, Report{}) {
			t.Errorf("%s: %+v, %v; want %s", name, got, err, tt.want)
		}
	}
	broken := errors.New("the disk is gone")
	if _, err := Parse(io.MultiReader(strings.NewReader("<testsuite>"), &failing{broken}), same); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("%v", err)
	}
}

type failing struct{ error }

func (f *failing) Read([]byte) (int, error) { return 0, f.error }

// What is kept is capped, and masked before it is cut.
func TestCaps(t *testing.T) {
	var b strings.Builder
	b.WriteString("<testsuite>")
	for i := range 60 {
		fmt.Fprintf(&b, `<testcase name="%s %d"><failure message="%s secret%s"/></testcase>`, strings.Repeat("长", 300), i, strings.Repeat("x", 495), strings.Repeat("\n&#10;line", 9))
	}
	b.WriteString("</testsuite>")
	mask := func(s string) string { return strings.ReplaceAll(s, "secret", "•••") }
	got, err := Parse(strings.NewReader(b.String()), mask)
	if err != nil || got.Failed != 60 || len(got.Failing) != 50 {
		t.Fatalf("%v, %d failed, %d kept", err, got.Failed, len(got.Failing))
	}
	for _, f := range got.Failing {
		if n := utf8.RuneCountInString(f.Name); n != 200 {
			t.Errorf("a name of %d characters", n)
		}
		if n := utf8.RuneCountInString(f.Message); n != 500 || strings.Contains(f.Message, "sec") || !strings.HasSuffix(f.Message, "…") {
			t.Errorf("a message of %d characters: …%s", n, f.Message[len(f.Message)-20:])
		}
	}
	sum := Report{Tests: 1}
	sum.Add(got)
	sum.Add(got)
	if sum.Tests != 121 || sum.Failed != 120 || len(sum.Failing) != 50 || sum.Bad() != 120 {
		t.Errorf("the sum is %d tests, %d failed, %d kept", sum.Tests, sum.Failed, len(sum.Failing))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`<testsuites><testsuite time="1"><testcase name="a" time="1"><failure message="m">t</failure></testcase></testsuite></testsuites>`)
	f.Add(`<testsuite><testcase><error/><skipped/></testcase></testcase></testsuite>`)
	f.Add(`<testsuite><failure/><testcase><failure><testcase/></failure></testcase></testsuite><testsuite/>`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(strings.NewReader(s), same)
		if err != nil && !reflect.DeepEqual(r, Report{}) {
			t.Errorf("%+v with %v", r, err)
		}
		if r.Failed+r.Errors+r.Skipped > r.Tests || len(r.Failing) > min(r.Bad(), maxFailing) || r.Duration < 0 {
			t.Errorf("%+v", r)
		}
		for _, f := range r.Failing {
			if !utf8.ValidString(f.Name+f.Message) || strings.ContainsAny(f.Name, "\n\r") {
				t.Errorf("%q", f)
			}
		}
	})
}
