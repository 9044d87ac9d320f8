package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// current reports whether applying obj would leave live as it is: the fields that we own of it by the API server's account
// are those that obj has, no more and no fewer, and each holds what obj says. A field that somebody else changed or removed
// is not ours any more, and one that obj has no more still is. What is stored in other words than it was written may be
// taken for a difference, and costs an apply that changes nothing; a difference is never taken for none.
func current(obj, live *unstructured.Unstructured) bool {
	if live == nil || live.GetDeletionTimestamp() != nil || obj.GetAPIVersion() != live.GetAPIVersion() {
		return false
	}
	if isCRD(obj) { // Apply waits for one that can't be used yet
		if s, err := stateOf(live); err != nil || !s.stable {
			return false
		}
	}
	ours, ok := appliedFields(live)
	if !ok {
		return false
	}
	wanted, there := obj.DeepCopy().Object, live.Object
	for _, identity := range [][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}} {
		unstructured.RemoveNestedField(wanted, identity...)
	}
	for _, part := range []string{"metadata", "status"} {
		if isZero(wanted[part]) {
			delete(wanted, part)
		}
	}
	if plain, ok := wanted["stringData"].(map[string]any); ok && obj.GetAPIVersion() == "v1" && obj.GetKind() == "Secret" {
		there = withStringData(live, plain)
	}
	stored, known := storedForm(obj)
	return comparison{builtin: known}.holds(wanted, stored, there, ours)
}

// storedForm is obj in the words in which the API server stores it, before it adds its defaults: without what is zero and need not
// be kept, and each quantity in one spelling. A kind, or a field, that we don't know is stored as it is written.
func storedForm(obj *unstructured.Unstructured) (form map[string]any, known bool) {
	typed, err := scheme.Scheme.New(obj.GroupVersionKind())
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(obj.Object, typed, true)
	}
	if err == nil {
		form, err = runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	}
	if err != nil {
		return obj.Object, false
	}
	return form, true
}

// appliedFields are the fields of live that we own by applying them, in the API server's notation (see drift); not ok: it
// does not tell, or in more than one version.
func appliedFields(live *unstructured.Unstructured) (tree map[string]any, ok bool) {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != FieldManager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" {
			continue
		}
		if ok || entry.APIVersion != live.GetAPIVersion() || entry.FieldsV1 == nil || json.Unmarshal([]byte(entry.FieldsV1.GetRawString()), &tree) != nil {
			return nil, false
		}
		ok = true
	}
	return tree, ok
}

// withStringData is a live Secret with those of its values in the clear that plain names: they are only ever written so.
func withStringData(live *unstructured.Unstructured, plain map[string]any) map[string]any {
	data, _ := live.Object["data"].(map[string]any)
	clear := map[string]any{}
	for name := range plain {
		text, ok := data[name].(string)
		if value, err := base64.StdEncoding.DecodeString(text); ok && err == nil {
			clear[name] = string(value)
		}
	}
	there := map[string]any{"stringData": clear}
	for name, value := range live.Object {
		there[name] = value
	}
	return there
}

// comparison compares what is wanted with what is there.
type comparison struct {
	builtin bool // a kind of Kubernetes itself, of which we know what is filled in
}

// holds reports whether tree, the fields that we own, are those of wanted, and live has the same in them as stored, which is
// what wanted is stored as.
func (c comparison) holds(wanted, stored, live any, tree map[string]any) bool {
	owned := len(tree)
	if _, self := tree["."]; self {
		owned--
	}
	if owned == 0 {
		return c.equal(stored, live)
	}
	switch wanted := wanted.(type) {
	case map[string]any:
		kept, _ := stored.(map[string]any)
		there, _ := live.(map[string]any)
		for name, value := range wanted {
			sub, ours := tree["f:"+name].(map[string]any)
			switch now := there[name]; {
			case !ours && c.builtin && value == nil && kept[name] == nil && now == nil:
				continue
			case !ours, (kept[name] == nil) != (now == nil), now != nil && !c.holds(value, kept[name], now, sub):
				return false
			}
			owned-- // where neither exists, it need not be stored, such as a false that is the default
		}
		return owned == 0
	case []any:
		kept, _ := stored.([]any)
		there, _ := live.([]any)
		return len(wanted) == owned && len(kept) == owned && c.holdsItems(wanted, kept, there, tree)
	}
	return false
}

// holdsItems is holds for a list whose items are owned one by one: they must stand in the same order too.
func (c comparison) holdsItems(wanted, stored, live []any, tree map[string]any) bool {
	used, last := map[string]bool{}, -1
	for i, item := range wanted {
		key, at := itemOf(item, live, tree)
		if key == "" || used[key] || at <= last {
			return false
		}
		used[key], last = true, at
		sub, _ := tree[key].(map[string]any)
		if strings.HasPrefix(key, "k:") && !c.holds(item, stored[i], live[at], sub) {
			return false
		}
	}
	return true
}

// itemOf finds the one key of tree that means an item, and where that stands in a live list; "" where none does, or more than one.
func itemOf(item any, live []any, tree map[string]any) (key string, at int) {
	if text, err := json.Marshal(item); err == nil && tree["v:"+string(text)] != nil {
		return "v:" + string(text), slices.IndexFunc(live, func(l any) bool { return comparison{}.equal(item, l) })
	}
	fields, ok := item.(map[string]any)
	if !ok {
		return "", -1
	}
	for k := range tree {
		keys, ok := keysIn(k)
		if !ok || !matches(fields, keys) {
			continue
		}
		if key != "" {
			return "", -1
		}
		key = k
		at = slices.IndexFunc(live, func(l any) bool {
			there, _ := l.(map[string]any)
			for name, value := range keys {
				if fmt.Sprint(there[name]) != fmt.Sprint(value) {
					return false
				}
			}
			return true
		})
	}
	return key, at
}

// fills reports whether the API server would set this field by itself in what is owned as a whole.
func (c comparison) fills(wanted map[string]any, name string, value any) bool {
	return c.builtin && (name == "protocol" && value == "TCP" || name == "apiVersion" && value == "v1" && wanted["fieldPath"] != nil)
}

// equal compares what is owned as a whole. What is null need not be there.
func (c comparison) equal(stored, live any) bool {
	switch w := stored.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		for name, value := range w {
			if !c.equal(value, l[name]) {
				return false
			}
		}
		for name, value := range l {
			if w[name] == nil && value != nil && !c.fills(w, name, value) {
				return false
			}
		}
		return ok
	case []any:
		l, ok := live.([]any)
		return ok && slices.EqualFunc(w, l, c.equal)
	}
	_, text := stored.(string)
	_, both := live.(string)
	return text == both && fmt.Sprint(stored) == fmt.Sprint(live) // the port 80 is not the port "80"
}
