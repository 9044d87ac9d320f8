package strictyaml

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// ParseDuration reads a time span as people write it in a file or a command: Go's syntax with days before it, as in
// "90s", "1h30m", "30d" or "1d12h". A day is 24 hours; the span is never negative and at most 10 years.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no time span; write for example 90s, 30m, 1h30m or 30d", text)
	days, rest, hasDays := strings.Cut(text, "d")
	var total time.Duration
	if hasDays {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, bad
		}
		total = time.Duration(n) * day
	} else {
		rest = text
	}
	if rest != "" || !hasDays {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.ContainsAny(rest, "+-") {
			return 0, bad
		}
		if d > 3650*day {
			return 0, fmt.Errorf("%q is longer than 3650d; write a shorter time span", text)
		}
		total += d
	}
	if total > 3650*day {
		return 0, fmt.Errorf("%q is longer than 3650d; write a shorter time span", text)
	}
	return total, nil
}
