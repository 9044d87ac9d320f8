package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// surfaceOrder is the one comment of a release order, where it was made.
const surfaceOrder = "github/comment"

// maxOrder is how many bytes of a comment about an order are written; GitHub takes 65536 characters.
const maxOrder = 60_000

// An orderView is a release order with all that is said about it.
type orderView struct {
	o     store.Order
	s     pipeline.Standing
	of    *store.Order // the one that it takes back
	back  *store.Order // the newest that takes it back
	repo  store.Repo
	parts []orderPart
	form  func(string) string // how a command has to be written here
	left  []string            // apps of the order that it takes back that are left as they are
}

// An orderPart is one part of it.
type orderPart struct {
	d    store.Deployment
	rel  store.Release
	live *store.Release // that it replaces, nil for none
	said subject        // what its words are made of
}

func (b *Bot) orderView(tx *store.Tx, id string) (v orderView, err error) {
	v.form = b.typed
	if v.o, err = tx.Order(id); err != nil {
		return v, err
	}
	if v.s, err = b.engine.StandingOf(tx, v.o); err != nil {
		return v, err
	}
	if v.of, err = store.Optional(tx.Order(v.o.RollbackOf)); err != nil {
		return v, err
	}
	if v.back, err = store.Optional(tx.RollbackOrder(id)); err != nil {
		return v, err
	}
	if v.repo, err = tx.Repo(v.o.Repo); err != nil {
		return v, err
	}
	if v.of != nil {
		all, err := tx.OrderParts(v.of.ID)
		if err != nil {
			return v, err
		}
		for _, d := range all {
			if d.State == store.Succeeded && !slices.ContainsFunc(v.s.Parts, func(p store.Deployment) bool { return p.RollbackOf == d.ID }) {
				v.left = append(v.left, d.App)
			}
		}
	}
	for _, d := range v.s.Parts {
		p := orderPart{d: d, said: subject{d: &d, form: b.typed}}
		if err := json.Unmarshal(d.Spec.V, &p.said.spec); err != nil {
			return v, err
		}
		if p.rel, err = tx.Release(d.Repo, d.App, d.Release); err != nil {
			return v, err
		}
		live, err := store.Optional(tx.Live(d.Repo, d.App, d.Environment))
		if err != nil {
			return v, err
		}
		if live != nil {
			p.said.lives = live.Release
		}
		current, err := store.Optional(tx.Current(d.Repo, d.App, d.Environment))
		if err != nil {
			return v, err
		}
		p.said.current = current != nil && current.ID == d.ID
		if p.said.changed, _, err = tx.Touched(d); err != nil {
			return v, err
		}
		if p.said.back, err = store.Optional(tx.RollbackOf(d.ID)); err != nil {
			return v, err
		}
		before := live
		if d.RollbackOf != "" { // from what it takes back
			before, err = store.Optional(tx.Deployment(d.RollbackOf))
		} else if d.State == store.Succeeded {
			before, err = store.Optional(tx.LiveBefore(d))
		}
		if err != nil {
			return v, err
		}
		if before != nil {
			rel, err := tx.Release(d.Repo, d.App, before.Release)
			if err != nil {
				return v, err
			}
			p.live = &rel
		}
		v.parts = append(v.parts, p)
	}
	return v, nil
}

// title is what an order is called.
func (v orderView) title(l text.Lang) string {
	if v.of != nil {
		return l.Say(text.OrderBackTitle, v.o.Number, v.of.Number, code(v.o.Environment))
	}
	return l.Say(text.OrderTitle, v.o.Number, code(v.o.Environment))
}

// stateWords is how an order stands, in one clause.
func (v orderView) stateWords(l text.Lang) string {
	by, reason, _ := strings.Cut(v.o.Reason, ": ")
	switch {
	case v.o.State == store.OrderWaiting:
		return l.Say(text.WaitingForApproval, len(v.s.Have), v.s.Need)
	case v.o.State == store.Rejected:
		return l.Say(text.Rejected, code(by), code(reason))
	case v.o.State == store.Expired:
		return l.Say(text.Expired, l.Duration(v.o.FinishedAt.Sub(v.o.CreatedAt.Time)))
	case v.o.State == store.Cancelled && v.o.Reason == store.ReasonRestored:
		return l.Say(text.CancelledByRestore)
	case v.o.State == store.Cancelled:
		return l.Say(text.CancelledBy, code(strings.TrimPrefix(v.o.Reason, "by ")))
	case v.o.State == store.Failed:
		if i := slices.IndexFunc(v.parts, func(p orderPart) bool {
			return store.Final(p.d.State) && p.d.State != store.Succeeded && p.d.Reason != store.ReasonOrder
		}); i >= 0 {
			return l.Say(text.OrderFailed, v.parts[i].d.Part, code(v.parts[i].d.App))
		}
	}
	return l.State(v.o.State)
}

// label is a part in a few words: the app, and from which release to which.
func (p orderPart) label() string {
	if p.live == nil {
		return code(p.d.App) + fmt.Sprintf(" → %d", p.d.Release)
	}
	return code(p.d.App) + fmt.Sprintf(" %d → %d", p.live.Number, p.d.Release)
}

// doneWords says which parts are done; empty for none.
func (v orderView) doneWords(l text.Lang) string {
	var done []string
	for _, p := range v.parts {
		if p.d.State == store.Succeeded {
			done = append(done, p.label())
		}
	}
	if len(done) == 0 {
		return ""
	}
	return l.Say(text.OrderDone, strings.Join(done, ", "))
}

// offer is how to take an order back that ended half-way; empty where there is nothing to offer.
func (v orderView) offer(l text.Lang) string {
	switch {
	case v.back != nil:
		return l.Say(text.OrderTakenBack, v.o.Number, v.back.Number)
	case v.of != nil || v.o.State != store.Failed && v.o.State != store.Cancelled:
		return ""
	}
	for _, p := range v.parts {
		if p.said.current && !p.d.BeganAt.IsZero() {
			return l.Say(text.OrderOffer, code(v.form(fmt.Sprintf("/rollback order %d", v.o.Number))))
		}
	}
	return ""
}

// approvalWords is what those who may approve need to know, a sentence a line.
func (v orderView) approvalWords(l text.Lang) (lines []string) {
	if len(v.s.Have) > 0 {
		lines = append(lines, l.Say(text.OrderApprovedBy, names(v.s.Have)))
	}
	if len(v.s.Void) > 0 && !store.Final(v.o.State) {
		var who []string
		for _, a := range v.s.Void {
			who = append(who, a.Login)
		}
		lines = append(lines, l.Say(text.OrderVoid, names(who)))
	}
	for _, p := range v.parts {
		if r := p.d.Rules.V; r != nil && !store.Final(v.o.State) {
			for _, c := range r.Changes {
				lines = append(lines, l.Say(text.OfPart, code(p.d.App), rulesChangeWords(c, l)))
			}
		}
	}
	if len(v.s.Have) >= v.s.Need || store.Final(v.o.State) || v.o.State == store.OrderDraft {
		return lines
	}
	for i, p := range v.parts {
		if !v.s.Asks(i) {
			continue
		}
		who := names(v.s.Rules[i].By)
		if len(v.s.Rules[i].By) == 0 {
			who = l.Say(text.Maintainers)
		}
		lines = append(lines, l.Say(text.MayApprovePart, code(p.d.App), who))
	}
	lines = append(lines, l.Say(text.OrderHow, code(v.form(fmt.Sprintf("/approve order %d", v.o.Number))), code(v.form(fmt.Sprintf("/reject order %d reason…", v.o.Number)))))
	if v.o.State == store.OrderWaiting && !v.o.ExpiresAt.IsZero() {
		lines = append(lines, l.Say(text.OrderUntil, l.Time(v.o.ExpiresAt.Time)))
	}
	return lines
}

// passed is how many approvals an order that takes another back goes without.
func (v orderView) passed() (n int) {
	if v.o.RollbackOf != "" {
		for _, r := range v.s.Rules {
			n = max(n, r.Count)
		}
	}
	return n
}

// lines is an order as an answer: in the marks of text.Quote.
func (v orderView) lines(l text.Lang, b *Bot) string {
	asked := l.Say(text.OrderAsked, v.stateWords(l), code(v.o.Requester), code(v.o.Note))
	if n := v.passed(); n > 0 {
		asked += " (" + l.Say(text.NotApproved, n) + ")"
	}
	lines := []string{v.title(l), "", asked, ""}
	for _, p := range v.parts {
		lines = append(lines, fmt.Sprintf("%d. %s", p.d.Part, l.Say(text.OrderPart, p.label(), p.d.Number, code(deployWords(p.said, l)))))
	}
	lines = append(lines, "")
	if len(v.left) > 0 {
		lines = append(lines, l.Say(text.OrderLeft, names(v.left)))
	}
	lines = append(lines, v.approvalWords(l)...)
	for _, s := range []string{v.doneWords(l), v.offer(l)} {
		if s != "" && (v.o.State == store.Failed || v.o.State == store.Cancelled) {
			lines = append(lines, s)
		}
	}
	return strings.Join(append(lines, b.page("orders", v.o.ID)), "\n")
}

// comment is an order as its one comment on GitHub: the lines, and what each part changes, while it is not decided.
func (v orderView) comment(l text.Lang, b *Bot) string {
	body := "### " + text.Markdown(v.lines(l, b))
	if store.Final(v.o.State) {
		return clip(body, maxOrder, l)
	}
	left := (maxOrder - len(body)) / max(1, len(v.parts))
	for _, p := range v.parts {
		body += p.details(l, v.repo, left-200)
	}
	return clip(body, maxOrder, l)
}

// details is what a part changes: commits, digests and, of a private repository, objects. It takes about size bytes at most.
func (p orderPart) details(l text.Lang, repo store.Repo, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n\n<details><summary>%s</summary>\n\n", l.Say(text.OrderPartDetails, p.d.Part))
	commit := fmt.Sprintf("[%.7s](%s/commit/%s)", p.rel.SHA, repo.HTMLURL, p.rel.SHA)
	if p.live != nil && p.live.SHA != p.rel.SHA {
		commit = fmt.Sprintf("[%.7s…%.7s](%s/compare/%s...%s)", p.live.SHA, p.rel.SHA, repo.HTMLURL, p.live.SHA, p.rel.SHA)
	}
	fmt.Fprintf(&b, "- %s: %s\n", l.Field(text.Commit), commit)
	if s := p.d.Scope.V; s != nil && p.d.RollbackOf == "" {
		line, commits := approvalView{Environment: p.d.Environment, Scope: s}.scope(l)
		fmt.Fprintf(&b, "- %s\n", text.Markdown(line))
		for _, c := range commits {
			fmt.Fprintf(&b, "  - %s\n", text.Markdown(c))
		}
		if len(s.Jobs) > 0 {
			fmt.Fprintf(&b, "- %s\n", text.Markdown(l.Say(text.AskJobs, names(s.Jobs))))
		}
	}
	for _, i := range p.rel.Images.V {
		fmt.Fprintf(&b, "- %s: %s\n", l.Field(text.Image), text.Markdown(code(i.Repository+"@"+i.Digest)))
	}
	if changes := p.d.Changes; changes != "" && repo.Private { // of a public repository no object is posted
		fence := "```"
		for strings.Contains(changes, fence) {
			fence += "`"
		}
		fmt.Fprintf(&b, "\n%sdiff\n%s\n%s\n", fence, cut(changes, max(0, size-b.Len())), fence)
	}
	return b.String() + "\n</details>"
}

// cut leaves out what is behind so many bytes.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:max(0, size-len("…"))], "") + "…"
}

// reportOrder wakes what has to say something about an order.
func (b *Bot) reportOrder(ctx context.Context, key string) error {
	return b.db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(taskSay, key+"\n"+surfaceOrder) })
}

// sayOrder keeps the one comment of an order true.
func (b *Bot) sayOrder(ctx context.Context, key string) error {
	var v orderView
	err := b.db.View(ctx, func(tx *store.Tx) (err error) {
		v, err = b.orderView(tx, strings.TrimPrefix(key, "order/"))
		return err
	})
	if err != nil || v.o.Pull == 0 { // one that was not made on GitHub has its page
		return err
	}
	body := v.comment(b.lang, b)
	s := subject{key: key, repo: v.repo}
	return b.once(ctx, s, surfaceOrder, "", body, func(last store.Message) (ref string, err error) {
		// The mark is invisible and lets the comment be found that was made just before a crash.
		mark := "<!-- shipmate " + key + " -->"
		marked := &github.IssueComment{Body: github.String(body + "\n\n" + mark)}
		if last.Ref == "" && (last.Said == asked || last.Said == answered) {
			if last.Ref, _, err = b.findComment(ctx, v.repo, v.o.Pull, mark, last.At.Add(-clockSkew)); err != nil {
				return "", err
			}
			if last.Ref == "" {
				if err := b.pending(v.repo, last); err != nil {
					return "", err
				}
			}
		}
		urgent := store.Final(v.o.State) || v.o.State == store.OrderWaiting
		if last.Ref != "" {
			id := int64(0)
			if _, err := fmt.Sscan(last.Ref, &id); err != nil {
				return "", err
			}
			err := b.hub.write(v.repo, key, urgent, func(c *github.Client, owner, name string) error {
				_, _, err := c.Issues.EditComment(ctx, owner, name, id, marked)
				return err
			})
			if statusCode(err) != 404 {
				return last.Ref, err
			}
			last.Ref = "" // somebody deleted it: made once more
		}
		err = b.hub.write(v.repo, key, urgent, func(c *github.Client, owner, name string) error {
			return b.create(ctx, last, func() error {
				n, _, err := c.Issues.CreateComment(ctx, owner, name, v.o.Pull, marked)
				ref = fmt.Sprint(n.GetID())
				return err
			})
		})
		return ref, err
	})
}

// deployersOf lists who may deploy what a part deploys: as the file says now, or where it says nothing (any more), as it said
// when the part was made.
func deployersOf(p store.Deployment, apps []app) ([]string, error) {
	if i := slices.IndexFunc(apps, func(a app) bool { return a.name == p.App && a.config != nil }); i >= 0 {
		if env, ok := apps[i].config.Environment(p.Environment); ok {
			return env.Deployers, nil
		}
	}
	var spec pipeline.Spec
	err := json.Unmarshal(p.Spec.V, &spec)
	return spec.Environment.Deployers, err
}
