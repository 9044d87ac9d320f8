package bot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shipmate-dev/shipmate/bot/text"
	"github.com/shipmate-dev/shipmate/pipeline"
	"github.com/shipmate-dev/shipmate/store"
)

const (
	usualLease   = 8 * time.Hour
	longestLease = 7 * day
	maxReason    = 200 // characters of a lock's reason
	// lockTurn is how long the first in line for a lock has to take it before the next is told.
	lockTurn = 15 * time.Minute
)

// A scope is what a lock covers: an environment of an app, or all of them where one of the two is empty.
type scope struct{ app, env string }

func (s scope) overlaps(app, env string) bool { return store.Overlaps(s.app, s.env, app, env) }

// holds tells whether everything in another scope lies in s.
func (s scope) holds(app, env string) bool {
	return (s.app == "" || s.app == app) && (s.env == "" || s.env == env)
}

// name is how people write a scope; several tells whether its repository has more than one app.
func (s scope) name(several bool) string {
	env := s.env
	if env == "" {
		env = allEnvironments
	}
	if s.app != "" && several {
		return s.app + " " + env
	}
	return env
}

// allEnvironments is the word for them. No environment may be called so.
const allEnvironments = "all"

// scope takes what a lock is about off the arguments: an environment, all of an app, or all of the repository. The last stops
// the line, also when a file cannot be read.
func (c *call) scope(ctx context.Context, args []string) (s scope, rest []string, no outcome, err error) {
	if len(args) == 0 {
		return s, nil, c.usage(), nil
	}
	if strings.EqualFold(args[0], allEnvironments) {
		return s, args[1:], nil, nil
	}
	if len(args) > 1 && strings.EqualFold(args[1], allEnvironments) {
		if a, rest, no, err := c.app(ctx, args); no != nil || err != nil || len(rest) < len(args) {
			return scope{app: a.name}, args[2:], no, err
		}
	}
	a, env, rest, no, err := c.target(ctx, args)
	if no != nil || err != nil {
		return s, nil, no, err
	}
	return scope{a.name, env.Name}, rest, nil, nil
}

var leaseSyntax = regexp.MustCompile(`^(?:(\d{1,2})d)?(?:(\d{1,3})h)?(?:(\d{1,5})m)?$`)

// parseLease reads how long a lock is to last: 30m, 2h, 1d, 1h30m, up to longestLease.
func parseLease(s string) (time.Duration, bool) {
	m := leaseSyntax.FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return 0, false
	}
	var d time.Duration
	for i, unit := range []time.Duration{day, time.Hour, time.Minute} {
		n, _ := strconv.Atoi(m[i+1]) // digits, or nothing
		d += time.Duration(n) * unit
	}
	return d, d > 0 && d <= longestLease
}

// leaseOf takes "for 2h", or "2h", off the arguments. What follows a "for" and begins with no digit is a reason.
func leaseOf(args []string) (d time.Duration, rest []string, bad string) {
	if len(args) > 0 {
		if d, ok := parseLease(args[0]); ok {
			return d, args[1:], ""
		}
	}
	if len(args) < 2 || !strings.EqualFold(args[0], "for") || args[1] == "" || args[1][0] < '0' || args[1][0] > '9' {
		return usualLease, args, ""
	}
	d, ok := parseLease(args[1])
	if !ok {
		return 0, nil, args[1]
	}
	return d, args[2:], ""
}

// A lockView is the locks of a repository that hold now, and the line of those who wait for one.
type lockView struct {
	locks   []store.Lock
	line    []store.LockWait
	several bool // the repository has more than one app
}

func readLocks(tx *store.Tx, repo string) (v lockView, err error) {
	if v.locks, err = tx.Locks(repo); err != nil {
		return v, err
	}
	if v.line, err = tx.LockLine(repo); err != nil {
		return v, err
	}
	apps, err := tx.Apps(repo)
	v.several = len(apps) > 1
	return v, err
}

// other is a lock of somebody else that covers a part of s, or nil.
func (v lockView) other(s scope, login string) *store.Lock {
	i := slices.IndexFunc(v.locks, func(l store.Lock) bool { return s.overlaps(l.App, l.Environment) && !strings.EqualFold(l.By, login) })
	if i < 0 {
		return nil
	}
	return &v.locks[i]
}

// before is who stands before somebody in the line for s and could take it now, or nil.
func (v lockView) before(s scope, login string) *store.LockWait {
	for i, w := range v.line {
		switch {
		case !s.overlaps(w.App, w.Environment) || v.other(scope{w.App, w.Environment}, w.Login) != nil:
		case strings.EqualFold(w.Login, login):
			return nil
		default:
			return &v.line[i]
		}
	}
	return nil
}

// place is which place in the line for s somebody has, or would get.
func (v lockView) place(s scope, login string) int {
	n := 1
	for _, w := range v.line {
		if strings.EqualFold(w.Login, login) && s == (scope{w.App, w.Environment}) {
			break
		}
		if s.overlaps(w.App, w.Environment) {
			n++
		}
	}
	return n
}

// A leaving is a refusal that leaves something behind all the same: whoever is refused a lock stands in line for it.
type leaving struct {
	error
	leave func(*store.Tx) error
}

func (l leaving) Unwrap() error { return l.error }

// lock takes or extends a lease on an environment, or on all of them.
func (c *call) lock(ctx context.Context, args []string) (outcome, error) {
	s, args, no, err := c.scope(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if s.env == "" {
		if no, err := c.needs(ctx, admin); no != nil || err != nil {
			return no, err
		}
	}
	lasts, args, bad := leaseOf(args)
	if bad != "" {
		return c.no(text.LockDuration, code(bad), c.form()), nil
	}
	reason := text.Fit(strings.Join(args, " "), maxReason)
	return func(tx *store.Tx) (answer, error) {
		v, err := readLocks(tx, c.repo.Name)
		if err != nil {
			return answer{}, err
		}
		i := slices.IndexFunc(v.locks, func(l store.Lock) bool { return s == scope{l.App, l.Environment} })
		name, extended := code(s.name(v.several)), i >= 0 && strings.EqualFold(v.locks[i].By, c.login)
		if !extended && reason == "" {
			return answer{}, c.refuse(text.Usage, c.form())
		}
		if l := v.other(s, c.login); l != nil {
			return answer{}, c.standInLine(v, s, c.lockedBy(*l, v.several))
		}
		if w := v.before(s, c.login); w != nil {
			until := tx.Now().Add(lockTurn)
			if !w.ToldAt.IsZero() {
				until = w.ToldAt.Add(lockTurn)
			}
			return answer{}, c.standInLine(v, s, c.lang().Say(text.LockTurn, code(w.Login), name, c.lang().Time(until)))
		}
		l := store.Lock{Repo: c.repo.Name, App: s.app, Environment: s.env, By: c.login, Reason: reason, Since: store.Time{Time: tx.Now()}, Until: store.Time{Time: tx.Now().Add(lasts)},
			Pull: c.pull, Issue: c.issue}
		key := text.Locked
		if extended {
			if key, l.Since = text.LockExtended, v.locks[i].Since; reason == "" {
				l.Reason = v.locks[i].Reason
			}
		}
		err = errors.Join(tx.PutLock(l),
			tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "lock", Repo: c.repo.Name, Subject: s.name(true), Detail: fmt.Sprintf("%s until %s: %s", s.name(true), l.Until.Format(time.RFC3339), l.Reason)}))
		for _, w := range v.line {
			if strings.EqualFold(w.Login, c.login) && s.holds(w.App, w.Environment) {
				err = errors.Join(err, tx.LeaveLine(w))
			}
		}
		return reply(c.lang().Say(key, name, c.lang().Time(l.Until.Time), code(c.typed("/unlock "+s.name(v.several)))), err)
	}, nil
}

// standInLine refuses a lock, and tells whoever asked which place in the line they have: they are told there when it is free.
func (c *call) standInLine(v lockView, s scope, why string) error {
	if c.issue == 0 { // they could not be told
		return c.refused(why)
	}
	return leaving{c.refused(why + " " + c.lang().Say(text.LockLine, v.place(s, c.login))), func(tx *store.Tx) error {
		return tx.WaitForLock(store.LockWait{Repo: c.repo.Name, App: s.app, Environment: s.env, Login: c.login, Issue: c.issue})
	}}
}

// refused is refuse for a text that is put together.
func (c *call) refused(said string) error {
	r := &Refusal{Text: said}
	c.d.note("refused: %s", r)
	return r
}

// lockedBy says whose lock it is, why, until when, and who ends it.
func (c *call) lockedBy(l store.Lock, several bool) string {
	name := scope{l.App, l.Environment}.name(several)
	return c.lang().Say(text.LockedBy, code(name), code(l.By), c.lang().Time(l.Until.Time), code(l.Reason), code(c.typed("/unlock "+name)))
}

// locked refuses what a person asks for in an environment that is another's by a lock; a way back is never refused.
func (c *call) locked(tx *store.Tx, app, env string) error {
	v, err := readLocks(tx, c.repo.Name)
	if err != nil {
		return err
	}
	s := scope{app, env}
	l := v.other(s, c.login)
	if l == nil {
		return nil
	}
	return c.refused(c.lockedBy(*l, v.several) + " " + c.lang().Say(text.LockAsk, code(c.typed("/lock "+s.name(v.several)))))
}

// passLocks tells the holders of locks that an environment went back to a release all the same.
func (c *call) passLocks(tx *store.Tx, d store.Deployment) error {
	v, err := readLocks(tx, d.Repo)
	if err != nil {
		return err
	}
	s := scope{d.App, d.Environment}
	told := map[string]bool{}
	for _, l := range v.locks {
		who := strings.ToLower(l.By)
		if !s.overlaps(l.App, l.Environment) || strings.EqualFold(l.By, c.login) || told[who] {
			continue
		}
		told[who] = true
		c.d.note("it passes the lock of %s, who is told", l.By)
		err = errors.Join(err, c.bot.tell(tx, d.Repo, l.Issue, l.By, text.LockPassed, code(s.name(v.several)), d.Release, code(c.login), d.Number))
	}
	return err
}

// unlock ends the lock and the hold of an environment, or all that whoever says it may end.
func (c *call) unlock(ctx context.Context, args []string) (outcome, error) {
	s, args, no, err := c.scope(ctx, args)
	if no != nil || err != nil {
		return no, err
	}
	if len(args) > 0 {
		return c.usage(), nil
	}
	has, err := c.bot.access.permission(ctx, c.client, c.repo.Name, c.login)
	if err != nil {
		return c.unknown(err)
	}
	// What is not one's own needs more; who has that is asked of GitHub only where somebody has to be told.
	least := maintain
	if s.env == "" { // as to lock all
		least = admin
	}
	less := c.no(text.NeedsPermission, least, code(c.repo.Name), has, names(nil))
	var theirs bool
	err = c.bot.db.View(ctx, func(tx *store.Tx) error {
		locks, holds, err := barred(tx, c.repo.Name, s)
		theirs = len(holds) > 0 || slices.ContainsFunc(locks, func(l store.Lock) bool { return !strings.EqualFold(l.By, c.login) })
		return err
	})
	if err != nil {
		return nil, err
	}
	if theirs && has < least {
		if no, err := c.needs(ctx, least); err != nil {
			return nil, err
		} else if no != nil {
			less = no
		}
	}
	return func(tx *store.Tx) (answer, error) {
		locks, holds, err := barred(tx, c.repo.Name, s)
		if err != nil {
			return answer{}, err
		}
		v, err := readLocks(tx, c.repo.Name)
		if err != nil {
			return answer{}, err
		}
		var said []string
		kept := false
		for _, l := range locks {
			own := strings.EqualFold(l.By, c.login)
			if !own && has < least {
				kept = true
				continue
			}
			is := scope{l.App, l.Environment}
			if err := errors.Join(tx.EndLock(l), c.auditUnlock(tx, is, "lock of "+l.By)); err != nil {
				return answer{}, err
			}
			said = append(said, c.lang().Say(text.LockEnded, code(is.name(v.several)), code(l.By)))
			if !own {
				if err := c.bot.tell(tx, l.Repo, l.Issue, l.By, text.LockEndedBy, code(is.name(v.several)), code(c.login)); err != nil {
					return answer{}, err
				}
			}
		}
		for _, h := range holds {
			if has < least {
				kept = true
				continue
			}
			is := scope{h.App, h.Environment}
			name := code(is.name(v.several))
			if err := errors.Join(tx.EndHold(h.Repo, h.App, h.Environment), c.auditUnlock(tx, is, "hold of "+h.By)); err != nil {
				return answer{}, err
			}
			if h.By == "" {
				said = append(said, c.lang().Say(text.UnlockedAfterRestore, name))
				continue
			}
			said = append(said, c.lang().Say(text.Unlocked, name, code(h.By)))
			if !strings.EqualFold(h.By, c.login) {
				if err := c.bot.tell(tx, h.Repo, h.Issue, h.By, text.HoldEndedBy, name, code(c.login)); err != nil {
					return answer{}, err
				}
			}
		}
		ended := len(said)
		for _, w := range v.line { // whoever waits for it no longer does
			if strings.EqualFold(w.Login, c.login) && s == (scope{w.App, w.Environment}) {
				said = append(said, c.lang().Say(text.LineLeft, code(s.name(v.several))))
				if err := tx.LeaveLine(w); err != nil {
					return answer{}, err
				}
			}
		}
		if kept && len(said) == 0 {
			return less(tx)
		}
		if kept && ended > 0 {
			var r *Refusal
			if _, err := less(tx); errors.As(err, &r) {
				said = append(said, c.lang().Say(text.OthersStay), r.Text)
			}
		}
		if len(said) > 0 {
			return reply(strings.Join(said, " "), nil)
		}
		for _, l := range v.locks {
			if is := (scope{l.App, l.Environment}); is.holds(s.app, s.env) {
				return answer{}, c.refused(c.lockedBy(l, v.several))
			}
		}
		return answer{}, c.refuse(text.NotHeld, code(s.name(v.several)))
	}, nil
}

func (c *call) auditUnlock(tx *store.Tx, s scope, what string) error {
	return tx.Audit(store.Entry{Actor: c.login, Via: c.via, Action: "unlock", Repo: c.repo.Name, Subject: s.name(true), Detail: what})
}

// barred lists what an /unlock of a scope is about: the lock and the hold of an environment, or everything in it.
func barred(tx *store.Tx, repo string, s scope) (locks []store.Lock, holds []store.Hold, err error) {
	if locks, err = tx.Locks(repo); err != nil {
		return nil, nil, err
	}
	if holds, err = tx.HoldsOf(repo); err != nil {
		return nil, nil, err
	}
	locks = slices.DeleteFunc(locks, func(l store.Lock) bool { return !s.holds(l.App, l.Environment) })
	holds = slices.DeleteFunc(holds, func(h store.Hold) bool { return !s.holds(h.App, h.Environment) })
	return locks, holds, nil
}

// pullClosed ends the locks that were taken from a pull request.
func pullClosed(tx *store.Tx, repo string, pull int, d *decision) error {
	locks, err := tx.LocksOfPull(repo, pull)
	for _, l := range locks {
		d.note("the lock of %s on %s ends with it", l.By, scope{l.App, l.Environment}.name(true))
		err = errors.Join(err, tx.EndLock(l), endedByUs(tx, l, fmt.Sprintf("#%d was closed", pull)))
	}
	return err
}

func endedByUs(tx *store.Tx, l store.Lock, why string) error {
	return tx.Audit(store.Entry{Actor: "shipmate", Via: "engine", Action: "unlock", Repo: l.Repo, Subject: scope{l.App, l.Environment}.name(true), Detail: fmt.Sprintf("lock of %s: %s", l.By, why)})
}

// locks is the work of store.TaskLocks: it ends leases whose time is up, and tells each who waits when it is their turn.
func (b *Bot) locks(ctx context.Context, _ string, _ int) (next time.Time, err error) {
	err = b.db.Update(ctx, func(tx *store.Tx) (err error) { next, err = b.advanceLocks(tx); return err })
	return next, err
}

func (b *Bot) advanceLocks(tx *store.Tx) (next time.Time, err error) {
	over, err := tx.LocksOver()
	if err != nil {
		return next, err
	}
	for _, l := range over {
		if err := errors.Join(tx.EndLock(l), endedByUs(tx, l, "its time was up")); err != nil {
			return next, err
		}
	}
	if next, err = tx.NextLockEnd(); err != nil {
		return next, err
	}
	repos, err := tx.LockLines()
	if err != nil {
		return next, err
	}
	for _, repo := range repos {
		turn, err := b.advanceLine(tx, repo)
		if err != nil {
			return next, err
		}
		if next.IsZero() || !turn.IsZero() && turn.Before(next) {
			next = turn
		}
	}
	return next, nil
}

// advanceLine tells whoever is first in line for what is free. end is when the first of those who were told has had their time.
func (b *Bot) advanceLine(tx *store.Tx, repo string) (end time.Time, err error) {
	v, err := readLocks(tx, repo)
	if err != nil {
		return end, err
	}
	var line []store.LockWait
	for _, w := range v.line {
		if !w.ToldAt.IsZero() && v.other(scope{w.App, w.Environment}, w.Login) != nil { // taken by one who stood before them
			w.ToldAt = store.Time{}
			if err := tx.ToldOfLock(w); err != nil {
				return end, err
			}
		}
		if w.ToldAt.IsZero() || tx.Now().Before(w.ToldAt.Add(lockTurn)) {
			line = append(line, w)
		} else if err := tx.LeaveLine(w); err != nil {
			return end, err
		}
	}
	v.line = line
	for _, w := range line {
		s := scope{w.App, w.Environment}
		if v.other(s, w.Login) != nil || v.before(s, w.Login) != nil {
			if w.ToldAt.IsZero() {
				continue
			}
		} else if w.ToldAt.IsZero() {
			w.ToldAt = store.Time{Time: tx.Now()}
			name := s.name(v.several)
			err := errors.Join(tx.ToldOfLock(w),
				b.tell(tx, repo, w.Issue, w.Login, text.LockFree, code(name), code(b.typed("/lock "+name)), b.lang.Time(tx.Now().Add(lockTurn))))
			if err != nil {
				return end, err
			}
		}
		if until := w.ToldAt.Add(lockTurn); end.IsZero() || until.Before(end) {
			end = until
		}
	}
	return end, nil
}

// barWords say what keeps releases out of an environment, whether one waits or not.
func barWords(tx *store.Tx, repo, app string, env pipeline.Environment, l text.Lang) (words []string, err error) {
	hold, err := store.Optional(tx.Hold(repo, app, env.Name))
	if err != nil {
		return nil, err
	}
	if hold != nil {
		words = append(words, blockWords(store.Deployment{}, pipeline.HoldBlock(*hold), l))
	}
	locks, err := tx.LocksOn(repo, app, env.Name)
	for _, lock := range locks {
		words = append(words, blockWords(store.Deployment{}, pipeline.LockBlock(lock), l))
	}
	if window, until, ok := pipeline.Frozen(env.Freeze, tx.Now()); ok {
		words = append(words, blockWords(store.Deployment{}, store.Block{Kind: store.BlockFreeze, Text: window, Until: until}, l))
	}
	return words, err
}
