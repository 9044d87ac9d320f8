package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
)

// Import copies what concerns one repository from another database file, but for events, replies, tasks, messages and audit: enough
// to decide an event as it would be decided there. Rendered objects are left out; that there are some is kept.
func (db *DB) Import(ctx context.Context, file, repo string) error {
	c, err := db.write.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives it back
	if _, err := c.ExecContext(ctx, "ATTACH ? AS other", readURI(file)); err != nil {
		return fmt.Errorf("read database %s: %w", file, err)
	}
	const mine = " (SELECT id FROM other.deployments WHERE repo = :repo)"
	for _, copy := range []struct{ table, where string }{
		{"repos", "name = :repo"},
		{"runs", "repo = :repo"},
		{"releases", "repo = :repo"},
		{"deployments", "repo = :repo"},
		{"steps", "owner IN" + mine + " OR owner IN (SELECT id FROM other.runs WHERE repo = :repo)"},
		{"approvals", "deployment IN" + mine},
		{"holds", "repo = :repo"},
		{"gone_images", "repo = :repo"},
		{"locks", "repo = :repo"},
		{"lock_waits", "repo = :repo"},
		{"orders", "repo = :repo"},
		{"order_approvals", "order_id IN (SELECT id FROM other.orders WHERE repo = :repo)"},
		{"ok_to_test", "repo = :repo"},
	} {
		var columns []string
		if err = c.SelectContext(ctx, &columns, "SELECT name FROM pragma_table_info(?)", copy.table); err != nil {
			break
		}
		into := strings.Join(columns, ", ")
		from := strings.Replace(into, " objects,", " CASE WHEN objects IS NOT NULL THEN x'00' END,", 1)
		query, args, e := sqlx.Named("INSERT INTO main."+copy.table+" ("+into+") SELECT "+from+" FROM other."+copy.table+" WHERE "+copy.where, map[string]any{"repo": repo})
		if err = e; err != nil {
			break
		}
		if _, err = c.ExecContext(ctx, query, args...); err != nil {
			err = fmt.Errorf("copy %s: %w", copy.table, err)
			break
		}
	}
	_, detached := c.ExecContext(ctx, "DETACH other")
	return errors.Join(err, detached)
}
