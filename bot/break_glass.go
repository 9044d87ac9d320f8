package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// unratified tells whether a deployment went without approval and nobody agreed to it yet.
func unratified(d store.Deployment) bool { return !d.RatifyBy.IsZero() && d.RatifiedBy == "" }

// breakGlass deploys at once, without what an environment asks for: its order, soak, branches, approvals, freezes and checks.
// Only the build has to succeed, only a lock stops it, and only an admin may. Everybody is told, and somebody else has to
// agree afterwards.
func (c *call) breakGlass(ctx context.Context, a app, env *pipeline.Environment, args []string) (outcome, error) {
	if no, err := c.needs(ctx, admin); no != nil || err != nil {
		return no, err
	}
	reason := strings.Join(args, " ")
	if reason == "" {
		return c.no(text.NowNeedsReason, code(c.typed("/deploy env now! reason…"))), nil
	}
	q, err := request(a.config, env, store.CauseNow, c.login, c.event)
	if err != nil {
		return nil, err
	}
	q.Pull, q.Note = c.issue, reason
	fn, err := c.deployHead(ctx, a, env, nil, q)
	if err != nil {
		return nil, err
	}
	return func(tx *store.Tx) (answer, error) {
		said, err := fn(tx) // which refuses another's lock: a glass that is broken breaks no lock
		if err != nil {
			return answer{}, err
		}
		said.text += " " + c.lang().Say(text.NowAsked, code(env.Name), c.lang().Duration(pipeline.RatifyWithin))
		return said, tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "break glass", Repo: c.repo.Name, Subject: "run/" + said.run,
			Detail: fmt.Sprintf("%s to %s without approval: %s", a.name, env.Name, reason)})
	}, nil
}

// ratify records whether somebody agrees to what went without approval. Who does not changes nothing in the environment: it
// stays closed to automatic deployments.
func (c *call) ratify(d store.Deployment, vote, reason, bound string) outcome {
	return func(tx *store.Tx) (answer, error) {
		d, err := tx.Deployment(d.ID)
		if err != nil {
			return answer{}, err
		}
		if !unratified(d) {
			return answer{}, c.refuse(text.NotWaiting, d.Number, c.lang().State(d.State))
		}
		action := map[string]string{"approve": "ratify", "reject": "refuse to ratify"}[vote]
		err = errors.Join(
			tx.Vote(store.Approval{Deployment: d.ID, Login: c.login, Vote: vote, Reason: reason, Bound: bound, Via: c.via}),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: action, Repo: c.repo.Name, Subject: "deployment/" + d.ID,
				Detail: fmt.Sprintf("release %d of %s, which went to %s without approval: %s", d.Release, d.App, d.Environment, reason)}))
		if err != nil {
			return answer{}, err
		}
		c.d.note("%s: %s deployment %d", c.login, action, d.Number)
		if vote == "reject" {
			where, err := place(tx, d.Repo, d.App, d.Environment)
			if err != nil {
				return answer{}, err
			}
			return tells(d.Run, c.lang().Say(text.Unratified, d.Number, code(d.Environment), code(c.typed("/rollback "+where))), tx.Wake(store.TaskReport, "deployment/"+d.ID))
		}
		return tells(d.Run, c.lang().Say(text.Ratified, d.Number, code(d.Environment)), tx.Ratify(d, c.login))
	}
}

// ratifyWords is what a deployment that went without approval says of that; empty for every other.
func ratifyWords(s subject, l text.Lang) string {
	d := s.d
	if d.Cause != store.CauseNow || d.BeganAt.IsZero() {
		return ""
	}
	switch {
	case d.RatifiedBy != "":
		return l.Say(text.AgreedBy, d.RatifiedBy)
	case d.RatifyBy.IsZero():
		return l.Say(text.NeverAgreed)
	}
	if v := against(s.votes); v != nil {
		return l.Say(text.NotAgreedBy, v.Login, v.Reason)
	}
	if !d.RemindedAt.IsZero() {
		return l.Say(text.MustAgreeLate, l.Time(d.RatifyBy.Time))
	}
	return l.Say(text.MustAgree, l.Time(d.RatifyBy.Time))
}
