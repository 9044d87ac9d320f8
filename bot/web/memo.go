package web

import (
	"sync"
	"time"
)

// maxMemos is how many values a memo keeps before it lets go of those that are too old.
const maxMemos = 500

// A memo keeps what was read for a time, for all who look: nothing in it depends on who does. When half of the time is over one of
// those who ask reads it again, while the others go on with what there is; nobody is given what is older than the time.
type memo[K comparable, V any] struct {
	ttl time.Duration

	mu    sync.Mutex
	known map[K]*remembered[V]
}

type remembered[V any] struct {
	making sync.Mutex // held by who reads it
	// The rest is guarded by the memo's mutex.
	value V
	at    time.Time // by the wall clock: when reading it began; zero: it was not read yet
}

// get takes what is known, or reads it; fresh takes nothing that was begun to be read before the call. read gets what is known,
// which may be too old.
func (m *memo[K, V]) get(key K, fresh bool, read func(old V) (V, error)) (V, error) {
	asked := time.Now()
	m.mu.Lock()
	one := m.known[key]
	if one == nil {
		m.forget()
		one = &remembered[V]{}
		m.known[key] = one
	}
	value, age := one.value, asked.Sub(one.at)
	m.mu.Unlock()
	usable := !fresh && age < m.ttl
	if usable && (age < m.ttl/2 || !one.making.TryLock()) {
		return value, nil
	}
	if !usable {
		one.making.Lock()
	}
	defer one.making.Unlock()
	m.mu.Lock()
	value, at := one.value, one.at
	m.mu.Unlock()
	if !usable && (at.After(asked) || !fresh && time.Since(at) < m.ttl) { // it was read while we waited
		return value, nil
	}
	at = time.Now()
	value, err := read(value)
	if err == nil {
		m.mu.Lock()
		one.value, one.at = value, at
		m.mu.Unlock()
	}
	return value, err
}

// forget makes room: mu is held.
func (m *memo[K, V]) forget() {
	if m.known == nil {
		m.known = map[K]*remembered[V]{}
	}
	if len(m.known) < maxMemos {
		return
	}
	for key, one := range m.known {
		if time.Since(one.at) >= m.ttl { // who reads it still has it
			delete(m.known, key)
		}
	}
}
