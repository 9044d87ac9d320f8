package store

import (
	"errors"
	"fmt"
	"time"
)

// TaskOrder is the kind of the task that advances a release order; its key is the order's id.
const TaskOrder = "order"

// ReasonOrder stands with every part that was cancelled because its order ended before it.
const ReasonOrder = "its release order has ended"

// States of an Order; Succeeded, Failed, Cancelled, Rejected and Expired are as of a deployment.
const (
	OrderDraft    = "draft"    // its parts are being rendered
	OrderWaiting  = "waiting"  // for approvals
	OrderApproved = "approved" // its first part may begin
	OrderRunning  = "running"
)

// An Order is a release order (发布单): releases of several apps that go to one environment in their order, with one
// approval for the whole. Its parts are deployments.
type Order struct {
	ID          string `db:"id"`
	Repo        string `db:"repo"`
	Number      int    `db:"number"` // what people type
	Environment string `db:"environment"`
	Requester   string `db:"requester"`
	Note        string `db:"note"` // why
	Event       string `db:"event"`
	Pull        int    `db:"pull"`        // the pull request or issue that it was made on, 0 for none
	RollbackOf  string `db:"rollback_of"` // the order that it takes back
	State       string `db:"state"`
	Reason      string `db:"reason"`
	CreatedAt   Time   `db:"created_at"`
	FinishedAt  Time   `db:"finished_at"`
	ExpiresAt   Time   `db:"expires_at"` // of its wait for approval
	RemindedAt  Time   `db:"reminded_at"`
}

// An OrderApproval is one person's vote on one order.
type OrderApproval struct {
	OrderID string `db:"order_id"`
	Login   string `db:"login"`
	Vote    string `db:"vote"` // approve | reject
	Reason  string `db:"reason"`
	Bound   string `db:"bound"` // hash of what was approved
	Via     string `db:"via"`
	At      Time   `db:"at"`
}

// NewOrder stores an order, gives it its id and number, and wakes its task. Its parts are added with NewDeployment.
func (tx *Tx) NewOrder(o *Order) error {
	n, err := get[int](tx, "order number", nextNumber+"orders WHERE repo = ?", o.Repo)
	if err != nil {
		return err
	}
	o.ID, o.Number, o.State, o.CreatedAt = NewID(), n, OrderDraft, Time{tx.now}
	return errors.Join(
		tx.insert("orders", "id repo number environment requester note event pull rollback_of state created_at", o),
		tx.changed("order", o.ID, o.State), tx.wakeOrder(o.ID))
}

func (tx *Tx) wakeOrder(id string) error {
	return errors.Join(tx.Wake(TaskOrder, id), tx.Wake(TaskReport, "order/"+id))
}

// Order reads an order by its id.
func (tx *Tx) Order(id string) (Order, error) {
	return get[Order](tx, "order "+id, "SELECT * FROM orders WHERE id = ?", id)
}

// OrderNumber reads an order by the number that people type.
func (tx *Tx) OrderNumber(repo string, number int) (Order, error) {
	return get[Order](tx, fmt.Sprintf("order %d", number), "SELECT * FROM orders WHERE repo = ? AND number = ?", repo, number)
}

// OrderParts lists the deployments of an order, in its order.
func (tx *Tx) OrderParts(id string) ([]Deployment, error) {
	return list[Deployment](tx, "SELECT * FROM deployments WHERE order_id = ? AND order_id <> '' ORDER BY part, number", id)
}

// OpenOrders lists the orders of a repository that have not ended, oldest first.
func (tx *Tx) OpenOrders(repo string) ([]Order, error) {
	return list[Order](tx, "SELECT * FROM orders WHERE repo = ? AND state IN ('draft','waiting','approved','running') ORDER BY number", repo)
}

// OrdersOf lists the orders of a repository below a number, newest first.
func (tx *Tx) OrdersOf(repo string, below, limit int) ([]Order, error) {
	return list[Order](tx, "SELECT * FROM orders WHERE repo = ? AND number < ? ORDER BY number DESC LIMIT ?", repo, below, limit)
}

// RollbackOrder finds the newest order that takes another back.
func (tx *Tx) RollbackOrder(id string) (Order, error) {
	return get[Order](tx, "rollback of an order", "SELECT * FROM orders WHERE rollback_of = ? AND rollback_of <> '' ORDER BY number DESC LIMIT 1", id)
}

// MoveOrder moves an order to a state that is none of its ends.
func (tx *Tx) MoveOrder(o Order, state string) error {
	return errors.Join(tx.move("orders", state, "", nil, "id = ?", o.ID), tx.wakeOrder(o.ID))
}

// EndOrder moves an order to one of its ends. Its parts are the caller's.
func (tx *Tx) EndOrder(o Order, state, reason string) error {
	return errors.Join(tx.move("orders", state, "reason = ?, finished_at = ?", []any{reason, stamp(tx.now)}, "id = ?", o.ID), tx.wakeOrder(o.ID))
}

// ExpireOrder says until when an order waits for its approvals. Whoever may give them is reminded once more.
func (tx *Tx) ExpireOrder(o Order, at time.Time) error {
	_, err := tx.exec("UPDATE orders SET expires_at = ?, reminded_at = NULL WHERE id = ?", stamp(at), o.ID)
	return errors.Join(err, tx.Wake(TaskReport, "order/"+o.ID))
}

// AskOrderAgain makes every approval of an order void, and for good: also when its rules become again what they were. Where it
// waits for them, its time to expire, which is the caller's, and its reminder begin anew.
func (tx *Tx) AskOrderAgain(id string) error {
	_, errVotes := tx.exec("UPDATE order_approvals SET bound = 'void ' || bound WHERE order_id = ? AND bound NOT LIKE 'void %'", id)
	_, err := tx.exec("UPDATE orders SET expires_at = NULL, reminded_at = NULL WHERE id = ? AND state = 'waiting'", id)
	return errors.Join(errVotes, err, tx.wakeOrder(id))
}

// RemindOrder records that those who may approve an order were reminded, and wakes what does it.
func (tx *Tx) RemindOrder(o Order) error {
	_, err := tx.exec("UPDATE orders SET reminded_at = ? WHERE id = ?", stamp(tx.now), o.ID)
	return errors.Join(err, tx.wakeOrder(o.ID))
}

// VoteOrder records one person's vote on an order; a second one of the same person replaces the first.
func (tx *Tx) VoteOrder(a OrderApproval) error {
	a.At = Time{tx.now}
	err := tx.named(`INSERT INTO order_approvals (order_id, login, vote, reason, bound, via, at)
		VALUES (:order_id, :login, :vote, :reason, :bound, :via, :at)
		ON CONFLICT (order_id, login) DO UPDATE SET vote = excluded.vote, reason = excluded.reason, bound = excluded.bound, via = excluded.via, at = excluded.at`, a)
	return errors.Join(err, tx.wakeOrder(a.OrderID))
}

// OrderApprovals lists the votes on an order, oldest first.
func (tx *Tx) OrderApprovals(id string) ([]OrderApproval, error) {
	return list[OrderApproval](tx, "SELECT * FROM order_approvals WHERE order_id = ? ORDER BY at, login", id)
}
