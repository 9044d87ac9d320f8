package store

import (
	"errors"

	"modernc.org/sqlite"
)

// Unavailable tells whether an error means that the database cannot be used just now (it is locked, or the disk is full,
// read-only or broken), rather than that it was used wrongly (SQLite's result codes BUSY, LOCKED, READONLY, IOERR, FULL,
// CANTOPEN).
func Unavailable(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff { // the low byte of an extended code is the primary one
	case 5, 6, 8, 10, 13, 14:
		return true
	}
	return false
}
