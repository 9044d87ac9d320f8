package sim

import (
	"slices"
	"strings"
	"time"
)

// A fault makes some of the requests fail.
type fault struct {
	method, pattern   string
	status, remaining int
	retryAfter        time.Duration
}

// Fail makes the next requests that match answer with the status: method "" is
// any; in the path pattern, "*" stands for anything, also slashes. A negative
// number of times is for ever, until [GitHub.Recover]. A positive retryAfter is
// sent in whole seconds, and turns a 403 or 429 into a secondary rate limit.
func (gh *GitHub) Fail(method, pattern string, status, times int, retryAfter time.Duration) {
	if times == 0 {
		return
	}
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.faults = append(gh.faults, &fault{method, pattern, status, times, retryAfter})
}

// SlowDown delays every answer.
func (gh *GitHub) SlowDown(d time.Duration) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.delay = d
}

// Down makes GitHub answer every request with 503 and a page, and send no
// webhooks (those that wait are sent afterwards).
func (gh *GitHub) Down(down bool) {
	gh.mu.Lock()
	gh.down = down
	gh.mu.Unlock()
	gh.hooks.wake()
}

// Recover ends everything that Fail, SlowDown and Down began.
func (gh *GitHub) Recover() {
	gh.mu.Lock()
	gh.faults, gh.delay, gh.down = nil, 0, false
	gh.mu.Unlock()
	gh.hooks.wake()
}

// SetSecondaryLimit turns the limits on content-creating requests on or off.
func (gh *GitHub) SetSecondaryLimit(on bool) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	gh.cfg.SecondaryLimit = on
}

// fault returns the fault that the request meets, if any, and uses it up.
func (gh *GitHub) fault(method, path string) (fault, bool) {
	gh.mu.Lock()
	defer gh.mu.Unlock()
	for i, f := range gh.faults {
		if f.method != "" && f.method != method || !matches(f.pattern, path) {
			continue
		}
		if f.remaining > 0 {
			f.remaining--
		}
		if f.remaining == 0 {
			gh.faults = slices.Delete(gh.faults, i, i+1)
		}
		return *f, true
	}
	return fault{}, false
}

// matches reports whether the text has the pattern's form, where "*" stands for
// any characters.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
	return strings.HasSuffix(text, parts[last])
}
