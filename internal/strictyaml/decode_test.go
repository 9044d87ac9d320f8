package strictyaml_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shipmate-dev/shipmate/internal/strictyaml"
)

type shape struct {
	Name    string            `yaml:"name"`
	Count   int               `yaml:"count"`
	On      bool              `yaml:"on"`
	Timeout time.Duration     `yaml:"timeout"`
	Args    map[string]string `yaml:"args"`
	List    []string          `yaml:"list"`
	Items   []item            `yaml:"items"`
	Hosts   map[string]item   `yaml:"hosts"`
	Limit   *limit            `yaml:"limit"`
	Colour  colour            `yaml:"colour"`
	common  `yaml:",inline"`
	Derived string
}

type common struct {
	Shared string `yaml:"shared"`
}

type limit struct {
	Max int64 `yaml:"max"`
}

// item may be written as its address alone.
type item struct {
	Addr  string    `yaml:"addr"`
	Empty *struct{} `yaml:"empty"`
}

func (i *item) UnmarshalText(text []byte) error {
	i.Addr = string(text)
	return nil
}

type colour string

func (c *colour) UnmarshalText(text []byte) error {
	if string(text) != "red" {
		return fmt.Errorf("%q is no colour; write red", text)
	}
	*c = colour(text)
	return nil
}

func TestDecode(t *testing.T) {
	got := shape{Name: "kept", Count: 7}
	doc := strictyaml.Decode("f.yaml", []byte(`
# what is not mentioned keeps its value
count: 3
on: true
timeout: 1d12h
args: {GO_VERSION: 1.20, DEBUG: true, N: 010}
list:
  - a
  - /^release\/.*/
items:
  - unix:///x
  - {addr: tcp://y}
  - empty:
hosts:
  registry.example.com:5000: {addr: z}
limit: {max: 5}
colour: red
shared: s
`), &got)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	want := shape{
		Name: "kept", Count: 3, On: true, Timeout: 36 * time.Hour,
		Args:   map[string]string{"GO_VERSION": "1.20", "DEBUG": "true", "N": "010"},
		List:   []string{"a", `/^release\/.*/`},
		Items:  []item{{Addr: "unix:///x"}, {Addr: "tcp://y"}, {Empty: &struct{}{}}},
		Hosts:  map[string]item{"registry.example.com:5000": {Addr: "z"}},
		Limit:  &limit{5},
		Colour: "red",
		common: common{"s"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for path, line := range map[string]int{
		"count": 3, "list[1]": 9, "items[1].addr": 12, "items[1].missing": 12, "items[9]": 10,
		"hosts.registry.example.com:5000.addr": 15, "nothing": 3,
	} {
		if at := doc.At(path); at.Line != line {
			t.Errorf("At(%s) = %s, want line %d", path, at, line)
		}
	}
	if !doc.Has("limit.max") || doc.Has("name") {
		t.Error("Has must say what the file has")
	}
}

func TestMistakes(t *testing.T) {
	tests := map[string]struct {
		yaml string
		want []string // whole lines, without the file's name
	}{
		"unknown key, near":          {"nmae: x", []string{`1: nmae: unknown key; did you mean name?`}},
		"unknown key, not near":      {"zzzzzzz: x", []string{`1: zzzzzzz: unknown key; known keys: name, count, on, timeout, args, list, items, hosts, limit, colour, shared`}},
		"unknown key inside":         {"limit:\n  maxx: 1", []string{`2: limit.maxx: unknown key; did you mean max?`}},
		"field without a tag":        {"Derived: x", []string{`1: Derived: unknown key; known keys: name, count, on, timeout, args, list, items, hosts, limit, colour, shared`}},
		"duplicate key":              {"name: a\ncount: 1\nname: b", []string{`3: name: is here a second time, after line 1; remove one`}},
		"duplicate in a map":         {"args: {A: 1, A: 2}", []string{`1: args.A: is here a second time, after line 1; remove one`}},
		"number wanted":              {"count: many", []string{`1: count: must be a whole number, not a text; write for example 2, without quotes`}},
		"quoted number":              {`count: "2"`, []string{`1: count: must be a whole number, not a text; write for example 2, without quotes`}},
		"fraction":                   {"count: 1.5", []string{`1: count: must be a whole number, not a fraction; write for example 2, without quotes`}},
		"number too large":           {"count: 99999999999999999999", []string{`1: count: must be a whole number, not a fraction; write for example 2, without quotes`}},
		"bool wanted":                {"on: yes", []string{`1: on: must be true or false, not a text; write one of them without quotes`}},
		"span wanted":                {"timeout: 30", []string{`1: timeout: "30" is no time span; write for example 90s, 30m, 1h30m or 30d`}},
		"negative span":              {"timeout: -5m", []string{`1: timeout: "-5m" is no time span; write for example 90s, 30m, 1h30m or 30d`}},
		"list for a text":            {"name: [a]", []string{`1: name: must be a single value, not a list; write it on this line`}},
		"text for a list":            {"list: a", []string{`1: list: must be a list, not a text; write [a, b], or one entry a line after a dash`}},
		"text for a struct":          {"limit: 5", []string{`1: limit: must be keys and values, not another number; write key: value, one a line`}},
		"list for a map":             {"args: [A]", []string{`1: args: must be keys and values, not a list; write key: value, one a line`}},
		"list for text or struct":    {"items: [[a]]", []string{`1: items[0]: must be keys and values, not a list; write key: value, one a line`}},
		"mapping for a custom text":  {"colour: {a: b}", []string{`1: colour: must be a single value, not keys and values; write it on this line`}},
		"custom text":                {"colour: blue", []string{`1: colour: "blue" is no colour; write red`}},
		"no value":                   {"name:\ncount: ~", []string{`1: name: has no value; write one or remove the key`, `2: count: has no value; write one or remove the key`}},
		"anchor and alias":           {"name: &a x\nlist: [*a]", []string{`1: an anchor (&) is not supported; write the value out wherever it is needed, in quotes if it begins with &`, `2: an alias (*) is not supported; write the value itself here, in quotes if it begins with *`}},
		"alias of nothing":           {"count: 1\nname: *a", []string{`2: an alias (*) is not supported; write the value itself here, in quotes if it begins with *`}},
		"merge key":                  {"limit:\n  <<: {max: 1}", []string{`2: the merge key << is not supported; write the keys out`}},
		"alias as a key":             {"? &a x\n: 1\n*a : 2", []string{`1: an anchor (&) is not supported; write the value out wherever it is needed, in quotes if it begins with &`, `3: an alias (*) is not supported; write the value itself here, in quotes if it begins with *`}},
		"list as a key":              {"? [a]\n: 1", []string{`1: a key is a list; write a single word`}},
		"tag":                        {"name: !!binary aGk=", []string{`1: a tag (!) is not supported; remove it, or put the value in quotes if it begins with !`}},
		"tab":                        {"limit:\n\tmax: 1", []string{`2: is indented with a tab; use spaces`}},
		"two documents":              {"name: a\n---\nname: b", []string{`3: a second document begins here; put everything into one and remove the line ---`}},
		"broken second document":     {"name: a\n---\nname: [", []string{`3: is not YAML (did not find expected node content); look at the indentation, quotes and brackets near this line`}},
		"empty":                      {"", []string{`1: is empty; write at least one key`}},
		"only a comment":             {"# nothing\n", []string{`1: is empty; write at least one key`}},
		"null":                       {"null", []string{`1: is empty; write at least one key`}},
		"a list":                     {"- a", []string{`1: is a list; write keys and values, as in key: value`}},
		"a text":                     {"false", []string{`1: is true or false; write keys and values, as in key: value`}},
		"key that would break lines": {`"a\nb": 1`, []string{`1: "a\nb": unknown key; known keys: name, count, on, timeout, args, list, items, hosts, limit, colour, shared`}},
		"all at once": {"nmae: x\ncount: many\nitems:\n- adr: x\nlimit: {max: a}\n", []string{
			`1: nmae: unknown key; did you mean name?`,
			`2: count: must be a whole number, not a text; write for example 2, without quotes`,
			`4: items[0].adr: unknown key; did you mean addr?`,
			`5: limit.max: must be a whole number, not a text; write for example 2, without quotes`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := strictyaml.Decode("f", []byte(test.yaml), &shape{}).Err()
			var errs strictyaml.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v, want Errors", err)
			}
			want := "f:" + strings.Join(test.want, "\nf:")
			if err.Error() != want {
				t.Errorf("got\n%s\nwant\n%s", err, want)
			}
			var one *strictyaml.Error
			if !errors.As(err, &one) || one != errs[0] {
				t.Error("errors.As must find the first mistake")
			}
		})
	}
}

func TestHostileInput(t *testing.T) {
	laughs := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'z'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	tests := map[string]struct {
		yaml string
		want string
	}{
		"billion laughs":         {laughs, "an anchor (&) is not supported"},
		"alias to itself":        {"name: &a [*a]", "an alias (*) is not supported"},
		"too large":              {"name: " + strings.Repeat("x", strictyaml.MaxSize), "is larger than 1 MiB"},
		"deep flow":              {"name: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested deeper than 100 levels"},
		"deep block":             {"name:\n" + strings.Repeat("- ", 5000) + "x", "nested deeper than 100 levels"},
		"many mistakes":          {strings.Repeat("z: 1\n", 50000), "more than 100 mistakes"},
		"key of a megabyte":      {strings.Repeat("z", 1000) + ": 1", "unknown key"},
		"bytes that are no text": {"name: \xff\xfe\x00", "is not YAML"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := strictyaml.Decode("f", []byte(test.yaml), &shape{}).Err()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.300v, want %q", err, test.want)
			}
			if err != nil && len(err.Error()) > 50_000 {
				t.Errorf("an error text of %d bytes", len(err.Error()))
			}
		})
	}
}

// A credential in a place where none belongs must not come out in the error about it.
func TestValuesAreNotRepeated(t *testing.T) {
	for _, yaml := range []string{
		"count: hunter2", "on: hunter2", "list: hunter2", "limit: hunter2", "hosts: hunter2", "items: [[hunter2]]", "colour: {a: hunter2}",
		"name: *hunter2", "name: &hunter2 x", "name: !hunter2 x", "name: {hunter2: x", "name: hunter2: x", "name: [hunter2]", "hunter2",
		"name: \"hunter2", "name: 'hunter2' x", "name: @hunter2", "name: %hunter2", "name: `hunter2", "name: x\n hunter2\n: y",
	} {
		if err := strictyaml.Decode("f", []byte(yaml), &shape{}).Err(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", yaml, err)
		}
	}
}

func TestChecksAddTheirMistakes(t *testing.T) {
	doc := strictyaml.Decode("f", []byte("name: a\nitems:\n- adr: x\n- 5\nlimit: [1]\n"), &shape{})
	doc.Errorf("limit.max", "must not be told: limit itself is wrong already")
	doc.Errorf("items[1].addr", "is odd; write %d", 6)
	doc.Errorf("items[1].addr", "must not be told: once is enough")
	doc.Errorf("", "is nothing; write something")
	want := `f:1: is nothing; write something
f:3: items[0].adr: unknown key; did you mean addr?
f:4: items[1].addr: is odd; write 6
f:5: limit: must be keys and values, not a list; write key: value, one a line`
	if got := doc.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNothingIsAddedToAFileThatCannotBeRead(t *testing.T) {
	for _, yaml := range []string{"", "a: [", "name: &a x", "- a"} {
		doc := strictyaml.Decode("f", []byte(yaml), &shape{})
		before := doc.Err().Error()
		doc.Errorf("name", "is missing; write one")
		if got := doc.Err().Error(); got != before {
			t.Errorf("%q: got\n%s", yaml, got)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"name", "namespace", "staging", "production"}
	for name, want := range map[string]string{
		"nmae": "name", "Name": "name", "stagin": "staging", "prodcution": "production", "namespaces": "namespace",
		"": "", "qa": "", "preview": "", "PRODUCTION": "production", "stg": "",
		strings.Repeat("x", 1<<20): "",
	} {
		if got := strictyaml.Nearest(name, known); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", name, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "3650d": 87600 * time.Hour,
	} {
		if got, err := strictyaml.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "-1h", "1d-1h", "1.5d", "+1h", "1h2d", "99999999d", "3651d", "3650d1s", "9999999h", "1d1d", "½h"} {
		if got, err := strictyaml.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		} else if !strings.Contains(err.Error(), ";") {
			t.Errorf("ParseDuration(%q): %v does not say what to write", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("name: a\nitems: [b, {addr: c}]\nargs: {A: 1}\n"))
	f.Add([]byte("? &a x\n: *a\n---\n<<: [!!binary a]"))
	f.Add([]byte("limit:\n\tmax: 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v shape
		doc := strictyaml.Decode("f", data, &v)
		err := doc.Err()
		if err == nil {
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(line, "f:") {
				t.Fatalf("a mistake is not one line: %q", line)
			}
		}
	})
}
