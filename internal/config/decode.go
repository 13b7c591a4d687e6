package config

import (
	"encoding"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// decoder fills a Config from the syntax tree and collects what is wrong. It
// walks the tree itself because the library's strict mode stops at the first
// error and forgets where the values were, which validation must say.
//
// Struct tags: yaml is the key; enum lists the values allowed; required makes
// the key so; path makes a relative file name absolute.
type decoder struct {
	text       []byte
	dir        string              // where relative file names begin
	at         map[string]position // where the value of each given key is, by path: mailboxes[3].port
	problems   []Problem
	newElement func(pointer any) // sets the defaults of a new list element
}

var durationType = reflect.TypeFor[time.Duration]()

// decode sets v from node; path is where v is in the configuration.
func (d *decoder) decode(node ast.Node, v reflect.Value, path string, tag reflect.StructTag) {
	d.at[path] = start(node)
	switch n := node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.fail(start(node), "anchors, aliases and tags are not supported; what mailboxes share goes into defaults")
		return
	case *ast.MappingNode:
		if len(fieldsOf(v)) > 0 {
			d.decodeMapping(n, v, path)
			return
		}
	case *ast.SequenceNode:
		if v.Kind() == reflect.Slice {
			d.decodeSequence(n, v, path)
			return
		}
	}
	u, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	isList, isSection := v.Kind() == reflect.Slice, len(fieldsOf(v)) > 0 && !isText
	switch {
	case node.Type() == ast.NullType && (isList || isSection): // all its lines are comments
	case isList:
		d.fail(start(node), `%s must be a list of entries that begin with "- ", is %s`, lastKey(path), kindOf(node))
	case isSection:
		d.fail(start(node), "%s must be a mapping (key: value), is %s", lastKey(path), kindOf(node))
	default:
		if err := d.decodeScalar(node, v, u, tag); err != nil {
			d.fail(start(node), "%s %v", lastKey(path), err)
		}
	}
}

func (d *decoder) decodeSequence(node *ast.SequenceNode, v reflect.Value, path string) {
	for _, element := range node.Values {
		at := fmt.Sprintf("%s[%d]", path, v.Len())
		if v.Type().Elem().Kind() == reflect.Struct && element.Type() != ast.MappingType { // validation would miss everything in it
			d.fail(start(element), "%s must be a mapping (key: value), is %s", lastKey(at), kindOf(element))
			continue
		}
		e := reflect.New(v.Type().Elem())
		d.newElement(e.Interface())
		d.decode(element, e.Elem(), at, "")
		v.Set(reflect.Append(v, e.Elem()))
	}
}

// decodeMapping sets the fields of v in their order, whatever their order in
// the file.
func (d *decoder) decodeMapping(node *ast.MappingNode, v reflect.Value, path string) {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		v.SetZero() // there is another form, and a default in it: this one replaces it
	}
	fields := fieldsOf(v)
	given := make(map[string]*ast.MappingValueNode, len(node.Values))
	for _, pair := range node.Values {
		at := start(pair.Key)
		if pair.Key.Type() != ast.StringType {
			d.fail(at, "a key must be plain text")
			continue
		}
		key := pair.Key.GetToken().Value
		if first, ok := given[key]; ok {
			d.fail(at, "%s is given twice, first in line %d", key, start(first.Key).line)
		} else if slices.ContainsFunc(fields, func(f field) bool { return f.key == key }) {
			given[key] = pair
		} else {
			meant, message := unknownKey(key, fields)
			if meant != "" {
				d.at[join(path, meant)] = at // so that it is not reported as missing, too
			}
			d.fail(at, "%s", message)
		}
	}
	var missing []string
	for _, f := range fields {
		if pair, ok := given[f.key]; ok {
			d.decode(pair.Value, f.value, join(path, f.key), f.tag)
		} else if _, meant := d.at[join(path, f.key)]; !meant && f.tag.Get("required") != "" {
			missing = append(missing, f.key)
		}
	}
	if len(missing) > 0 {
		d.fail(start(node), "%s needs: %s", lastKey(path), strings.Join(missing, ", "))
	}
}

// decodeScalar sets v, by u if it is not nil. Its errors continue a sentence
// that begins with the key.
func (d *decoder) decodeScalar(node ast.Node, v reflect.Value, u encoding.TextUnmarshaler, tag reflect.StructTag) error {
	var text string
	switch n := node.(type) {
	case *ast.NullNode:
		return errors.New("has no value")
	case *ast.LiteralNode:
		text = n.Value.Value
	case ast.ScalarNode:
		text = n.GetToken().Value
	default:
		return fmt.Errorf("must be a single value, is %s", kindOf(node))
	}
	if enum := tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), text) {
		return fmt.Errorf("must be one of %s, is %q", strings.ReplaceAll(enum, ",", ", "), text)
	}
	switch {
	case u != nil:
		return u.UnmarshalText([]byte(text))
	case v.Type() == durationType:
		duration, err := parseDuration(text)
		v.SetInt(int64(duration))
		return err
	case v.Kind() == reflect.Bool:
		if node.Type() != ast.BoolType {
			return fmt.Errorf("must be true or false, is %q", text)
		}
		v.SetBool(strings.EqualFold(text, "true"))
	case v.Kind() == reflect.Int:
		n, err := strconv.Atoi(text)
		if node.Type() != ast.IntegerType || err != nil {
			return fmt.Errorf("must be a whole number, is %q", text)
		}
		v.SetInt(int64(n))
	default:
		if node.Type() == ast.BoolType {
			return errors.New("must be text, is true or false; put it in quotes")
		}
		if tag.Get("path") != "" && text != "" {
			text = d.absolute(text)
		}
		v.SetString(text)
	}
	return nil
}

func (d *decoder) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}

// field is a struct field that has a key.
type field struct {
	key   string
	value reflect.Value
	tag   reflect.StructTag
}

// fieldsOf lists the fields of v that have keys, with those of inline structs.
func fieldsOf(v reflect.Value) []field {
	if v.Kind() != reflect.Struct {
		return nil
	}
	var fields []field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		switch key := tag.Get("yaml"); key {
		case "", "-":
		case ",inline":
			fields = append(fields, fieldsOf(v.Field(i))...)
		default:
			fields = append(fields, field{key, v.Field(i), tag})
		}
	}
	return fields
}

// safeKeys lists all keys whose values an error may show.
func safeKeys() map[string]bool {
	keys := make(map[string]bool)
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		if t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		for _, f := range fieldsOf(reflect.New(t).Elem()) {
			keys[f.key] = !strings.HasPrefix(f.key, "password") && !strings.Contains(f.key, "secret") &&
				f.key != "recipients" // where somebody may take the wrong key
			add(f.value.Type())
		}
	}
	add(reflect.TypeFor[Config]())
	return keys
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// lastKey names the value at path in an error.
func lastKey(path string) string {
	if list, isElement := strings.CutSuffix(path, "]"); isElement {
		return "an entry of " + list[:strings.LastIndexByte(list, '[')]
	}
	return path[strings.LastIndexByte(path, '.')+1:]
}

// unknownKey finds the key that was meant, if it can, and words the error.
func unknownKey(key string, fields []field) (meant, message string) {
	keys := make([]string, len(fields))
	best := 1 + len(key)/3
	for i, f := range fields {
		keys[i] = f.key
		if distance := editDistance(key, f.key); distance <= best {
			meant, best = f.key, distance-1
		}
		if meant == "" && len(key) > 2 && strings.HasPrefix(f.key, key) {
			meant = f.key
		}
	}
	switch {
	case slices.Contains(keys, "password_file") && editDistance(key, "password") <= 2:
		message = fmt.Sprintf("%q is not accepted: put the password into a file and name it with password_file", key)
		if slices.Contains(keys, "password_env") {
			message += ", or into an environment variable and name it with password_env"
		}
		return "password_file", message
	case meant != "":
		return meant, fmt.Sprintf("unknown key %q (did you mean %q?)", key, meant)
	default:
		return "", fmt.Sprintf("unknown key %q (known here: %s)", key, strings.Join(keys, ", "))
	}
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
