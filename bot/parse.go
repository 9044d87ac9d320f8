package bot

import (
	"errors"
	"strings"
	"unicode"
)

// maxCommands is how many commands of one comment are obeyed.
const maxCommands = 5

// A line is one command as it was typed.
type line struct {
	Name      string   // lower case, without the slash
	Args      []string // words; "quoted text" is one, without its quotes
	Addressed bool     // typed as /shipmate name or @shipmate name
	Err       error    // it is a command, but cannot be read
}

var errQuote = errors.New(`a quote is not closed: write "…" around text with spaces`)

// commands finds the commands in a comment (GitHub-flavoured markdown). A command stands at the very start of a line;
// lines in code blocks, quotes and HTML comments are text. slug is the App's name, which can be addressed by @slug; where
// bare is false that and /shipmate are the only forms. It returns at most maxCommands, and whether there were more.
func commands(body, slug string, bare bool) (lines []line, more bool) {
	var fence string // the open fence, empty outside of one
	var quote, comment, paragraph bool
	for text := range strings.Lines(body) {
		text = strings.TrimRight(text, "\r\n")
		if comment { // an HTML comment runs to its end, over any number of lines
			comment = !strings.Contains(text, "-->")
			continue
		}
		indent := len(text) - len(strings.TrimLeft(text, " "))
		word := strings.TrimSpace(text)
		if fence != "" {
			if indent < 4 && strings.HasPrefix(word, fence) && strings.Trim(word, fence[:1]) == "" {
				fence = ""
			}
			continue
		}
		switch {
		case word == "":
			quote, paragraph = false, false
			continue
		case indent < 4 && (strings.HasPrefix(word, "```") || strings.HasPrefix(word, "~~~")):
			n := len(word) - len(strings.TrimLeft(word, word[:1]))
			fence = word[:n]
			continue
		case indent < 4 && strings.HasPrefix(word, ">"):
			quote = true // until a blank line: the next line belongs to the quote also without its own >
			continue
		}
		if i := strings.LastIndex(text, "<!--"); i >= 0 && !strings.Contains(text[i:], "-->") {
			comment = true
			text = text[:i]
		}
		if quote || indent > 0 && (indent >= 4 || !paragraph) || strings.HasPrefix(text, "\t") {
			continue
		}
		paragraph = true
		l, ok := command1(text, slug, bare)
		if !ok {
			continue
		}
		if len(lines) == maxCommands {
			return lines, true
		}
		lines = append(lines, l)
	}
	return lines, false
}

// command1 reads one line of text, which is a command or not.
func command1(text, slug string, bare bool) (line, bool) {
	first, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	var l line
	switch name := strings.ToLower(first); {
	case name == "/shipmate" || slug != "" && name == "@"+strings.ToLower(slug):
		rest = strings.TrimLeft(rest, " ")
		first, rest, _ = strings.Cut(rest, " ")
		l.Addressed = true
		l.Name = strings.TrimPrefix(strings.ToLower(first), "/")
	case bare && len(name) > 1 && name[0] == '/' && !strings.Contains(name[1:], "/"):
		l.Name = name[1:]
	default:
		return l, false
	}
	l.Args, l.Err = words(rest)
	return l, true
}

// words splits arguments at white space; "quoted text" is one word, and \" in it is a quote.
func words(s string) ([]string, error) {
	var out []string
	var b strings.Builder
	var quoted, open, escaped bool
	flush := func() {
		if b.Len() > 0 || quoted {
			out = append(out, b.String())
		}
		b.Reset()
		quoted = false
	}
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case open && r == '\\':
			escaped = true
		case r == '"' || r == '“' || r == '”': // phones type the curly ones
			open, quoted = !open, true
		case !open && unicode.IsSpace(r):
			flush()
		default:
			b.WriteRune(r)
		}
	}
	if open {
		return nil, errQuote
	}
	flush()
	return out, nil
}
