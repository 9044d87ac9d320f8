package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Change is what an apply would do to one object.
type Change struct {
	Object string   // as in Deployment/web
	Action string   // create, update, none, or unknown where it can't be tried
	Text   string   // lines of a unified diff, YAML, values of Secrets masked
	Note   string   // why it can't be tried, or which conflict an apply would meet; may be empty
	Takes  []string // managers such as kubectl-client-side-apply, whose fields an adoption would take over
	Loses  []string // fields that it would remove by that, as far as kubectl tells
	// Conflict is what Note tells of, where an apply would meet one; nil: none.
	Conflict *Conflict
	Drift    []Drift // what somebody changed of what was released before, and an apply may undo
}

const diffContext = 2 // unchanged lines around a change

// Diff says what applying objs would change, by a server-side dry run of each
// that is not as it says already, against the live object. What only the server or Shipmate's bookkeeping sets is left out.
// What the cluster would refuse is an error, as in Apply, but a conflict is a note.
// released is what was applied before, to tell what drifted of it; it may be empty.
func (c *Cluster) Diff(ctx context.Context, objs, released []*unstructured.Unstructured) ([]Change, error) {
	coming := comingWith(objs)
	found := c.read(ctx, objs)
	changes := make([]Change, len(objs))
	err := each(len(objs), func(n int) (err error) {
		var before *unstructured.Unstructured
		if i := slices.IndexFunc(released, func(r *unstructured.Unstructured) bool { return RefOf(r).same(RefOf(objs[n])) }); i >= 0 {
			before = released[i]
		}
		changes[n], err = c.diff(ctx, objs[n], before, found[n], coming)
		return err
	})
	if err != nil {
		return nil, err
	}
	return changes, nil
}

func (c *Cluster) diff(ctx context.Context, obj, before *unstructured.Unstructured, found sight, coming coming) (Change, error) {
	change := Change{Object: RefOf(obj).String()}
	live, err := found.live, found.err
	if err == nil && ownedByAnother(obj, live) != nil {
		change.Action, change.Note = "unknown", ownedByAnother(obj, live).Error()
		return change, nil
	}
	if live != nil && before != nil {
		change.Drift = drift(before, live)
	}
	if live != nil {
		if change.Takes = adoptable(live); len(change.Takes) > 0 {
			change.Loses = lost(obj, live)
		}
	}
	obj = scaled(obj, live)
	if err == nil && current(obj, live) {
		change.Action = "none"
		return change, nil
	}
	var after *unstructured.Unstructured
	if err == nil {
		if after, err = c.patch(ctx, obj, false, true); err == nil {
			c.trials.add(obj, live, time.Now())
		}
	}
	var conflict *Conflict
	if errors.As(err, &conflict) {
		change.Note, change.Conflict = conflict.Error(), conflict
		after, err = c.patch(ctx, obj, true, true)
	}
	switch {
	case err == nil:
	case coming.explains(err):
		change.Note = "not tried: its namespace, kind or role comes with this release"
		live, after = nil, obj
	case noDryRun(err):
		change.Action, change.Note = "unknown", "not tried: an admission webhook of the cluster does not support a dry run"
		return change, nil
	default:
		return Change{}, err
	}
	change.Text, err = objectDiff(live, after)
	if err != nil {
		return Change{}, fmt.Errorf("diff %s: %w", change.Object, err)
	}
	switch {
	case live == nil:
		change.Action = "create"
	case change.Text == "":
		change.Action = "none"
	default:
		change.Action = "update"
	}
	return change, nil
}

// objectDiff compares two states of an object; before may be nil.
func objectDiff(before, after *unstructured.Unstructured) (string, error) {
	a, b := presentable(before), presentable(after)
	maskSecrets(a, b)
	old, err := yamlLines(a)
	if err != nil {
		return "", err
	}
	new, err := yamlLines(b)
	if err != nil {
		return "", err
	}
	return unified(old, new), nil
}

// presentable returns a copy without what only the server or our bookkeeping sets.
func presentable(obj *unstructured.Unstructured) *unstructured.Unstructured {
	if obj == nil {
		return nil
	}
	obj = obj.DeepCopy()
	for _, field := range serverFields {
		unstructured.RemoveNestedField(obj.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(obj.Object, "status")
	for _, annotation := range []string{lastApplied, AnnotationRelease, "deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"} {
		unstructured.RemoveNestedField(obj.Object, "metadata", "annotations", annotation)
	}
	if len(obj.GetAnnotations()) == 0 {
		unstructured.RemoveNestedField(obj.Object, "metadata", "annotations")
	}
	return obj
}

// maskSecrets replaces the values of Secrets, so that only whether they differ is seen.
func maskSecrets(before, after *unstructured.Unstructured) {
	if after.GetAPIVersion() != "v1" || after.GetKind() != "Secret" {
		return
	}
	for _, field := range []string{"data", "stringData"} {
		var old map[string]any
		if before != nil {
			old, _ = before.Object[field].(map[string]any)
		}
		new, ok := after.Object[field].(map[string]any)
		if !ok && after.Object[field] != nil {
			after.Object[field] = "***" // of a wrong type, but still secret
		}
		for _, key := range sortedKeys(new) {
			was, existed := old[key]
			switch {
			case !existed:
				new[key] = "***"
			case was == new[key]:
				old[key], new[key] = "***", "***"
			default:
				old[key], new[key] = "*** (before)", "*** (after)"
			}
		}
		for _, key := range sortedKeys(old) {
			if _, still := new[key]; !still {
				old[key] = "***"
			}
		}
	}
}

func yamlLines(obj *unstructured.Unstructured) ([]string, error) {
	if obj == nil {
		return nil, nil
	}
	data, err := yaml.Marshal(obj.Object)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// edit is one line of a diff.
type edit struct {
	op   byte // ' ', '-' or '+'
	line string
}

// unified returns the changed lines with a little context, gaps marked by an
// ellipsis; empty if there is no change.
func unified(old, new []string) string {
	edits := lineDiff(old, new)
	near := make([]bool, len(edits))
	for i, e := range edits {
		if e.op != ' ' {
			for j := max(0, i-diffContext); j <= min(len(edits)-1, i+diffContext); j++ {
				near[j] = true
			}
		}
	}
	var out []string
	shown := true
	for i, e := range edits {
		if !near[i] {
			shown = false
			continue
		}
		if !shown && len(out) > 0 {
			out = append(out, "…")
		}
		shown = true
		out = append(out, string(e.op)+e.line)
	}
	return strings.Join(out, "\n")
}

// lineDiff returns a shortest edit from old to new by the longest common
// subsequence; where that would take too much memory, everything between the
// common head and tail counts as replaced.
func lineDiff(old, new []string) []edit {
	var head, tail []edit
	for len(old) > 0 && len(new) > 0 && old[0] == new[0] {
		head = append(head, edit{' ', old[0]})
		old, new = old[1:], new[1:]
	}
	end := func(s []string) string { return s[len(s)-1] }
	for len(old) > 0 && len(new) > 0 && end(old) == end(new) {
		tail = append(tail, edit{' ', end(old)})
		old, new = old[:len(old)-1], new[:len(new)-1]
	}
	slices.Reverse(tail)
	const maxCells = 4 << 20
	var common [][]int32 // common[i][j]: length for old[i:] and new[j:]
	if len(old)*len(new) <= maxCells {
		common = make([][]int32, len(old)+1)
		for i := range common {
			common[i] = make([]int32, len(new)+1)
		}
		for i := len(old) - 1; i >= 0; i-- {
			for j := len(new) - 1; j >= 0; j-- {
				if old[i] == new[j] {
					common[i][j] = common[i+1][j+1] + 1
				} else {
					common[i][j] = max(common[i+1][j], common[i][j+1])
				}
			}
		}
	}
	edits, i, j := head, 0, 0
	for i < len(old) || j < len(new) {
		switch {
		case common != nil && i < len(old) && j < len(new) && old[i] == new[j]:
			edits = append(edits, edit{' ', old[i]})
			i, j = i+1, j+1
		case i < len(old) && (common == nil || j == len(new) || common[i+1][j] >= common[i][j+1]):
			edits = append(edits, edit{'-', old[i]})
			i++
		default:
			edits = append(edits, edit{'+', new[j]})
			j++
		}
	}
	return append(edits, tail...)
}
