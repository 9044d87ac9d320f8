package text

import "strings"

// Around what somebody typed, or what is written as code, until a surface renders it: both are control characters, which
// Quote takes out of what it quotes.
const (
	quoteBegin = "\x0e"
	quoteEnd   = "\x0f"
)

// Quote marks a name, a command or anything that a person typed, so that each surface can show it in its own way and as
// nothing but text. White space in it becomes one space.
func Quote(s string) string {
	s = strings.NewReplacer(quoteBegin, "", quoteEnd, "").Replace(s)
	return quoteBegin + strings.Join(strings.Fields(s), " ") + quoteEnd
}

// Render shows what was marked by Quote as show does it.
func Render(s string, show func(string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, quoteBegin)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		quoted, after, _ := strings.Cut(rest, quoteEnd)
		b.WriteString(show(quoted))
		s = after
	}
}

// Plain takes the marks of Quote away.
func Plain(s string) string { return Render(s, func(q string) string { return q }) }

// Markdown shows what was quoted as code, as GitHub-flavoured markdown has it: nothing in it is markup, a mention or a link.
func Markdown(s string) string {
	return Render(s, func(q string) string {
		fence := "`"
		for strings.Contains(q, fence) {
			fence += "`"
		}
		if len(fence) > 1 || q == "" {
			return fence + " " + q + " " + fence
		}
		return fence + q + fence
	})
}
