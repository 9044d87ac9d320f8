package store

import "testing"

// TestOutbox: news takes the place of what waits; progress that found no room and was overtaken is counted until a message said so.
func TestOutbox(t *testing.T) {
	db, _ := open(t)
	o := func(key string, rank int, said string) Outgoing {
		return Outgoing{Chat: "wecom/ops", Kind: TaskSay, Key: key, Rank: rank, Said: said}
	}
	var waiting []Outgoing
	do := func(fn func(tx *Tx) error) {
		t.Helper()
		if err := db.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(tx *Tx) (err error) { waiting, err = tx.Outbox("wecom/ops"); return err }); err != nil {
			t.Fatal(err)
		}
	}
	enqueue := func(all ...Outgoing) {
		t.Helper()
		do(func(tx *Tx) error {
			for _, one := range all {
				if err := tx.Enqueue(one); err != nil {
					return err
				}
			}
			return nil
		})
	}
	is := func(want ...Outgoing) {
		t.Helper()
		if len(waiting) != len(want) {
			t.Fatalf("%d wait, not %d: %+v", len(waiting), len(want), waiting)
		}
		for i, w := range want {
			if g := waiting[i]; g.Key != w.Key || g.Rank != w.Rank || g.Said != w.Said || g.Omitted != w.Omitted || g.Waited != w.Waited {
				t.Errorf("%d is %+v, not %+v", i, g, w)
			}
		}
	}
	enqueue(o("a", RankProgress, "started"), o("b", RankProgress, "started"), o("c", RankApproval, "waiting"))
	is(o("c", RankApproval, "waiting"), o("a", RankProgress, "started"), o("b", RankProgress, "started"))
	enqueue(o("a", RankFailure, "failed")) // before there was no room: nobody misses anything
	is(o("c", RankApproval, "waiting"), o("a", RankFailure, "failed"), o("b", RankProgress, "started"))
	do(func(tx *Tx) error { return tx.Waits("wecom/ops") })
	enqueue(o("b", RankEnd, "succeeded"))
	b := o("b", RankEnd, "succeeded")
	if b.Omitted = 1; len(waiting) != 3 || waiting[2].Omitted != 1 || waiting[2].Waited || waiting[2].Rank != RankEnd {
		t.Fatalf("after news: %+v", waiting)
	}

	// What was read before the news does not take the news away.
	do(func(tx *Tx) error { return tx.Told(o("a", RankProgress, "started")) })
	if len(waiting) != 3 {
		t.Fatalf("the news is gone: %+v", waiting)
	}
	do(func(tx *Tx) error { return tx.Told(waiting[0]) })
	do(func(tx *Tx) error { return tx.Told(waiting[0]) })
	is(b)
	do(func(tx *Tx) error { return tx.Told(waiting[0]) }) // it is told, but not what it counts
	left := b
	left.Rank = RankOmitted
	is(left)
	do(func(tx *Tx) error { return tx.ToldOmitted(waiting) })
	is()

	enqueue(o("d", RankProgress, "started"))
	do(func(tx *Tx) error { return tx.Omit(waiting[0]) })
	left = o("d", RankOmitted, "started")
	left.Omitted = 1
	is(left)
	enqueue(o("e", RankEnd, "failed"))
	do(func(tx *Tx) error { return tx.GiveUp(waiting[0], "no such robot") })
	is(left)
	if err := db.View(t.Context(), func(tx *Tx) error {
		buried, err := tx.Buried()
		if len(buried) != 1 || buried[0].Key != "e" || buried[0].Reason != "no such robot" {
			t.Errorf("given up: %+v", buried)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
