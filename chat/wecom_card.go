package chat

import (
	"crypto/rand"
	"strings"
)

// The limits of a template card: those of WeCom developer documentation 90236 where it names one, else ours, so that a card can be
// read on a phone. All but the numbers of things are bytes of UTF-8.
const (
	cardTitle   = 128
	cardFacts   = 6
	cardName    = 32
	cardValue   = 192
	cardText    = 1024
	cardButtons = 6
	cardLabel   = 48
	cardKey     = 1024
)

// wecomCard is a template_card, as far as it is used.
type wecomCard struct {
	Type    string       `json:"card_type"`
	Title   cardWords    `json:"main_title"`
	Text    string       `json:"sub_title_text,omitempty"`
	Facts   []cardFact   `json:"horizontal_content_list,omitempty"`
	Jumps   []cardJump   `json:"jump_list,omitempty"`
	Action  cardAction   `json:"card_action"`
	Task    string       `json:"task_id,omitempty"`
	Buttons []cardButton `json:"button_list,omitempty"`
}

type cardWords struct {
	Title string `json:"title"`
	Desc  string `json:"desc,omitempty"`
}

type cardFact struct {
	Type  int    `json:"type,omitempty"` // 1: URL is where it leads
	Name  string `json:"keyname"`
	Value string `json:"value"`
	URL   string `json:"url,omitempty"`
}

type cardJump struct {
	Type  int    `json:"type"` // 1: a page
	Title string `json:"title"`
	URL   string `json:"url"`
}

type cardAction struct {
	Type int    `json:"type"` // 1: a page
	URL  string `json:"url"`
}

type cardButton struct {
	Text  string `json:"text"`
	Style int    `json:"style"`
	Key   string `json:"key"`
}

// The keys of our buttons begin with what a press of one means.
const (
	cardSays = "!" // what follows is said
	cardAsks = "?" // the same, but something is asked before
)

// newCard is a card with buttons; nil where none can be shown, as of a message that leads to no page. Task names it for ever.
func newCard(title, desc, link string, buttons []Button) *wecomCard {
	c := &wecomCard{Type: "button_interaction", Title: cardWords{clip(title, cardTitle, octets, inert), clip(desc, cardTitle, octets, inert)},
		Action: cardAction{1, address(link)}, Task: rand.Text()}
	for _, b := range buttons {
		key := cardSays + b.Value
		if b.Confirm != "" || b.Reason != "" {
			key = cardAsks + b.Value
		}
		if len(key) > cardKey || len(c.Buttons) == cardButtons {
			continue
		}
		style := 4
		switch {
		case b.Primary:
			style = 1
		case b.Danger:
			style = 2
		}
		c.Buttons = append(c.Buttons, cardButton{clip(b.Label, cardLabel, octets, inert), style, key})
	}
	if c.Title.Title == "" || c.Action.URL == "" || len(c.Buttons) == 0 {
		return nil
	}
	return c
}

// messageCard is m as a card, or nil where it has no buttons. What does not fit is on the page.
func messageCard(m Message) *wecomCard {
	c := newCard(m.Title, m.Status, m.Link.URL, m.Buttons)
	if c == nil {
		return nil
	}
	var rest []string
	for _, f := range m.Fields {
		name, value := clip(f.Name, cardName, octets, inert), clip(f.Value, cardValue, octets, inert)
		switch {
		case value == "":
		case name != "" && len(c.Facts) < cardFacts:
			fact := cardFact{Name: name, Value: value, URL: address(f.URL)}
			if fact.URL != "" {
				fact.Type = 1
			}
			c.Facts = append(c.Facts, fact)
		default:
			rest = append(rest, strings.TrimPrefix(name+": ", ": ")+clip(f.Value, 2*cardValue, octets, inert))
		}
	}
	c.Text = within(cardText, append(append([]string{clip(m.Text, cardValue, octets, inert)}, rest...), typed(m.Buttons)...))
	return c
}

// answerCard is an answer as a card, or nil where it has no buttons.
func answerCard(a Answer) *wecomCard {
	c := newCard(a.Title, "", a.Link.URL, a.Buttons)
	if c != nil {
		c.Text = within(cardText, append(strings.Split(plainAnswer(a, cardText/2), "\n"), typed(a.Buttons)...))
	}
	return c
}

// typed lists how the buttons are said by typing.
func typed(buttons []Button) (all []string) {
	for _, b := range buttons {
		if b.Typed != "" {
			all = append(all, inert(b.Typed))
		}
	}
	return all
}

// within joins as many lines as fit in limit bytes.
func within(limit int, lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		switch {
		case line == "":
		case b.Len()+len("\n"+line) > limit-len("\n…"):
			b.WriteString("\n…")
			return b.String()
		default:
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// plainAnswer is an answer as text without markup, of at most limit bytes.
func plainAnswer(a Answer, limit int) string {
	return renderAnswer(a, limit, "", "", func(s string) string { return eachLine(s, inert) })
}

// markdownAnswer is an answer in WeCom's markdown, of at most limit bytes.
func markdownAnswer(a Answer, limit int) string { return renderAnswer(a, limit, "`", "\n", robotQuote) }

// renderAnswer puts code beside what is shown as it is, and space around the lines of a log, which quote renders.
func renderAnswer(a Answer, limit int, code, space string, quote func(string) string) string {
	// No address becomes a link but ours: what people typed may be among the words too.
	words := func(s string) string {
		home := strings.TrimSuffix(address(a.Link.URL), "/") + "/"
		if home == "/" {
			return inert(s)
		}
		return strings.ReplaceAll(inert(s), inert(home), home)
	}
	var b strings.Builder
	if a.Refused {
		b.WriteString(slackSymbol[Failed] + " ")
	}
	for _, span := range a.Text {
		left := limit - len("…") - b.Len()
		if left < 32 { // there is a page
			b.WriteString("…")
			break
		}
		switch span.Kind {
		case Code:
			if text := clip(span.Text, left-2*len(code), octets, inert); text != "" {
				b.WriteString(code + text + code)
			}
		case Block:
			if text := clipTail(span.Text, left-len("\n")-2*len(space), octets, quote); text != "" {
				b.WriteString("\n" + text + space + space) // an empty line ends a quote
			}
		case Address:
			text := address(span.Text)
			if code != "" { // in markdown
				text = robotLink("", span.Text, left)
			}
			if len(text) <= left { // a piece of it leads nowhere
				b.WriteString(text)
			}
		default:
			b.WriteString(clip(span.Text, left, octets, func(s string) string { return eachLine(s, words) }))
		}
	}
	return b.String()
}
