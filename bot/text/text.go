// Package text holds every sentence that a person reads, in English and Chinese.
//
// A sentence is a row of one table, its two languages side by side, and is said by [Lang.Say] with its facts. Sentences are
// plain text without markup, since every surface has its own; a surface may put its markup around an argument. An argument
// is never taken as format. Counts, durations and states are arguments too, put into words by [Lang.Count],
// [Lang.Duration] and [Lang.State].
package text

import (
	"fmt"
	"strings"
	"time"
)

// Lang is a language that people are spoken to in. Any value but Zh is English.
type Lang string

// The languages.
const (
	En Lang = "en"
	Zh Lang = "zh"
)

// words are one meaning in both languages.
type words struct{ en, zh string }

func (l Lang) of(w words) string {
	if l == Zh {
		return w.zh
	}
	return w.en
}

// Say is the sentence with its arguments, which are those listed beside its key, in that order.
func (l Lang) Say(key Key, args ...any) string { return fmt.Sprintf(l.of(sentences[key]), args...) }

// MaxStatus is how many characters GitHub takes as the description of a status, of a commit or of a deployment.
const MaxStatus = 140

// Fit makes one line of at most limit characters of s, with an ellipsis where something was left out. limit is at least 1.
func Fit(s string, limit int) string {
	line := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(s, "\ufffd")), " "))
	if len(line) <= limit {
		return string(line)
	}
	return strings.TrimSpace(string(line[:limit-1])) + "…"
}

// Join makes one clause of several.
func (l Lang) Join(clauses []string) string { return strings.Join(clauses, l.of(words{"; ", "；"})) }

// Noun is a thing that is counted.
type Noun int

// The nouns.
const (
	Pods Noun = iota
	Commits
	nounCount
)

// nouns have an English singular, an English plural, and in Chinese a measure word with the noun.
var nouns = [nounCount]struct{ one, many, zh string }{
	Pods:    {"pod", "pods", "个 Pod"},
	Commits: {"commit", "commits", "个提交"},
}

// Count is n of a noun: "1 pod", "2 pods", "2 个 Pod".
func (l Lang) Count(n int, noun Noun) string {
	word := words{nouns[noun].many, nouns[noun].zh}
	if n == 1 {
		word.en = nouns[noun].one
	}
	return fmt.Sprintf("%d %s", n, l.of(word))
}

// Duration is d in its two largest units, rounded to seconds: "1m 20s", "1 分 20 秒".
func (l Lang) Duration(d time.Duration) string {
	d = d.Round(time.Second)
	if d <= 0 {
		return l.of(words{"less than 1s", "不到 1 秒"})
	}
	units := []struct {
		size time.Duration
		words
	}{
		{24 * time.Hour, words{"d", " 天"}},
		{time.Hour, words{"h", " 小时"}},
		{time.Minute, words{"m", " 分"}},
		{time.Second, words{"s", " 秒"}},
	}
	for d < units[0].size {
		units = units[1:]
	}
	var parts []string
	for _, u := range units[:min(2, len(units))] {
		if n := d / u.size; n > 0 {
			parts = append(parts, fmt.Sprintf("%d%s", n, l.of(u.words)))
		}
		d %= u.size
	}
	s := strings.Join(parts, " ")
	if strings.HasSuffix(s, " 分") { // nothing smaller follows
		s += "钟"
	}
	return s
}

// Time is t to the minute, in its own zone, which is named: "2026-03-01 12:00 UTC".
func (l Lang) Time(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }
