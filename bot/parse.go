package bot

import (
	"errors"
	"regexp"
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

// A fence is an open block of fenced code.
type fence struct {
	mark   string // empty: none is open
	indent int
	item   bool // it begins on the first line of a list's item, and ends with it
}

// What begins on a line of its own and hides what follows, up to its end, also over blank lines (CommonMark, HTML blocks 1
// to 5).
var hiding = []struct{ from, to string }{
	{"<!--", "-->"}, {"<?", "?>"}, {"<![cdata[", "]]>"}, {"<!", ">"},
	{"<pre", "</pre>"}, {"<script", "</script>"}, {"<style", "</style>"}, {"<textarea", "</textarea>"},
}

// listItem is the marker of an item, or of several that begin on one line.
var listItem = regexp.MustCompile("^(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)+")

// commands finds the commands in a comment (GitHub-flavoured markdown). A command stands at the very start of a line;
// lines in code, quotes and HTML comments are text; where that cannot be told, they are taken for text. slug is the App's
// name, which can be addressed by @slug; where bare is false that and /shipmate are the only forms. It returns at most
// maxCommands, and whether there were more.
func commands(body, slug string, bare bool) (lines []line, more bool) {
	var code fence
	var hidden string // what ends the HTML that hides
	var quote bool    // until a blank line: a line belongs to the quote before it also without its own >
	var paragraph strings.Builder
	for text := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body), "\n") {
		indent, word := indented(text)
		switch {
		case hidden != "":
			if strings.Contains(strings.ToLower(text), hidden) {
				hidden = ""
			}
			continue
		case word == "":
			quote = false
			paragraph.Reset()
			continue
		case code.item && indent < code.indent: // outside of the item
			code = fence{}
		case code.mark != "" && !code.item && code.indent > 1 && indent < 2:
			return lines, false // in the code, or behind the item of a list that held it
		}
		if code.mark != "" {
			if (code.item || indent < 4) && strings.HasPrefix(word, code.mark) && strings.Trim(word, code.mark[:1]) == "" {
				code = fence{}
			}
			continue
		}
		item := listItem.FindString(word)
		inner := word[len(item):]
		if mark := fenceMark(inner); mark != "" && (indent < 4 || item != "") {
			code = fence{mark, indent + len(item), item != ""}
			paragraph.Reset()
			continue
		}
		if strings.HasPrefix(inner, ">") {
			quote = true
			continue
		}
		if indent < 4 {
			if hidden = hides(word); hidden != "" {
				paragraph.Reset()
				continue
			}
		}
		if indent >= 4 && paragraph.Len() == 0 { // indented code
			continue
		}
		before := paragraph.String()
		paragraph.WriteString(text + "\n")
		if i := strings.LastIndex(text, "<!--"); i >= 0 && unclosed(text[i:]) {
			text = text[:i]
		}
		l, ok := command1(text, slug, bare)
		if !ok || quote || unclosed(before) {
			continue
		}
		if len(lines) == maxCommands {
			return lines, true
		}
		lines = append(lines, l)
	}
	return lines, false
}

// indented takes the white space off a line, and tells how many columns that in front was; a tab goes to the next multiple of 4.
func indented(text string) (columns int, word string) {
	for _, r := range text {
		if r == '\t' {
			columns += 4 - columns%4
		} else if r == ' ' {
			columns++
		} else {
			break
		}
	}
	return columns, strings.Trim(text, " \t")
}

// fenceMark is what a line opens fenced code with, empty for a line that does not. Behind backticks no other may follow.
func fenceMark(word string) string {
	for _, mark := range []string{"`", "~"} {
		rest := strings.TrimLeft(word, mark)
		if n := len(word) - len(rest); n >= 3 && (mark == "~" || !strings.Contains(rest, mark)) {
			return word[:n]
		}
	}
	return ""
}

// hides returns what ends the HTML that a line begins, empty if it begins none that goes on behind this line.
func hides(word string) string {
	word = strings.ToLower(word)
	for _, h := range hiding {
		rest, ok := strings.CutPrefix(word, h.from)
		if h.to[0] == '<' && rest != "" { // the tag's name ends there
			ok = ok && strings.Contains(" \t>", rest[:1])
		}
		if ok {
			if strings.Contains(word[2:], h.to) { // <!--> is whole
				return ""
			}
			return h.to
		}
	}
	return ""
}

// unclosed tells whether a paragraph has begun HTML that hides, or code between backticks, that may end on a later line.
func unclosed(paragraph string) bool {
	for _, h := range hiding {
		if i := strings.LastIndex(paragraph, h.from); i >= 0 && !strings.Contains(paragraph[i+2:], h.to) { // <!--> is whole
			return true
		}
	}
	for {
		_, rest, found := strings.Cut(paragraph, "`")
		if !found {
			return false
		}
		after := strings.TrimLeft(rest, "`")
		mark := "`" + rest[:len(rest)-len(after)]
		for { // a run of as many, not of more
			i := strings.Index(after, mark)
			if i < 0 {
				return true
			}
			tail := strings.TrimLeft(after[i:], "`")
			n := len(after) - i - len(tail)
			after = tail
			if n == len(mark) {
				break
			}
		}
		paragraph = after
	}
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
