package pipeline

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/store"
)

// ruleKeys are the keys of an environment in the file that say what may go there, by whom and when. What waits is put under
// them when they change; all others (where it goes, and what is rendered) stay as they were when it was asked for.
var ruleKeys = []string{"after", "soak", "branches", "tags", "approvals", "deployers", "require_checks", "freeze", "conflicts"}

// eachRule calls fn for each field of an environment that is a rule, with its key in the file.
func eachRule(env reflect.Value, fn func(key string, field reflect.Value)) {
	for i := range env.NumField() {
		key, _, _ := strings.Cut(env.Type().Field(i).Tag.Get("yaml"), ",")
		if slices.Contains(ruleKeys, key) {
			fn(key, env.Field(i))
		}
	}
}

// WithRules is e under the rules of another.
func (e Environment) WithRules(of Environment) Environment {
	from := reflect.ValueOf(of)
	to := reflect.ValueOf(&e).Elem()
	eachRule(to, func(key string, field reflect.Value) {
		eachRule(from, func(k string, f reflect.Value) {
			if k == key {
				field.Set(f)
			}
		})
	})
	return e
}

// SamePlace tells whether two environments are the same place, and get the same objects.
func (e Environment) SamePlace(o Environment) bool {
	return e.Cluster == o.Cluster && e.Namespace == o.Namespace && e.Manifests == o.Manifests && e.Registry == o.Registry && slices.Equal(e.Values, o.Values)
}

// Rules lists the rules of an environment by their keys in the file, as texts for people.
func (e Environment) Rules() []store.Rule {
	var rules []store.Rule
	eachRule(reflect.ValueOf(e), func(key string, field reflect.Value) {
		if field.Kind() != reflect.Struct {
			rules = append(rules, store.Rule{Key: key, Value: ruleText(field)})
			return
		}
		for i := range field.NumField() {
			inner := field.Type().Field(i)
			if name, _, _ := strings.Cut(inner.Tag.Get("yaml"), ","); name != "" && inner.IsExported() {
				rules = append(rules, store.Rule{Key: key + "." + name, Value: ruleText(field.Field(i))})
			}
		}
	})
	return rules
}

func ruleText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x == 0 {
			return ""
		}
		return shortDuration(x)
	case encoding.TextMarshaler:
		text, _ := x.MarshalText() // ours do not fail
		return string(text)
	case RequiredCheck:
		return x.String()
	case string, bool, int:
		return fmt.Sprint(x)
	}
	if v.Kind() == reflect.Slice {
		var all []string
		for i := range v.Len() {
			all = append(all, ruleText(v.Index(i)))
		}
		return strings.Join(all, ", ")
	}
	if v.IsZero() {
		return ""
	}
	text, _ := json.Marshal(v.Interface()) // strings and numbers
	return string(text)
}

// shortDuration is a time as a file writes it, as in 72h.
func shortDuration(d time.Duration) string {
	text := d.String() // 72h0m0s
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = strings.TrimSuffix(text, zero[1:])
		}
	}
	return text
}

// ruleChanges compares the rules under which something was asked with those of now.
func ruleChanges(old, now []store.Rule) []store.RuleChange {
	value := func(rules []store.Rule, key string) string {
		for _, r := range rules {
			if r.Key == key {
				return r.Value
			}
		}
		return ""
	}
	var changes []store.RuleChange
	for _, r := range now {
		if was := value(old, r.Key); was != r.Value {
			changes = append(changes, store.RuleChange{Key: r.Key, Old: was, New: r.Value})
		}
	}
	return changes
}

// back tells whether a deployment is a way back, which asks nobody.
func back(d store.Deployment) bool {
	return d.RollbackOf != "" || d.Cause == store.CauseRollback || d.Cause == store.CauseRecovery
}

// asked records under which rules a deployment is asked about. Where they changed since, whatever was voted is void, and
// it is asked about again: everybody sees what changed and whose vote it cost.
func (e *Engine) asked(tx *store.Tx, d store.Deployment, f Facts) (store.Deployment, error) {
	if d.Objects == nil || back(d) {
		return d, nil
	}
	live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
	if err != nil {
		return d, err
	}
	lives := 0
	if live != nil {
		lives = live.Release
	}
	if f.Approvals.Count > 0 || d.Cause == store.CauseNow || d.OrderID != "" {
		if d.Scope.V == nil || d.Scope.V.From != lives {
			if err := tx.Wake(store.TaskScope, d.ID); err != nil {
				return d, err
			}
		}
	}
	before := d.Rules.V
	if before != nil && before.Bound == f.Bound {
		return d, nil
	}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return d, err
	}
	env := spec.Environment
	env.Approvals = f.Approvals
	now := store.Rules{Bound: f.Bound, Asked: env.Rules()}
	if before != nil {
		change := store.RulesChange{At: tx.Now(), Rules: ruleChanges(before.Asked, now.Asked), Void: Approvers(f.Votes, before.Bound)}
		now.Changes = append(slices.Clone(before.Changes), change)
		var what []string
		for _, r := range change.Rules {
			what = append(what, fmt.Sprintf("%s %q → %q", r.Key, r.Old, r.New))
		}
		err := tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "ask again", Repo: d.Repo, Subject: "deployment/" + d.ID,
			Detail: fmt.Sprintf("release %d of %s to %s: the rules changed (%s), void: %s", d.Release, d.App, d.Environment,
				strings.Join(what, "; "), strings.Join(change.Void, ", "))})
		if err != nil {
			return d, err
		}
	}
	if err := tx.SetRules(d, now, before != nil); err != nil {
		return d, err
	}
	if before != nil && d.OrderID != "" {
		if err := tx.AskOrderAgain(d.OrderID); err != nil {
			return d, err
		}
	}
	return tx.Deployment(d.ID)
}

// waitsForApproval tells whether an approval is among what a deployment waits for.
func waitsForApproval(d store.Deployment) bool {
	return d.State == store.Blocked && slices.ContainsFunc(d.Blocks.V, func(b store.Block) bool { return b.Kind == store.BlockApproval })
}

// expire ends what nobody approved in time, and reminds those who may once half of the time is over. next is when to look
// again, the zero time for never.
func (e *Engine) expire(tx *store.Tx, d store.Deployment) (ended bool, next time.Time, err error) {
	if !waitsForApproval(d) || d.ExpiresAt.IsZero() {
		return false, next, nil
	}
	if !tx.Now().Before(d.ExpiresAt.Time) {
		return true, next, tx.EndDeployment(d, store.Expired, store.ReasonUndecided, nil)
	}
	if !d.RemindedAt.IsZero() {
		return false, d.ExpiresAt.Time, nil
	}
	_, rules, err := e.BoundOf(tx, d)
	if err != nil {
		return false, next, err
	}
	half := d.ExpiresAt.Add(-rules.Expire / 2)
	if tx.Now().Before(half) {
		return false, half, nil
	}
	return false, d.ExpiresAt.Time, tx.Remind(d)
}

// RatifyWithin is how long somebody has to agree to what went without approval. It is waited for also afterwards.
const RatifyWithin = 24 * time.Hour

// Overdue tells, once, that nobody agreed in time to a deployment that went without approval.
func (e *Engine) Overdue(ctx context.Context, id string) (again time.Time, err error) {
	err = e.DB.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Deployment(id)
		if err != nil || d.RatifyBy.IsZero() || d.RatifiedBy != "" || !d.RemindedAt.IsZero() {
			return err
		}
		if tx.Now().Before(d.RatifyBy.Time) {
			again = d.RatifyBy.Time
			return nil
		}
		votes, err := tx.Approvals(id)
		if err != nil || slices.ContainsFunc(votes, func(v store.Approval) bool { return v.Vote == "reject" }) {
			return err // everybody heard of that
		}
		return errors.Join(tx.Remind(d), tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "not agreed to in time", Repo: d.Repo, Subject: "deployment/" + d.ID,
			Detail: fmt.Sprintf("release %d of %s went to %s without approval, asked for by %s", d.Release, d.App, d.Environment, d.Requester)}))
	})
	return again, err
}

// overtake ends the wait for somebody to agree to what went to an environment without approval, when a person put
// something else there since, by the rules or as a way back.
func overtake(tx *store.Tx, d store.Deployment) error {
	if d.Cause == store.CauseAutomatic || d.Cause == store.CauseRecovery || d.Cause == store.CauseNow {
		return nil
	}
	all, err := tx.UnratifiedIn(d.Repo, d.App, d.Environment)
	if err != nil {
		return err
	}
	for _, u := range all {
		err := errors.Join(tx.Overtake(u), tx.Audit(store.Entry{Actor: d.Requester, Via: "engine", Action: "overtake", Repo: d.Repo, Subject: "deployment/" + u.ID,
			Detail: fmt.Sprintf("deployment %d went to %s without approval, and deployment %d took its place before anybody agreed to it", u.Number, d.Environment, d.Number)}))
		if err != nil {
			return err
		}
	}
	return nil
}

// Rerule puts what waits for an environment under the rules that the file has now. Whatever is gone from the file, or is
// another place now, is not waited for any more; that is nil for an environment that is gone.
func (e *Engine) Rerule(tx *store.Tx, d store.Deployment, now *Environment) (note string, err error) {
	if store.Final(d.State) || store.Active(d.State) || back(d) {
		return "", nil
	}
	var spec Spec
	if err := json.Unmarshal(d.Spec.V, &spec); err != nil {
		return "", err
	}
	switch {
	case now == nil:
		return fmt.Sprintf("deployment %d is cancelled: %s", d.Number, store.ReasonNoEnvironment), tx.EndDeployment(d, store.Cancelled, store.ReasonNoEnvironment, nil)
	case !spec.Environment.SamePlace(*now):
		return fmt.Sprintf("deployment %d is superseded: %s", d.Number, store.ReasonMoved), tx.EndDeployment(d, store.Superseded, store.ReasonMoved, nil)
	}
	spec.Environment = spec.Environment.WithRules(*now)
	text, err := json.Marshal(spec)
	if err != nil || string(text) == string(d.Spec.V) {
		return "", err
	}
	if err := tx.SetSpec(d, text); err != nil {
		return "", err
	}
	if d, err = tx.Deployment(d.ID); err != nil {
		return "", err
	}
	_, err = e.Reconsider(tx, d)
	return fmt.Sprintf("deployment %d to %s stands under the rules of this commit", d.Number, d.Environment), err
}
