package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/chat"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

// buildWords is what a run says of itself in one line. Which step it is at changes too often for GitHub, which takes a limited
// number of statuses.
func buildWords(s subject, l text.Lang) string {
	r := s.run
	switch r.State {
	case store.RunQueued:
		return l.Say(text.BuildQueued)
	case store.RunSucceeded:
		if r.Release == 0 {
			return l.Say(text.BuildPassed, l.Duration(r.FinishedAt.Sub(r.CreatedAt.Time)))
		}
		if r.Image.V != nil {
			return l.Say(text.ImageTaken, r.Release, l.Duration(r.FinishedAt.Sub(r.CreatedAt.Time)))
		}
		said := []string{l.Say(text.BuildSucceeded, releaseWords(r, l), l.Duration(r.FinishedAt.Sub(r.CreatedAt.Time)))}
		if len(r.TagsKept.V) > 0 {
			said = append(said, tagsKeptWords(r, l))
		}
		return l.Join(said)
	case store.RunFailed:
		reason := r.Failure.V.Reason
		if check, ok := s.check(r.Failure.V.Step); ok && check.Result.V != nil && check.Result.V.Tests != nil && check.Result.V.Tests.Failed > 0 {
			reason = testsWords(check.Result.V.Tests, l)
		}
		return l.Say(text.BuildFailed, l.Step(r.Failure.V.Step), reason)
	case store.RunCancelled:
		switch r.Reason {
		case store.ReasonRestored:
			return l.Say(text.CancelledByRestore)
		case store.ReasonClosed:
			return l.Say(text.CancelledByClosing)
		case store.ReasonUntested:
			return l.Say(text.Untested, s.typed("/ok-to-test "+r.Head()))
		}
		if r.Reason == store.ReasonDeleted {
			return l.Say(text.RefDeleted)
		}
		return l.Say(text.CancelledBy, strings.TrimPrefix(r.Reason, "by "))
	}
	if r.Reason == store.ReasonHeadMoved {
		return l.Say(text.SupersededByHead)
	}
	if r.State == store.RunSuperseded {
		return supersededWords(r.Reason, l)
	}
	return strings.TrimSpace(l.State(r.State) + " " + r.Reason)
}

// supersededWords says by what a run or a deployment was superseded.
func supersededWords(reason string, l text.Lang) string {
	if n, ok := strings.CutPrefix(reason, "by deployment "); ok {
		return l.Say(text.SupersededBy, l.Say(text.DeploymentNumber, n))
	}
	if by, ok := strings.CutPrefix(reason, "by run "); ok {
		n, commit, _ := strings.Cut(by, " of ")
		if commit == "" {
			return l.Say(text.SupersededBy, l.Say(text.RunNumber, n))
		}
		return l.Say(text.SupersededBy, l.Say(text.RunNumberOf, n, commit))
	}
	return strings.TrimSpace(l.State(store.Superseded) + " " + reason)
}

// releaseWords is the number of a run's release, and which one has the same image.
func releaseWords(r store.Run, l text.Lang) string {
	if r.SameAs == 0 {
		return fmt.Sprint(r.Release)
	}
	return l.Say(text.SameImage, r.Release, r.SameAs)
}

func tagsKeptWords(r store.Run, l text.Lang) string {
	return l.Say(text.TagsKept, strings.Join(r.TagsKept.V, ", "))
}

// deployWords is what a deployment says of itself in one line. How far a rollout is changes too often for GitHub,
// too: that is for the page and for chats that edit.
func deployWords(s subject, l text.Lang) string {
	d := s.d
	switch d.State {
	case store.Blocked, store.Paused:
		var why []string
		for _, b := range d.Blocks.V {
			why = append(why, blockWords(*d, b, l))
		}
		return l.Join(why)
	case store.Queued:
		return l.Say(text.DeployQueued)
	case store.Applying, store.Progressing, store.Verifying: // one word: what takes an instant would hold up what comes next
		return l.State(store.Progressing)
	case store.Succeeded:
		took := d.FinishedAt.Sub(d.BeganAt.Time)
		if d.RollbackOf != "" {
			return l.Say(text.RolledBack, d.Release)
		}
		if without := ratifyWords(s, l); without != "" {
			return l.Join([]string{l.Say(text.Live, d.Release, l.Duration(took)), without})
		}
		return l.Say(text.Live, d.Release, l.Duration(took))
	case store.Failed:
		if s.back != nil && s.back.Cause == store.CauseRecovery && s.back.State == store.Succeeded {
			return l.Say(text.FailedRolledBack, failureWords(*d, l), s.back.Release)
		}
		if ran := d.Failure.V.Ran; len(ran) > 0 && s.current {
			return l.Say(text.FailedAfterJobs, failureWords(*d, l), strings.Join(ran, ", "), s.typed("/rollback "+scope{d.App, d.Environment}.name(s.several)))
		}
		return l.Say(text.DeployFailed, failureWords(*d, l))
	case store.Rejected:
		by, reason, _ := strings.Cut(d.Reason, ": ")
		if reason == store.ReasonButton {
			reason = l.Say(text.ByButton)
		}
		return l.Say(text.Rejected, by, reason)
	case store.Expired:
		return l.Say(text.Expired, l.Duration(d.FinishedAt.Sub(d.CreatedAt.Time)))
	case store.Cancelled:
		if d.Reason == store.ReasonRestored {
			return l.Say(text.CancelledByRestore)
		}
		switch d.Reason {
		case store.ReasonDeleted:
			return l.Say(text.RefDeleted)
		case store.ReasonNoEnvironment:
			return l.Say(text.EnvironmentGone)
		}
		if d.Reason == store.ReasonClosed {
			return l.Say(text.ClosedUnmerged)
		}
		if d.Reason == store.ReasonOrder {
			return l.Say(text.CancelledWithOrder)
		}
		return cancelledWords(s, l)
	case store.Superseded:
		if d.Reason == store.ReasonMoved {
			return l.Say(text.EnvironmentMoved)
		}
		if d.Reason == store.ReasonHeadMoved {
			return l.Say(text.SupersededByHead)
		}
		return supersededWords(d.Reason, l)
	}
	return strings.TrimSpace(l.State(d.State) + " " + d.Reason)
}

// progressWords is deployWords with how far a rollout is.
func progressWords(s subject, l text.Lang) string {
	if store.Active(s.d.State) && s.d.State != store.Paused && s.d.Progress != "" {
		return s.d.Progress
	}
	return deployWords(s, l)
}

func failureLine(f *store.Failure) string {
	if f.Where == "" {
		return f.Reason
	}
	return f.Where + ": " + f.Reason
}

func blockWords(d store.Deployment, b store.Block, l text.Lang) string {
	switch b.Kind {
	case store.BlockApproval:
		return l.Say(text.WaitingForApproval, b.Have, b.Need)
	case store.BlockHold:
		if strings.Join(b.By, "") == "" {
			return l.Say(text.HeldAfterRestore, l.Time(b.Since))
		}
		return l.Say(text.HeldAfterRollback, strings.Join(b.By, ", "), l.Time(b.Since))
	case store.BlockRunning:
		return l.Say(text.AnotherDeployment, b.Number)
	case store.BlockOrder:
		return l.Say(text.NotThereYet, d.Release, b.Environment)
	case store.BlockSoak:
		return l.Say(text.Soaking, b.Environment, l.Time(b.Until))
	case store.BlockBranch:
		return l.Say(text.TakesNoBranch, b.Text)
	case store.BlockLock:
		return l.Say(text.LockedByUntil, strings.Join(b.By, ", "), l.Time(b.Until), b.Text)
	case store.BlockFreeze:
		return l.Say(text.FrozenUntil, l.Time(inOffset(b.Until)), b.Text)
	case store.BlockChecks:
		return checksWords(b, l)
	case store.BlockPart:
		if b.Need > 0 {
			return l.Say(text.WaitsForOrderApproval, b.Have, b.Need)
		}
		if b.Number == 0 {
			return l.Say(text.WaitsForOrder)
		}
		return l.Say(text.AfterPart, b.Number)
	case store.BlockRatify:
		return l.Say(text.RatifyFirst, b.Number)
	case store.BlockPause:
		return restWords(d, b, l)
	}
	return b.Kind
}

// inOffset names the zone of a time by its distance from UTC: that of a window is stored without its name.
func inOffset(t time.Time) time.Time {
	_, seconds := t.Zone()
	name := fmt.Sprintf("UTC%+d", seconds/3600)
	if minutes := seconds / 60 % 60; minutes != 0 {
		name += fmt.Sprintf(":%02d", max(minutes, -minutes))
	}
	if seconds == 0 {
		name = "UTC"
	}
	return t.In(time.FixedZone(name, seconds))
}

// moment is the notice that a state calls for (contract.md, notify.on), or "".
func moment(s subject) string {
	if s.d == nil {
		switch s.run.State {
		case store.RunRunning:
			return "started"
		case store.RunSucceeded:
			return "succeeded"
		case store.RunFailed:
			return "failed"
		case store.RunCancelled, store.RunSuperseded:
			return "stopped"
		}
		return ""
	}
	switch s.d.State {
	case store.Blocked:
		if slices.ContainsFunc(s.d.Blocks.V, func(b store.Block) bool { return b.Kind == store.BlockApproval || asksForOrder(*s.d, b) }) {
			return "waiting"
		}
		return ""
	case store.Paused:
		if restsForPerson(*s.d) {
			return "waiting"
		}
		return "started" // it goes on by itself
	case store.Applying, store.Progressing, store.Verifying:
		if s.d.ResumedBy != "" {
			return "resumed"
		}
		return "started"
	case store.Succeeded:
		return "succeeded"
	case store.Failed:
		return "failed"
	case store.Rejected, store.Expired, store.Cancelled, store.Superseded:
		return "stopped"
	}
	return ""
}

// asksForOrder tells whether a block says that a release order waits for approvals; its first part speaks for all.
func asksForOrder(d store.Deployment, b store.Block) bool {
	return b.Kind == store.BlockPart && b.Need > 0 && d.Part == 1
}

// look is how a state looks in a chat.
func look(state string) chat.State {
	switch state {
	case store.Succeeded:
		return chat.Succeeded
	case store.Failed:
		return chat.Failed
	case store.Blocked, store.Paused:
		return chat.Waiting
	case store.Rejected, store.Expired, store.Cancelled, store.Superseded:
		return chat.Stopped
	}
	return chat.Running
}

// heading is what every message about a run begins with.
func (b *Bot) heading(s subject, l text.Lang) chat.Message {
	r := s.run
	m := chat.Message{Title: l.Say(text.BuildTitle, r.App, r.Number), State: look(r.State), Status: l.Build(r.State), Text: r.Subject,
		Link: chat.Link{Text: l.Say(text.Details), URL: b.page("runs", r.ID)}}
	if i := r.Image.V; i != nil { // the subject that is stored is of one language
		m.Title, m.Status, m.Text = l.Say(text.ImageTitle, r.App, r.Number), l.State(r.State), l.Say(text.ImagePushed, i.Repository+":"+i.Tag, r.Sender)
	}
	if r.Failure.V != nil {
		m.Status = buildWords(s, l)
	}
	m.Fields = []chat.Field{s.projectField(l), s.branchField(l), s.commitField(l), {Name: l.Field(text.TriggeredBy), Value: r.Sender}}
	if r.Release > 0 {
		m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Release), Value: releaseWords(r, l)})
	}
	return m
}

func (s subject) projectField(l text.Lang) chat.Field {
	return chat.Field{Name: l.Field(text.Project), Value: s.repo.Name, URL: s.repo.HTMLURL}
}

func (s subject) branchField(l text.Lang) chat.Field {
	return chat.Field{Name: l.Field(text.Branch), Value: strings.TrimPrefix(s.run.Ref, "refs/heads/")}
}

func (s subject) commitField(l text.Lang) chat.Field {
	return chat.Field{Name: l.Field(text.Commit), Value: s.run.SHA[:7], URL: s.repo.HTMLURL + "/commit/" + s.run.SHA}
}

// living is the message of a release that is kept true wherever the release goes, of the environments that are shown. It is short: what
// a person wants only sometimes is told in its thread, by message.
func (b *Bot) living(v view, shown func(environment string) bool, l text.Lang) chat.Message {
	m := b.heading(v.subject, l)
	if r := v.run; r.Release > 0 {
		m.Title = l.Say(text.CommentTitle, r.App, r.Release, r.SHA[:7])
	}
	m.Key, m.Buttons = v.key, b.releaseButtons(v, shown, l)
	for _, e := range v.envs {
		d := e.d
		if !shown(d.Environment) {
			continue
		}
		stands := progressWords(e, l)
		if d.State == store.Succeeded && !e.live && e.lives > 0 {
			stands = l.Say(text.TookItsPlace, e.lives)
		}
		m.Fields = append(m.Fields, chat.Field{Name: d.Environment, Value: stands, URL: b.page("deployments", d.ID)})
		if d.State == store.Failed || !store.Final(d.State) || m.State == chat.Running {
			m.State, m.Status = look(d.State), l.State(d.State)
		}
	}
	return m
}

// message is what a chat is told of a subject alone, once.
func (b *Bot) message(s subject, l text.Lang, mention []chat.Person) chat.Message {
	r := s.run
	m := b.heading(s, l)
	m.Mentions = mention
	failure := r.Failure.V
	if s.d == nil {
		if len(r.TagsKept.V) > 0 {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Note), Value: tagsKeptWords(r, l)})
		}
		if r.Digest != "" {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Image), Value: s.image + "@" + r.Digest})
		}
		if store.Final(r.State) {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Duration), Value: l.Duration(r.FinishedAt.Sub(r.CreatedAt.Time))})
		}
		for _, check := range s.checks() { // the one that failed first is the status
			if check.State == store.StepFailed && failure != nil && check.Kind != failure.Step {
				m.Fields = append(m.Fields, chat.Field{Name: l.Step(check.Kind), Value: checkWords(check, l)})
			}
		}
	} else {
		d := s.d
		m.Title = l.Say(text.DeployTitle, d.App, d.Release, d.Environment)
		if d.RollbackOf != "" {
			m.Title = l.Say(text.RollbackTitle, d.App, d.Environment, d.Release)
		}
		m.State, m.Status = look(d.State), deployWords(s, l)
		if moment(s) == "resumed" {
			m.Status = l.Say(text.ResumedBy, d.ResumedBy)
		}
		m.Link.URL = b.page("deployments", d.ID)
		env := s.spec.Environment
		m.Fields = []chat.Field{s.projectField(l), {Name: l.Field(text.Environment), Value: d.Environment},
			{Name: l.Field(text.Cluster), Value: env.Cluster + " / " + env.Namespace},
			{Name: l.Field(text.Release), Value: fmt.Sprint(d.Release)}, s.commitField(l), s.branchField(l),
			{Name: l.Field(text.TriggeredBy), Value: d.Requester}}
		if s.order != nil {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Order), Value: l.Say(text.PartOfOrder, s.order.Number, d.Part, s.ofParts), URL: b.page("orders", s.order.ID)})
		}
		if who := approvers(s); len(who) > 0 {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Approver), Value: strings.Join(who, ", ")})
		}
		m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Image), Value: s.imageThere()})
		m.Fields = append(m.Fields, b.approvalFields(s, l)...)
		if store.Final(d.State) && !d.BeganAt.IsZero() {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Duration), Value: l.Duration(d.FinishedAt.Sub(d.BeganAt.Time))})
		}
		failure = d.Failure.V
	}
	if failure != nil {
		if failure.Hint != "" {
			m.Fields = append(m.Fields, chat.Field{Name: l.Field(text.Reason), Value: failure.Hint})
		}
		if s.repo.Private { // of a public repository no log line is posted
			detail := slices.Clone(failure.Logs)
			if s.d == nil && r.Failure.V != nil {
				detail = append(failedTests(s), detail...)
			}
			if failure.Event != "" {
				detail = append(detail, failure.Event)
			}
			m.Detail = strings.Join(detail, "\n")
		}
	}
	return m
}

// boundOf is what the newest vote was bound to.
func boundOf(votes []store.Approval) string {
	if len(votes) == 0 {
		return ""
	}
	return votes[len(votes)-1].Bound
}

// mentions lists whom a notice wants to be seen by.
func (b *Bot) mentions(ctx context.Context, s subject, n pipeline.Notify, what string) ([]chat.Person, error) {
	var logins []string
	switch n.Mention[what] {
	case "author":
		logins = []string{s.run.Author}
	case "approvers":
		if s.d != nil {
			for _, block := range s.d.Blocks.V {
				if block.Kind == store.BlockApproval || asksForOrder(*s.d, block) {
					logins = append(logins, block.By...)
				}
			}
		}
	}
	return b.peopleIn(ctx, chatOf(n), logins)
}

// wanted is the entry by which a chat wants to be told a moment of a subject; ok is false where it does not.
func (s subject) wanted(to chatPlace, what string) (n pipeline.Notify, ok bool) {
	i := slices.IndexFunc(s.notify, func(n pipeline.Notify) bool { return chatOf(n) == to && n.Wants(what, s.environment()) })
	if what == "" || i < 0 {
		return n, false
	}
	return s.notify[i], true
}

// sayMoment tells a chat that cannot edit each moment once, and only the one that is now.
// In quiet hours that waits, and then the one is told that is so by then.
func (b *Bot) sayMoment(ctx context.Context, s subject, to chatPlace) (again time.Time, err error) {
	service, l, err := b.chat(&s, to)
	if service == nil {
		return again, err
	}
	n, what, ok := wanted(s, to)
	until := quiet(s.notify, to, b.db.Now())
	switch {
	case !ok:
	case s.turn == nil && !until.IsZero() && !loud(what): // what has its turn was asked for before
		again = until
	default:
		called, err := b.mentions(ctx, s, n, what)
		if err != nil {
			return again, err
		}
		err = b.once(ctx, s, to.surface(), what, what+round(s.d), func(last store.Message) (string, error) {
			if err := b.settleCard(ctx, service, last, l.Say(text.ButtonVoid)); err != nil {
				return "", err
			}
			m := b.message(s, l, called)
			m.Buttons = b.chatButtons(s, l)
			s.turn.closes(&m, l)
			return b.post(ctx, s, service, to, m, last, l)
		})
		if err != nil {
			return again, err
		}
	}
	return again, b.settleCards(ctx, s, service, to, l)
}

// sayLiving keeps one message of a release in a chat that can edit, and replies to it with what else there is to say. In quiet hours none
// is begun; one that is there is kept true, which calls nobody.
func (b *Bot) sayLiving(ctx context.Context, s subject, to chatPlace) (again time.Time, err error) {
	if s.d != nil {
		return again, nil // the message of its release tells it
	}
	service, l, err := b.chat(&s, to)
	if service == nil {
		return again, err
	}
	v, err := b.view(ctx, s)
	if err != nil {
		return again, err
	}
	all := []subject{v.subject}
	told := slices.Clone(s.notify) // the run's file may know nothing of the chat: that of a pull request, or one from before
	for i := range v.envs {
		v.envs[i].form = s.form
		all, told = append(all, v.envs[i]), append(told, v.envs[i].notify...)
	}
	shown := func(environment string) bool {
		return slices.ContainsFunc(told, func(n pipeline.Notify) bool {
			return chatOf(n) == to && (len(n.Environments) == 0 || slices.Contains(n.Environments, environment))
		})
	}
	until, begins := quiet(told, to, b.db.Now()), false
	for _, one := range all {
		switch _, ok := one.wanted(to, moment(one)); {
		case ok && (until.IsZero() || loud(moment(one))):
			begins = true
		case ok:
			again = until
		}
	}
	begun := func() (last store.Message, err error) {
		err = b.db.View(ctx, func(tx *store.Tx) (err error) { last, err = tx.Message(s.key, to.surface(), ""); return err })
		return last, err
	}
	if last, err := begun(); err != nil || !begins && last.Ref == "" { // nothing to begin with, but what was begun is kept true
		return again, err
	}
	m := b.living(v, shown, l)
	errQuiet := errors.New("a new message waits")
	err = b.once(ctx, s, to.surface(), "", m, func(last store.Message) (string, error) {
		if last.Ref != "" {
			err := service.Edit(ctx, chat.Ref(last.Ref), m)
			if !errors.Is(err, chat.ErrCannotEdit) {
				return last.Ref, chatError(err)
			}
			if !begins {
				return "", errQuiet
			}
		}
		return b.post(ctx, s, service, to, m, last, l)
	})
	if errors.Is(err, errQuiet) {
		return again, nil
	}
	if err != nil {
		return again, err
	}
	last, err := begun()
	if err != nil {
		return again, err
	}
	for _, one := range all {
		if !until.IsZero() && !loud(moment(one)) {
			continue
		}
		// One that can't be said holds up no other, but a chat that is down or limits us is left alone.
		if err = errors.Join(err, b.sayReply(ctx, service, one, to, last.Ref, l)); err != nil && away(err) {
			break
		}
	}
	return again, err
}

// sayReply says, once, what a moment is worth beside the message that is edited, which calls nobody: that something failed, and how; what
// waits for approval; and what came of it.
func (b *Bot) sayReply(ctx context.Context, service chat.Service, s subject, to chatPlace, thread string, l text.Lang) error {
	what := moment(s)
	n, ok := s.wanted(to, what)
	if !ok || !slices.Contains([]string{"failed", "waiting", "resumed", "succeeded"}, what) || what == "waiting" && s.d.Scope.V == nil && !rests(*s.d) {
		return nil
	}
	called, err := b.mentions(ctx, s, n, what)
	if err != nil {
		return err
	}
	return b.once(ctx, s, to.surface(), "reply "+what, what+round(s.d), func(last store.Message) (string, error) {
		m := b.message(s, l, called)
		m.Key, m.Text = s.key+" "+what+round(s.d), ""
		if s.d == nil { // what stands above
			m.Fields = m.Fields[len(b.heading(s, l).Fields):]
		}
		switch {
		case what == "waiting" && !rests(*s.d):
			if _, commits := b.approvalText(s).scope(l); len(commits) > fewCommits {
				m.Detail = text.Plain(strings.Join(commits, "\n"))
			}
		case s.d == nil && what == "succeeded":
			for _, step := range s.steps {
				if !step.FinishedAt.IsZero() && !step.StartedAt.IsZero() {
					m.Fields = append(m.Fields, chat.Field{Name: l.Step(step.Kind), Value: l.Duration(step.FinishedAt.Sub(step.StartedAt.Time))})
				}
			}
		}
		// Where the message stands far up by now, the channel would not see what somebody decides, or is to decide.
		m.Aloud = s.d != nil && (what == "waiting" || s.d.Cause != store.CauseAutomatic)
		return b.post(ctx, s, service, chatPlace{to.kind, to.name, thread}, m, last, l)
	})
}

// post sends a new message. It is marked before, so that after a crash or a timeout, when it may have arrived, it is looked
// for; and where the chat offers no way to find it, what is sent again says that it may be a repeat.
func (b *Bot) post(ctx context.Context, s subject, service chat.Service, place chatPlace, m chat.Message, last store.Message, l text.Lang) (string, error) {
	to := place.channel
	if b.writesToPeople(place) {
		var err error
		if to, err = b.addressee(ctx, s, place, m); err != nil {
			return "", err
		}
		if to == "" {
			b.log.Info("nobody is told: whom it concerns is not known in the chat; name them under people, or in channel", "chat", place.chat(), "subject", s.key)
			return "", nil
		}
	}
	mark := func(m store.Message) error {
		return b.db.Update(ctx, func(tx *store.Tx) error { return tx.PutMessage(m) })
	}
	if last.Said == asked {
		ref, err := service.Find(ctx, to, m.Key, last.At.Add(-clockSkew))
		switch {
		case errors.Is(err, chat.ErrCannotFind):
			m.Fields = append([]chat.Field{{Name: l.Field(text.Note), Value: l.Say(text.MayRepeat, l.Time(last.At.Time))}}, m.Fields...)
		case err != nil:
			return "", chatError(err)
		case ref != "": // it arrived, and may say what was so then
			if err := service.Edit(ctx, ref, m); !errors.Is(err, chat.ErrCannotEdit) {
				return string(ref), chatError(err)
			}
		}
	} else {
		marked := last
		marked.Said = asked
		if err := mark(marked); err != nil {
			return "", err
		}
	}
	ref, err := service.Send(ctx, to, m)
	if chat.IsNotSent(err) && last.Said != asked {
		err = errors.Join(err, mark(last)) // neither this attempt nor one before arrived
	}
	return string(ref), chatError(err)
}

// chat finds a chat that the repository may use, and lets s show how a command is written there. It is nil where the repository may
// not, which is no error: the file is checked elsewhere.
func (b *Bot) chat(s *subject, to chatPlace) (chat.Service, text.Lang, error) {
	if err := b.cfg.MayUseChat(to.kind, to.name, s.repo.Name); err != nil {
		return nil, "", giveUp{err}
	}
	app := s.run.App
	s.form = func(form string) string { return b.typedIn(to.chat(), form, app) }
	return b.chats[to.chat()], b.cfg.chatLanguage(to.chat()), nil
}

// chatError is what becomes of an error of a chat: one that trying again does not mend, or the chat is down.
func chatError(err error) error {
	switch {
	case err == nil:
		return nil
	case chat.IsPermanent(err):
		return giveUp{err}
	}
	return down{err}
}

func (s subject) environment() string {
	if s.d == nil {
		return ""
	}
	return s.d.Environment
}

// imageThere is the image of a deployment by the name that its environment pulls it by, or "" where the release has none.
func (s subject) imageThere() string {
	images, _ := s.spec.Environment.ImagesAt(s.rel) // where they have no place, its rendering says so
	if len(images) == 0 {
		return ""
	}
	return images[0].Repository + "@" + images[0].Digest
}
