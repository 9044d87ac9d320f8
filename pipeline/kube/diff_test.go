package kube

import (
	"fmt"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	lines := func(s string) []string { return strings.Fields(s) }
	for _, test := range []struct{ old, new, want string }{
		{"a b c", "a b c", ""},
		{"", "", ""},
		{"", "a b", "+a|+b"},
		{"a b", "", "-a|-b"},
		{"a b c", "a x c", " a|-b|+x| c"},
		{"a b", "a b c", " a| b|+c"},
		{"1 2 3 4 5 6 7 8 9", "1 2 3 4 x 6 7 8 9", " 3| 4|-5|+x| 6| 7"},
		{"1 2 3 4 5 6 7 8 9", "x 2 3 4 5 6 7 8 y", "-1|+x| 2| 3|…| 7| 8|-9|+y"},
		{"a a a", "a a", " a| a|-a"},
	} {
		if got := strings.ReplaceAll(unified(lines(test.old), lines(test.new)), "\n", "|"); got != test.want {
			t.Errorf("%q to %q: got %q, want %q", test.old, test.new, got, test.want)
		}
	}
	var old, new []string
	for i := range 5000 {
		old = append(old, fmt.Sprint("old", i))
		new = append(new, fmt.Sprint("new", i))
	}
	if got := strings.Split(unified(old, new), "\n"); len(got) != 10000 { // whoever shows them counts the rest
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}

func TestObjectDiff(t *testing.T) {
	const live = `
apiVersion: v1
kind: Secret
metadata:
  name: a
  annotations: {shipmate.dev/release: "1"}
data: {changed: b2xk, same: c2FtZQ==, gone: Z29uZQ==}
`
	const next = `
apiVersion: v1
kind: Secret
metadata:
  name: a
  annotations: {shipmate.dev/release: "2"}
data: {changed: bmV3, same: c2FtZQ==, added: YWRkZWQ=}
`
	before, after := parse(t, live)[0], parse(t, next)[0]
	before.SetResourceVersion("5")
	got, err := objectDiff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	want := ` apiVersion: v1
 data:
-  changed: '*** (before)'
-  gone: '***'
+  added: '***'
+  changed: '*** (after)'
   same: '***'
 kind: Secret`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if before.GetResourceVersion() != "5" || !strings.Contains(fmt.Sprint(after.Object), "bmV3") {
		t.Error("the comparison changed an object")
	}
	if got, err = objectDiff(nil, parse(t, "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: hunter2, stringData: {a: hunter2, b: [hunter2]}}")[0]); err != nil || strings.Contains(got, "hunter2") {
		t.Errorf("a new Secret shows its values: %s %v", got, err)
	}
	same := parse(t, live)[0]
	if got, err = objectDiff(same, parse(t, strings.Replace(live, `"1"`, `"9"`, 1))[0]); err != nil || got != "" {
		t.Errorf("another release alone is a change: %s %v", got, err)
	}
}
