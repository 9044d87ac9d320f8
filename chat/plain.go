package chat

import (
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Providers have no escape for most of their markup, so a character that could begin some is replaced by one that only
// looks like it.
var lookalike = map[rune]rune{
	'<': '＜', '>': '＞', '[': '［', ']': '］', '&': '＆', '@': '＠', '#': '＃',
	'*': '∗', '_': '＿', '~': '∼', '`': 'ˋ', '\\': '＼',
}

// defuse makes one harmless line of s: the characters in markup always become lookalikes; those that have a meaning only
// in some places become so there: "_" at the edge of a word, "@" before one, "#" and ">" at the start of the line.
func defuse(s, markup string) string {
	line := []rune(clean(s))
	out := slices.Clone(line)
	for i, r := range line {
		afterWord := i > 0 && isWord(line[i-1])
		beforeWord := i+1 < len(line) && isWord(line[i+1])
		switch {
		case strings.ContainsRune(markup, r),
			r == '_' && !(afterWord && beforeWord),
			r == '@' && !afterWord,
			(r == '#' || r == '>') && i == 0:
			out[i] = lookalike[r]
		}
	}
	return string(out)
}

// inert is one harmless line of s for a markup that knows no escape at all. Addresses in it don't become links.
func inert(s string) string {
	return strings.ReplaceAll(defuse(s, "<>[]&*~`\\"), "://", ":／／")
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// clean makes one line of s, without control characters and without the invisible ones that hide, split or reorder text
// (of these only the joiner stays, that emoji are composed with).
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\u200d':
			return r
		case r == '\n', r == '\r', r == '\t', r == '\u0085', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

var terminalControl = regexp.MustCompile(`\x1b\[[0-9;:?]*[ -/]*[@-~]`)

// lines splits s into its lines, without colours of a terminal and without empty lines.
func lines(s string) []string {
	s = terminalControl.ReplaceAllString(s, "")
	return slices.DeleteFunc(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }),
		func(line string) bool { return clean(line) == "" })
}

// eachLine renders each line of s, with the white space around it, which parts words from what stands beside them.
func eachLine(s string, render func(string) string) string {
	all := strings.Split(s, "\n")
	for i, line := range all {
		inner := strings.TrimSpace(line)
		before, behind, _ := strings.Cut(line, inner)
		all[i] = before + render(inner) + behind
	}
	return strings.Join(all, "\n")
}

// units is the length of s in UTF-16 code units: the strictest reading of a limit in "characters".
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// octets is the length of s in bytes.
func octets(s string) int { return len(s) }

// mostRead is how many bytes of a text are looked at, so that the time to fit it has a bound. No limit allows as many.
const mostRead = 16 << 10

// clip renders s, or as many of its first runes as keep the rendering within limit, and then an ellipsis. What render
// adds for an empty string and the ellipsis must fit.
func clip(s string, limit int, size func(string) int, render func(string) string) string {
	if len(s) > mostRead {
		s = strings.ToValidUTF8(s[:mostRead], "") + "…"
	}
	if whole := render(s); size(whole) <= limit {
		return whole
	}
	runes := []rune(s)
	tooMany := func(n int) bool { return size(render(string(runes[:n])+"…")) > limit }
	n := sort.Search(len(runes), func(n int) bool { return tooMany(n + 1) })
	return render(string(runes[:n]) + "…")
}

// clipTail renders the last lines of s that fit within limit, below an ellipsis where some were left out.
func clipTail(s string, limit int, size func(string) int, render func(string) string) string {
	const longestLine = 400
	if len(s) > mostRead {
		s = strings.ToValidUTF8(s[len(s)-mostRead:], "")
	}
	all := lines(s)
	room := limit - size(render("…"))
	var kept []string
	for i := len(all) - 1; i >= 0; i-- {
		line := clip(all[i], min(longestLine, room-1), size, render)
		if room -= size(line) + 1; room < longestLine/4 && i > 0 {
			kept = append(kept, line, render("…"))
			break
		}
		kept = append(kept, line)
	}
	slices.Reverse(kept)
	return strings.Join(kept, "\n")
}

// address returns raw as an address that can stand in any provider's link markup, or "" where it is not one that Link
// allows. A password in it is taken off.
func address(raw string) string {
	const limit = 512
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return ""
	}
	u.User = nil
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("<>()[]{}|\\^`\"'*", c) >= 0 {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() > limit {
		return ""
	}
	return b.String()
}

// mentions renders people, each once, in at most limit bytes. WeCom and Slack write a mention alike.
func mentions(people []Person, limit int, valid func(id string) bool, name func(string) string) string {
	var out []string
	for _, p := range people {
		one := clip(p.GitHub, 64, octets, name)
		if valid(p.ID) {
			one = "<@" + p.ID + ">"
		}
		if one == "" || slices.Contains(out, one) {
			continue
		}
		if limit -= len(one) + 1; limit < len("…") {
			out = append(out, "…")
			break
		}
		out = append(out, one)
	}
	return strings.Join(out, " ")
}
