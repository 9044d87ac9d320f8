package store

import (
	"context"
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// resultCode is SQLite's primary result code, 0 where an error is none of SQLite's.
func resultCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff // the low byte of an extended code is the primary one
}

// Unavailable tells whether an error means that the database cannot be used just now (it is locked, or the disk is full,
// read-only or broken), rather than that it was used wrongly.
func Unavailable(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN:
		return true
	}
	return false
}

// Remedy says what an operator can do about an error of Update; empty where that is nothing.
func Remedy(err error) string {
	const held = "end the other process that holds the database (fuser shipmate.db names it)"
	switch resultCode(err) {
	case sqlite3.SQLITE_FULL:
		return "make room on the disk of data_dir; the bot need not be restarted"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return "look after the disk of data_dir: it fails, is full or is not there; the bot need not be restarted"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return "make data_dir and all in it writable for the bot"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return held
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "stop the bot and restore a backup"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return held + ", or see why the disk of data_dir is slow"
	}
	return ""
}
