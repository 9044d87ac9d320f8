// Package store owns the persisted nouns and every transaction on them: one SQLite file, one writer connection,
// readers on a pool, WAL, synchronous=FULL.
//
// The states, as move enforces them and CHECK constraints repeat them:
//
//	Run         queued → running → succeeded | failed | cancelled | superseded
//	            (queued may also end as failed, cancelled or superseded)
//	Step        pending → running → succeeded | failed | cancelled | skipped ;  running → interrupted → pending | failed
//	Deployment  blocked ⇄ queued → applying → progressing ⇄ paused → verifying → succeeded
//	            (applying and verifying may rest as paused, too, and go back to what they were)
//	            from blocked also → rejected | expired ;  from any of them → failed | cancelled | superseded
//	Order       draft → waiting ⇄ approved → running → succeeded | failed | cancelled ;  waiting → rejected | expired
//
// Whoever changes a state wakes, in the same transaction, the report task that renders it to every surface, and
// the task that goes on from there. Nothing else writes a state.
package store
