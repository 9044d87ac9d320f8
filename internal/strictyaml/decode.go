package strictyaml

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	emptyType    = reflect.TypeFor[struct{}]()
)

// Decode fills v, a pointer to a struct, from data, the content of file, and returns the Document on which the caller
// goes on checking; its Err has what is wrong so far. What the file does not mention keeps the value that it had.
//
// Keys are the fields' `yaml:"key"` tags; fields without one are left alone, and `yaml:",inline"` takes the keys of an
// embedded struct. A field is a string (any scalar, as it is written), bool, int, int64, time.Duration (ParseDuration),
// a struct, a pointer, slice or string-keyed map of these, or an encoding.TextUnmarshaler, which is handed scalars and
// whose errors say what is wrong and what to write instead. A struct or slice that is one as well may be written either way.
func Decode(file string, data []byte, v any) *Document {
	d := &Document{file: file, lines: map[string]int{}, failed: map[string]bool{}}
	root := d.parse(data)
	if root != nil {
		d.lines[""] = root.Line
		d.plain(root, 0)
	}
	if len(d.errs) > 0 {
		d.failed[""] = true // nothing was read, so the caller's checks would find everything missing
		return d
	}
	d.value(root, reflect.ValueOf(v).Elem(), "")
	return d
}

// parse returns the mapping at the top of the only document in data, or nil after adding a mistake.
func (d *Document) parse(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		d.add(1, "", "is larger than 1 MiB; make it smaller")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) || err == nil && document.Content[0].Tag == "!!null" {
		d.add(1, "", "is empty; write at least one key")
		return nil
	}
	if err != nil {
		d.syntax(data, err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.add(second.Content[0].Line, "", "a second document begins here; put everything into one and remove the line ---")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(data, err)
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		d.add(root.Line, "", "is %s; write keys and values, as in key: value", describe(root))
		return nil
	}
	return root
}

var (
	parserLine    = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	tabIndent     = regexp.MustCompile(`^ *\t`)
)

const noAlias = "an alias (*) is not supported; write the value itself here, in quotes if it begins with *"

// syntax adds what the parser says, but not its words for a tab in an indentation, which explain nothing, nor for an
// unknown anchor, which have no line and repeat what may be a password without quotes.
func (d *Document) syntax(data []byte, err error) {
	line, text := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := parserLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.TrimPrefix(text, m[0])
	}
	anchor := unknownAnchor.FindStringSubmatch(text)
	for i, content := range bytes.Split(data, []byte("\n")) {
		if anchor != nil && bytes.Contains(content, []byte("*"+anchor[1])) {
			d.add(i+1, "", noAlias)
			return
		}
		if tabIndent.Match(content) {
			d.add(i+1, "", "is indented with a tab; use spaces")
			return
		}
	}
	d.add(line, "", "is not YAML (%s); look at the indentation, quotes and brackets near this line", text)
}

// plain adds a mistake for all that makes one YAML text mean more than it shows.
func (d *Document) plain(n *yaml.Node, depth int) {
	switch {
	case depth > maxDepth:
		d.add(n.Line, "", "is nested deeper than %d levels; make it flatter", maxDepth)
		return
	case n.Kind == yaml.AliasNode:
		d.add(n.Line, "", noAlias)
		return
	case n.Anchor != "":
		d.add(n.Line, "", "an anchor (&) is not supported; write the value out wherever it is needed, in quotes if it begins with &")
	case n.Style&yaml.TaggedStyle != 0:
		d.add(n.Line, "", "a tag (!) is not supported; remove it, or put the value in quotes if it begins with !")
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			switch {
			case child.Tag == "!!merge":
				d.add(child.Line, "", "the merge key << is not supported; write the keys out")
			case child.Kind != yaml.ScalarNode && child.Kind != yaml.AliasNode:
				d.add(child.Line, "", "a key is %s; write a single word", describe(child))
			}
		}
		d.plain(child, depth+1)
	}
}

// value decodes n into v. path is where n stands.
func (d *Document) value(n *yaml.Node, v reflect.Value, path string) {
	if _, ok := d.lines[path]; !ok {
		d.lines[path] = n.Line
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if n.Tag == "!!null" && n.Kind == yaml.ScalarNode {
		if v.Type() != emptyType {
			d.Errorf(path, "has no value; write one or remove the key")
		}
		return
	}
	text, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case isText && (n.Kind == yaml.ScalarNode || v.Kind() != reflect.Slice && (v.Kind() != reflect.Struct || !hasKeys(v.Type()))):
		if d.scalar(n, path) {
			if err := text.UnmarshalText([]byte(n.Value)); err != nil {
				d.Errorf(path, "%s", err)
			}
		}
	case v.Type() == durationType:
		if d.scalar(n, path) {
			span, err := ParseDuration(n.Value)
			if err != nil {
				d.Errorf(path, "%s", err)
			}
			v.SetInt(int64(span))
		}
	case v.Kind() == reflect.String:
		if d.scalar(n, path) {
			v.SetString(n.Value)
		}
	case v.Kind() == reflect.Bool:
		if n.Tag != "!!bool" {
			d.Errorf(path, "must be true or false, not %s; write one of them without quotes", describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case v.CanInt():
		number, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if n.Tag != "!!int" || err != nil {
			d.Errorf(path, "must be a whole number, not %s; write for example 2, without quotes", describe(n))
			return
		}
		v.SetInt(number)
	case v.Kind() == reflect.Slice:
		d.list(n, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, path)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, path)
	default:
		panic(fmt.Sprintf("strictyaml: %s has type %s, which Decode does not know", path, v.Type()))
	}
}

func (d *Document) scalar(n *yaml.Node, path string) bool {
	if n.Kind != yaml.ScalarNode {
		d.Errorf(path, "must be a single value, not %s; write it on this line", describe(n))
		return false
	}
	return true
}

func (d *Document) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.Errorf(path, "must be a list, not %s; write [a, b], or one entry a line after a dash", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, child := range n.Content {
		d.value(child, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *Document) mapping(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.eachKey(n, path, func(key, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		at := join(path, clip(key.Value))
		d.lines[at] = key.Line
		d.value(value, element, at)
		v.SetMapIndex(reflect.ValueOf(key.Value), element)
	})
}

func (d *Document) structure(n *yaml.Node, v reflect.Value, path string) {
	known := fields(v)
	d.eachKey(n, path, func(key, value *yaml.Node) {
		at := join(path, clip(key.Value))
		i := slices.IndexFunc(known, func(f field) bool { return f.key == key.Value })
		if i < 0 {
			d.add(key.Line, at, "unknown key; %s", DidYouMean(key.Value, "keys", keys(known)))
			return
		}
		d.lines[at] = key.Line
		d.value(value, known[i].value, at)
	})
}

// eachKey calls f for every key of n that was not there before.
func (d *Document) eachKey(n *yaml.Node, path string, f func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.Errorf(path, "must be keys and values, not %s; write key: value, one a line", describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, twice := first[key.Value]; twice {
			d.add(key.Line, join(path, clip(key.Value)), "is here a second time, after line %d; remove one", line)
			continue
		}
		first[key.Value] = key.Line
		f(key, n.Content[i+1])
	}
}

type field struct {
	key   string
	value reflect.Value
}

// fields lists the keys of the struct v, those of inlined structs among them, in their order.
func fields(v reflect.Value) []field {
	var fs []field
	for i := range v.NumField() {
		key, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			fs = append(fs, fields(v.Field(i))...)
		case key != "" && key != "-":
			fs = append(fs, field{key, v.Field(i)})
		}
	}
	return fs
}

func keys(fs []field) []string {
	names := make([]string, len(fs))
	for i, f := range fs {
		names[i] = f.key
	}
	return names
}

func hasKeys(t reflect.Type) bool { return len(fields(reflect.New(t).Elem())) > 0 }

// describe says what kind of value n is. The value itself is never repeated: it could be a credential in a wrong place.
func describe(n *yaml.Node) string {
	switch n.Tag {
	case "!!seq":
		return "a list"
	case "!!map":
		return "keys and values"
	case "!!null":
		return "empty"
	case "!!bool":
		return "true or false"
	case "!!int":
		return "another number"
	case "!!float":
		return "a fraction"
	}
	return "a text"
}

// clip shortens a key that came from the file, so that an error stays one readable line.
func clip(s string) string {
	const longest = 80
	if runes := []rune(s); len(runes) > longest {
		s = string(runes[:longest]) + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
