package text

import "strings"

// Around what somebody typed, or what is written as code, until a surface renders it: both are control characters, which
// Quote takes out of what it quotes.
const (
	quoteBegin = "\x0e"
	quoteEnd   = "\x0f"
	blockBegin = "\x11" // around lines that are shown as they are
	blockEnd   = "\x12"
)

var unmarked = strings.NewReplacer(quoteBegin, "", quoteEnd, "", blockBegin, "", blockEnd, "")

// Quote marks a name, a command or anything that a person typed, so that each surface can show it in its own way and as
// nothing but text. White space in it becomes one space.
func Quote(s string) string {
	return quoteBegin + strings.Join(strings.Fields(unmarked.Replace(s)), " ") + quoteEnd
}

// Block marks lines of a log, a diff or the like, which each surface shows as they are and as nothing but text.
func Block(lines []string) string {
	plain := strings.NewReplacer("\n", " ", "\r", " ")
	all := make([]string, len(lines))
	for i, l := range lines {
		all[i] = plain.Replace(unmarked.Replace(strings.ToValidUTF8(l, "\ufffd")))
	}
	return blockBegin + strings.Join(all, "\n") + blockEnd
}

// A Part is a piece of a text: words of ours, or what was marked by Quote or Block.
type Part struct {
	Text          string
	Quoted, Block bool
}

// Parts takes a text apart at its marks.
func Parts(s string) (parts []Part) {
	for {
		i := strings.IndexAny(s, quoteBegin+blockBegin)
		if i < 0 {
			return append(parts, Part{Text: s})
		}
		block := s[i:i+1] == blockBegin
		end := quoteEnd
		if block {
			end = blockEnd
		}
		marked, after, _ := strings.Cut(s[i+1:], end)
		parts = append(parts, Part{Text: s[:i]}, Part{marked, !block, block})
		s = after
	}
}

// Render shows what was marked by Quote as quote does it, and what was marked by Block as block does it.
func Render(s string, quote, block func(string) string) string {
	var b strings.Builder
	for _, p := range Parts(s) {
		switch {
		case p.Quoted:
			b.WriteString(quote(p.Text))
		case p.Block:
			b.WriteString(block(p.Text))
		default:
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// Plain takes the marks of Quote and Block away.
func Plain(s string) string {
	as := func(s string) string { return s }
	return Render(s, as, as)
}

// Markdown shows what was quoted as code, as GitHub-flavoured markdown has it: nothing in it is markup, a mention or a link.
func Markdown(s string) string {
	return Render(s, func(q string) string {
		fence := longer("`", q)
		if len(fence) > 1 || q == "" {
			return fence + " " + q + " " + fence
		}
		return fence + q + fence
	}, func(lines string) string {
		fence := longer("```", lines)
		return fence + "text\n" + lines + "\n" + fence
	})
}

// longer is a fence that does not stand in a text.
func longer(fence, s string) string {
	for strings.Contains(s, fence) {
		fence += "`"
	}
	return fence
}
