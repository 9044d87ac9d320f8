package store

import (
	"fmt"
	"time"
)

// Levels of an Annotation, as GitHub calls them ("Create a check run" in its REST API documentation).
const (
	LevelFailure = "failure"
	LevelWarning = "warning"
	LevelNotice  = "notice"
)

// An Annotation is what a tool said of a place in the source.
type Annotation struct {
	Path    string `json:"path"` // in the repository, with slashes
	Line    int    `json:"line"` // from 1
	Column  int    `json:"column,omitempty"`
	Level   string `json:"level"`
	Message string `json:"message"` // one line
}

// Annotations are those of one step of a run.
type Annotations struct {
	Run        string             `db:"run"`
	Step       string             `db:"step"`
	Found      JSON[[]Annotation] `db:"found"`
	More       int                `db:"more"` // how many were left out
	RecordedAt Time               `db:"recorded_at"`
}

// Annotate records what was found in the output of a step. An earlier attempt's are replaced.
func (tx *Tx) Annotate(run, step string, found []Annotation, more int) error {
	_, err := tx.exec("INSERT INTO annotations (run, step, found, more, recorded_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (run, step) DO UPDATE SET found = excluded.found, more = excluded.more, recorded_at = excluded.recorded_at",
		run, step, JSON[[]Annotation]{found}, more, stamp(tx.now))
	return err
}

// Annotations lists those of a run, step by step.
func (tx *Tx) Annotations(run string) ([]Annotations, error) {
	return list[Annotations](tx, "SELECT * FROM annotations WHERE run = ? ORDER BY step", run)
}

// AgeAnnotations drops those that were recorded before the given time. It takes a batch, as AgeEvents does.
func (tx *Tx) AgeAnnotations(before time.Time) (int, error) {
	n, err := tx.exec("DELETE FROM annotations WHERE rowid IN (SELECT rowid FROM annotations WHERE recorded_at < ? ORDER BY recorded_at LIMIT ?)", stamp(before), ageBatch)
	if err != nil {
		return 0, fmt.Errorf("age out annotations: %w", err)
	}
	return int(n), nil
}
