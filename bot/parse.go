package bot

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/shipmate-dev/shipmate/bot/text"
)

// maxCommands is how many commands of one comment are obeyed.
const maxCommands = 5

// maxDoubtful is of how many lines it is told whether they are commands or text, which takes longer the more stands before them.
const maxDoubtful = 100

// A line is one command as it was typed.
type line struct {
	Name      string   // that of its row of the table, whatever it was called by; lower case, without the slash
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
	html   bool // it stands behind HTML, which goes on to a blank line and in which there is no code: then it cannot be told
}

// What begins on a line of its own and hides what follows, up to its end, also over blank lines (CommonMark, HTML blocks 1
// to 5).
var hiding = []struct{ from, to string }{
	{"<!--", "-->"}, {"<?", "?>"}, {"<![cdata[", "]]>"}, {"<!", ">"},
	{"<pre", "</pre>"}, {"<script", "</script>"}, {"<style", "</style>"}, {"<textarea", "</textarea>"},
}

// listItem is the marker of an item, or of several that begin on one line.
var listItem = regexp.MustCompile("^(?:(?:[-+*]|[0-9]{1,9}[.)])[ \t]+)+")

// htmlTag is what HTML begins with that goes on to a blank line (CommonMark, HTML blocks 6 and 7), and is rendered as it is: what it
// leaves open hides what follows.
var htmlTag = regexp.MustCompile(`^</?[A-Za-z][A-Za-z0-9-]*(?:[ \t/>]|$)`)

// commands finds the commands in a comment (GitHub-flavoured markdown). A command stands at the very start of a line;
// lines in code, quotes and HTML comments are text; where that cannot be told, they are taken for text. slug is the App's
// name, which can be addressed by @slug; where bare is false that and /shipmate are the only forms. A word that is no command in
// the surface's language is text, unless it was addressed to us. It returns at most maxCommands, and whether there were more.
func commands(body, slug string, bare bool, lang text.Lang) (lines []line, more bool) {
	var code fence
	var hidden string // what ends the HTML that hides
	var quote bool    // until a blank line: a line belongs to the quote before it also without its own >
	var html bool     // until a blank line: the paragraph has begun HTML
	var paragraph strings.Builder
	doubtful := 0
	for row := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(body), "\n") {
		indent, word := indented(row)
		switch {
		case hidden != "":
			if _, rest, ends := strings.Cut(strings.ToLower(row), hidden); ends {
				hidden = opens(rest)
			}
			continue
		case word == "" && code.html:
			return lines, false
		case word == "":
			if html {
				hidden = opens(paragraph.String())
			}
			quote, html = false, false
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
			if html {
				paragraph.WriteString(row + "\n")
			}
			continue
		}
		item := listItem.FindString(word)
		inner := word[len(item):]
		if mark := fenceMark(inner); mark != "" && (indent < 4 || item != "") {
			code = fence{mark, indent + len(item), item != "", html}
			if !html {
				paragraph.Reset()
			}
			continue
		}
		begun := strings.TrimLeft(inner, "> ")
		html = html || htmlTag.MatchString(begun) || strings.HasPrefix(begun, "<!")
		if strings.HasPrefix(inner, ">") {
			quote = true
			paragraph.WriteString(row + "\n")
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
		paragraph.WriteString(row + "\n")
		if i := strings.LastIndex(row, "<!--"); i >= 0 && unclosed(row[i:]) {
			row = row[:i]
		}
		l, ok := command1(row, slug, bare, lang)
		if !ok || quote {
			continue
		}
		if doubtful++; doubtful > maxDoubtful {
			return lines, false
		}
		if unclosed(before) {
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

// opens returns what ends the HTML that hides which a text leaves open, empty if it leaves none open.
func opens(html string) string {
	html = strings.ToLower(html)
	for _, h := range hiding {
		i := strings.LastIndex(html, h.from)
		for i >= 0 && h.to[0] == '<' && len(html) > i+len(h.from) && !strings.Contains(" \t\n/>", html[i+len(h.from):][:1]) { // another tag
			i = strings.LastIndex(html[:i], h.from)
		}
		if i >= 0 && !strings.Contains(html[i+2:], h.to) { // <!--> is whole
			return h.to
		}
	}
	return ""
}

// unclosed tells whether a paragraph has begun HTML that hides, or code between backticks, that may end on a later line.
func unclosed(paragraph string) bool {
	if opens(paragraph) != "" {
		return true
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
func command1(row, slug string, bare bool, lang text.Lang) (line, bool) {
	first, rest := cutWord(row)
	if lang == text.Zh { // as Chinese keyboards have it
		first = strings.Replace(first, "／", "/", 1)
	}
	var l line
	switch name := strings.ToLower(first); {
	case name == "/shipmate" || slug != "" && name == "@"+strings.ToLower(slug):
		l.Addressed = true
		first, rest = cutWord(strings.TrimLeftFunc(rest, unicode.IsSpace))
		l.Name = strings.TrimLeft(strings.ToLower(first), "/／")
	case bare && len(name) > 1 && name[0] == '/':
		l.Name = name[1:]
	default:
		return l, false
	}
	if cmd := find(l.Name, lang); cmd != nil {
		l.Name = cmd.name
	} else if !l.Addressed {
		return l, false
	}
	l.Args, l.Err = words(rest)
	if lang == text.Zh {
		english(l)
	}
	return l, true
}

// cutWord cuts a line behind its first word.
func cutWord(s string) (word, rest string) {
	if i := strings.IndexFunc(s, unicode.IsSpace); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// chinese are the words of a command's form besides its name. They count within the first so many arguments, and some before a
// number alone: what follows is a reason, in which they stay as they are.
var chinese = []struct {
	word, english string
	commands      []string
	within        int
	number        bool
}{
	{"到", "to", []string{"rollback"}, 3, true},
	{"持续", "for", []string{"lock"}, 3, true},
	{"全部", "all", []string{"lock", "unlock"}, 2, false},
}

// english puts the Chinese words of a command's form into its own.
func english(l line) {
	for _, w := range chinese {
		for i, arg := range l.Args {
			number := i+1 < len(l.Args) && strings.ContainsAny(l.Args[i+1][:min(1, len(l.Args[i+1]))], "0123456789")
			if arg == w.word && i < w.within && (number || !w.number) && slices.Contains(w.commands, l.Name) {
				l.Args[i] = w.english
			}
		}
	}
}

// quotes are what may stand around text with spaces: phones and Chinese keyboards type the other ones.
const quotes = "\"“”＂"

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
		case strings.ContainsRune(quotes, r):
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

// String is the command as it may be typed again.
func (l line) String() string {
	form := "/" + l.Name
	for _, arg := range l.Args {
		if arg == "" || strings.ContainsAny(arg, quotes) || strings.ContainsFunc(arg, unicode.IsSpace) {
			arg = `"` + escape.Replace(arg) + `"`
		}
		form += " " + arg
	}
	return form
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "“", `\“`, "”", `\”`, "＂", `\＂`)

// options takes the arguments of the form key=value off the others, whose order stays: what was named by no key.
func options(args []string, keys ...string) (values map[string]string, rest []string) {
	values = map[string]string{}
	for _, arg := range args {
		if key, value, ok := strings.Cut(arg, "="); ok && slices.Contains(keys, strings.ToLower(key)) {
			values[strings.ToLower(key)] = value
		} else {
			rest = append(rest, arg)
		}
	}
	return values, rest
}
