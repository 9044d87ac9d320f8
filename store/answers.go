package store

// An Answer is what a command about the release of a run came to: the release's living comment tells it.
type Answer struct {
	Event   string `db:"event"`
	Seq     int    `db:"seq"` // of the event's commands, from 1
	Run     string `db:"run"`
	Login   string `db:"login"`
	Via     string `db:"via"`
	Issue   int    `db:"issue"`   // the pull request or issue that it was said on, 0 for none
	Command string `db:"command"` // as it may be typed again
	Body    string `db:"body"`    // in the marks of text.Quote
	Refused bool   `db:"refused"`
	At      Time   `db:"at"`
}

// PutAnswer stores what a command came to and gives it its number. The caller wakes what tells it.
func (tx *Tx) PutAnswer(a Answer) error {
	n, err := get[int](tx, "number of an answer", "SELECT 1 + coalesce(max(seq), 0) FROM answers WHERE event = ?", a.Event)
	if err != nil {
		return err
	}
	a.Seq, a.At = n, Time{tx.now}
	return tx.insert("answers", "event seq run login via issue command body refused at", a)
}

// Answers lists the newest of what the commands about a run's release came to, newest first.
func (tx *Tx) Answers(run string, most int) ([]Answer, error) {
	return list[Answer](tx, "SELECT * FROM answers WHERE run = ? ORDER BY at DESC, event DESC, seq DESC LIMIT ?", run, most)
}

// AnswerCount is how many commands there were about a run's release.
func (tx *Tx) AnswerCount(run string) (int, error) {
	return get[int](tx, "number of answers", "SELECT count(*) FROM answers WHERE run = ?", run)
}

// FirstIssue is where the first command about a run's release was said; 0 where none was said on an issue.
func (tx *Tx) FirstIssue(run string) (int, error) {
	first, err := list[int](tx, "SELECT issue FROM answers WHERE run = ? AND issue > 0 ORDER BY at, event, seq LIMIT 1", run)
	if err != nil || len(first) == 0 {
		return 0, err
	}
	return first[0], nil
}

// ReasonButton stands with what was rejected by a button, until whoever pressed it says why.
const ReasonButton = "by button"

// Why a deployment failed at a step of its flow that wants approvals.
const (
	ReasonRejected  = "rejected by " // a login, a colon and the reason follow
	ReasonUndecided = "nobody decided in time"
)

// GiveReason adds the reason to a deployment that a person rejected by a button.
func (tx *Tx) GiveReason(d Deployment, login, reason string) error {
	_, err := tx.exec("UPDATE deployments SET reason = ? WHERE id = ? AND state = 'rejected'", login+": "+reason, d.ID)
	if err == nil && d.Failure.V != nil { // at a step of its flow
		said := ReasonRejected + login + ": " + reason
		_, err = tx.exec("UPDATE deployments SET failure = json_set(failure, '$.reason', ?1), reason = iif(state = 'failed', ?1, reason) WHERE id = ?2", said, d.ID)
	}
	if err != nil {
		return err
	}
	if _, err := tx.exec("UPDATE approvals SET reason = ? WHERE deployment = ? AND login = ? AND vote = 'reject'", reason, d.ID, login); err != nil {
		return err
	}
	return tx.wakeDeployment(d)
}

// AnswersTo lists what the commands of an event came to.
func (tx *Tx) AnswersTo(event string) ([]Answer, error) {
	return list[Answer](tx, "SELECT * FROM answers WHERE event = ? ORDER BY seq", event)
}
