package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// OpenReader opens a database that another process may be using, to read it: Update fails. It neither makes nor migrates
// one; the error says so.
func OpenReader(ctx context.Context, file string, auditKey []byte) (*DB, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s: is this the server's file that the bot serves with, and did it ever run?", file)
	}
	u := url.URL{Scheme: "file", Opaque: strings.ReplaceAll(url.PathEscape(file), "%2F", "/")}
	r, err := sqlx.Open("sqlite", u.String()+"?_pragma=busy_timeout(10000)&_pragma=query_only(1)")
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", file, err)
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	var version int
	if err == nil {
		err = r.GetContext(ctx, &version, "PRAGMA user_version")
	}
	if err == nil && version != len(names) {
		err = fmt.Errorf("it has schema %d, this program reads %d: use the program that serves with it, or serve with this one first", version, len(names))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read database %s: %w", file, err), r.Close())
	}
	return &DB{write: r, read: r, Now: time.Now, key: auditKey, stop: func() {}, changed: make(chan struct{})}, nil
}

// Import copies what concerns one repository from another database file, but for events, replies, tasks, messages and audit: enough
// to decide an event as it would be decided there. Rendered objects are left out; that there are some is kept.
func (db *DB) Import(ctx context.Context, file, repo string) error {
	c, err := db.write.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // gives it back
	u := url.URL{Scheme: "file", Opaque: strings.ReplaceAll(url.PathEscape(file), "%2F", "/"), RawQuery: "mode=ro"}
	if _, err := c.ExecContext(ctx, "ATTACH ? AS other", u.String()); err != nil {
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
