package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
)

// openPool opens up to max connections that keep their compiled statements: compiling one takes longer than running it.
// Each begins with the statement setup.
func openPool(dsn, setup string, max int) (*sqlx.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	pool := sqlx.NewDb(sql.OpenDB(connector{c, setup}), "sqlite")
	pool.SetMaxOpenConns(max)
	pool.SetMaxIdleConns(max)
	return pool, nil
}

type connector struct {
	driver.Connector
	setup string
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	kept := &conn{opened.(sqliteConn), map[string]statement{}}
	if _, err := kept.ExecContext(ctx, c.setup, nil); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	return kept, nil
}

// sqliteConn is what each connection of the driver implements, see sqlite.NewConnector.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// maxStatements bounds what a connection keeps; this package has fewer.
const maxStatements = 256

// conn is a connection with the statements that it has compiled and that nobody runs now. database/sql lets one
// goroutine at a time use it.
type conn struct {
	sqliteConn
	idle map[string]statement
}

// take returns a compiled statement. It is not handed out again before put.
func (c *conn) take(ctx context.Context, query string) (statement, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.(statement), nil
}

func (c *conn) put(query string, s statement) error {
	// Some pragmas take effect when they are compiled.
	if _, ok := c.idle[query]; ok || len(c.idle) >= maxStatements || strings.HasPrefix(query, "PRAGMA") {
		return s.Close()
	}
	c.idle[query] = s
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	r, err := s.ExecContext(ctx, args)
	return r, errors.Join(err, c.put(query, s))
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	r, err := s.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, c.put(query, s))
	}
	return &rows{r, c, query, s}, nil
}

// Close implements driver.Conn.
func (c *conn) Close() error {
	var err error
	for _, s := range c.idle {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, c.sqliteConn.Close())
}

// rows give their statement back when they are closed.
type rows struct {
	driver.Rows
	conn  *conn
	query string
	stmt  statement
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	err := r.Rows.Close()
	if r.stmt != nil {
		err = errors.Join(err, r.conn.put(r.query, r.stmt))
		r.stmt = nil
	}
	return err
}
