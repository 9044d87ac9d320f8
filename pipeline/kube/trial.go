package kube

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// trialTTL is how long a dry run that went well counts: a deployment that waits for nobody is applied as soon as it is compared.
// Later, the cluster may have other rules.
const trialTTL = 30 * time.Second

// trials remembers the dry runs of Diff that met neither a refusal nor a conflict, so that Apply need not repeat one of the same
// object upon the same live one.
type trials struct {
	mu   sync.Mutex
	made map[ObjectRef]trial
}

type trial struct {
	of trialOf
	at time.Time
}

// trialOf is what was tried, and upon what: a hash, and the version of the live object; empty: there was none.
type trialOf struct {
	obj  [sha256.Size]byte
	live string
}

func trialKey(obj, live *unstructured.Unstructured) (of trialOf, ok bool) {
	text, err := json.Marshal(obj.Object)
	if live != nil {
		of.live = string(live.GetUID()) + " " + live.GetResourceVersion()
	}
	of.obj = sha256.Sum256(text)
	return of, err == nil
}

// add remembers that a dry run of obj upon live went well now.
func (t *trials) add(obj, live *unstructured.Unstructured, now time.Time) {
	of, ok := trialKey(obj, live)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made == nil {
		t.made = map[ObjectRef]trial{}
	}
	for ref, old := range t.made {
		if now.Sub(old.at) >= trialTTL {
			delete(t.made, ref)
		}
	}
	t.made[RefOf(obj)] = trial{of, now}
}

// has reports whether a dry run of obj upon live went well a moment ago.
func (t *trials) has(obj, live *unstructured.Unstructured, now time.Time) bool {
	t.mu.Lock()
	last, made := t.made[RefOf(obj)]
	t.mu.Unlock()
	of, ok := trialKey(obj, live)
	return made && ok && last.of == of && now.Sub(last.at) < trialTTL
}
