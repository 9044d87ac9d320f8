// Package runlog keeps the log of a run in a file: written once, while others read it.
//
// The file is a row of frames in the Zstandard format (RFC 8878), so that zstdcat shows it. Each frame holds some whole
// lines and can be read by itself; before it stands a skippable frame that says how long it is and which lines it has, so
// that a reader goes from one to the next, or to the end, and unpacks only what is asked for. A frame is written by one
// write: who is killed leaves at most the last one incomplete. It is passed over, and the next writer replaces it.
//
// Of a log that grows beyond the limit the middle is taken out, since what matters stands at its ends. Lines keep their
// numbers, so a reader sees by them what is missing.
package runlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxText is how much text of one log is kept, in bytes with its times: the first half and the last half of that.
const MaxText = 50 << 20

// A Line is one line of a log.
type Line struct {
	Number int // from 1, also counting lines that are not kept
	At     time.Time
	Step   string // not empty
	Stream int    // 1 and 2: what the step's command wrote there; 0: what is said about the step
	Text   string // without a line end; of a command it may have a terminal's colours, see Uncoloured
}

// colours are the only control sequences that lines keep: those that choose how text looks (SGR, ECMA-48 8.3.117).
var colours = regexp.MustCompile("\x1b\\[[0-9;:]*m")

// Uncoloured is the text of a line without colours.
func Uncoloured(text string) string {
	if strings.IndexByte(text, '\x1b') < 0 {
		return text // as almost every line
	}
	return colours.ReplaceAllString(text, "")
}

// String is the line as it stands in a log that is given out as text: without colours.
func (l Line) String() string {
	at := ""
	if !l.At.IsZero() {
		at = l.At.UTC().Format(stamp)
	}
	return at + "\t" + l.Step + "\t" + Uncoloured(l.Text)
}

const (
	stamp = "2006-01-02T15:04:05.000Z"

	skippable  = 0x184D2A50 // RFC 8878, 3.1.2
	headerSize = 8 + 28
)

// A frame says where some lines stand.
type frame struct {
	at     int64 // of the header, in the file
	packed int   // bytes after the header
	size   int   // bytes when unpacked
	lines  int
	first  int   // number of the first line
	before int64 // bytes of all lines before it, when unpacked
}

func (f frame) end() int64 { return f.at + headerSize + int64(f.packed) }

// next is the number of the line after it.
func (f frame) next() int { return f.first + f.lines }

func (f frame) header() []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize), skippable)
	for _, n := range []int{headerSize - 8, f.packed, f.size, f.lines} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(f.first))
	return binary.LittleEndian.AppendUint64(b, uint64(f.before))
}

// readFrames lists the frames from a place in a file on, up to the first that is not complete.
func readFrames(f io.ReaderAt, at, size int64) ([]frame, error) {
	var frames []frame
	b := make([]byte, headerSize)
	for at+headerSize <= size {
		if _, err := f.ReadAt(b, at); err != nil {
			return nil, err
		}
		u32 := func(i int) int { return int(binary.LittleEndian.Uint32(b[i:])) }
		next := frame{at: at, packed: u32(8), size: u32(12), lines: u32(16),
			first: int(binary.LittleEndian.Uint64(b[20:])), before: int64(binary.LittleEndian.Uint64(b[28:]))}
		if u32(0) != skippable || u32(4) != headerSize-8 || next.size > maxFrame || next.packed > maxFrame || next.first < 1 || next.end() > size {
			break
		}
		frames = append(frames, next)
		at = next.end()
	}
	return frames, nil
}

// appendLine adds a line to the text of a frame: time (as given), step, stream and text between tabs. The step is left out
// where it is that of the line before.
func appendLine(b, at []byte, l Line, sameStep bool) []byte {
	b = append(b, at...)
	b = append(b, '\t')
	if !sameStep {
		b = append(b, l.Step...)
	}
	b = append(b, '\t', byte('0'+l.Stream), '\t')
	b = append(b, l.Text...)
	return append(b, '\n')
}

// parse reads the text of a frame.
func parse(text []byte, first int) []Line {
	lines := make([]Line, 0, bytes.Count(text, []byte{'\n'}))
	step := ""
	for number := first; len(text) > 0; number++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		l := Line{Number: number}
		if part := bytes.SplitN(line, []byte{'\t'}, 4); len(part) == 4 {
			l.At, _ = time.Parse(time.RFC3339, string(part[0])) // we wrote it; without a time it is still a line
			if len(part[1]) > 0 {
				step = string(part[1])
			}
			l.Stream, _ = strconv.Atoi(string(part[2]))
			l.Step, l.Text = step, string(part[3])
		}
		lines = append(lines, l)
	}
	return lines
}

// missing stands for lines that are not kept: those from one number to before another.
func missing(from, to int, bytes int64) Line {
	return Line{Number: to - 1, Text: fmt.Sprintf("… %d lines (%.1f MB) are missing here: of a long log the first and the last %d MiB are kept", to-from, float64(bytes)/1e6, MaxText/2>>20)}
}
