package bot

import (
	"bytes"
	"encoding/json"
)

// repoName is the full name of a delivery's repository, nil where none can be read. It looks no further than it must: this
// is done before the answer, and encoding/json takes longer to find it than all the rest that is done there.
func repoName(body []byte) *string {
	var name *string
	if v := member(member(body, "repository"), "full_name"); len(v) > 0 && v[0] == '"' {
		_ = json.Unmarshal(v[:skip(v)], &name) // what is no JSON string is no name
	}
	return name
}

// member returns what begins with the value of a key of the JSON object with which b begins (RFC 8259), nil where there is
// none. What is no JSON it may take for it.
func member(b []byte, key string) []byte {
	b = bytes.TrimLeft(b, space)
	if len(b) == 0 || b[0] != '{' {
		return nil
	}
	for {
		if b = bytes.TrimLeft(b[1:], space); len(b) == 0 || b[0] != '"' {
			return nil
		}
		end := skip(b)
		found := string(b[:end]) == `"`+key+`"`
		if b = bytes.TrimLeft(b[end:], space); len(b) == 0 || b[0] != ':' {
			return nil
		}
		if b = bytes.TrimLeft(b[1:], space); found {
			return b
		}
		if b = bytes.TrimLeft(b[skip(b):], space); len(b) == 0 || b[0] != ',' {
			return nil
		}
	}
}

const space = " \t\r\n"

// skip is the length of the JSON value with which b begins.
func skip(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return i // of the object around a number or word
			}
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case ',':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return min(i+1, len(b))
		}
	}
	return len(b)
}
