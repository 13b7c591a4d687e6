package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// Settings returns the configuration as text by key, such as poller.sessions or
// mailboxes[sales].host. Of a mailbox it has what is not as in the defaults. Names of files that
// hold secrets are among the values, but no secrets: of URLs, user and query are left out.
func (c *Config) Settings() map[string]string {
	out := map[string]string{}
	flatten(out, "", reflect.ValueOf(*c), reflect.ValueOf(Config{}))
	for i := range c.Mailboxes {
		inherited := Mailbox{Session: c.Defaults}
		flatten(out, "mailboxes["+c.Mailboxes[i].Name+"]", reflect.ValueOf(c.Mailboxes[i]), reflect.ValueOf(inherited))
	}
	return out
}

// MailboxOf returns the mailbox that a key of Settings is about, "" if it is about none.
func MailboxOf(key string) string {
	rest, ok := strings.CutPrefix(key, "mailboxes[")
	name, _, closed := strings.Cut(rest, "]")
	if !ok || !closed { // names have no brackets
		return ""
	}
	return name
}

// flatten adds the fields of v that differ from those of inherited.
func flatten(out map[string]string, prefix string, v, inherited reflect.Value) {
	from := fieldsOf(inherited)
	for i, f := range fieldsOf(v) {
		key := f.key
		if prefix != "" {
			key = prefix + "." + key
		}
		switch {
		case f.value.Type() == reflect.TypeFor[[]Mailbox](), reflect.DeepEqual(f.value.Interface(), from[i].value.Interface()):
		case leaf(f.value):
			out[key] = settingText(f.value)
		case f.value.Kind() == reflect.Slice:
			flattenList(out, key, f.value)
		default:
			flatten(out, key, f.value, from[i].value)
		}
	}
}

func flattenList(out map[string]string, key string, list reflect.Value) {
	for n := range list.Len() {
		at, e := key+"."+strconv.Itoa(n+1), list.Index(n)
		if leaf(e) {
			out[at] = settingText(e)
		} else {
			flatten(out, at, e, reflect.Zero(e.Type()))
		}
	}
}

// leaf reports whether a value has a text of its own.
func leaf(v reflect.Value) bool {
	if _, ok := v.Interface().(fmt.Stringer); ok {
		return true
	}
	return v.Kind() != reflect.Struct && v.Kind() != reflect.Slice
}

func settingText(v reflect.Value) string {
	text := fmt.Sprint(v.Interface())
	if !strings.Contains(text, "://") {
		return text
	}
	var shown []string
	for one := range strings.SplitSeq(text, ",") { // of NATS servers there may be several
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			shown = append(shown, "(not shown)")
			continue
		}
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		shown = append(shown, u.String())
	}
	return strings.Join(shown, ",")
}

// String says when, as the configuration does.
func (d Delete) String() string {
	switch {
	case d.Never:
		return "never"
	case d.After > 0:
		return "after " + d.After.String()
	}
	return "after_archive"
}

// String is the fingerprint in hexadecimal.
func (f Fingerprint) String() string { return fmt.Sprintf("%x", f[:]) }
