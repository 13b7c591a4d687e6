package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"

	"github.com/postkeep/postkeep/web/access"
)

// The cookies by which a browser remembers how its person likes the pages.
const (
	zoneCookie  = "postkeep_zone"  // IANA name, from the browser
	themeCookie = "postkeep_theme" // light or dark; absent follows the system
	langCookie  = "postkeep_lang"  // en or de; absent follows the browser
)

// View is what every page knows: who looks, in which language and time zone.
type View struct {
	Principal *access.Principal
	Lang      string // "en" or "de"
	Theme     string // "light", "dark" or "" for the system's
	Location  *time.Location
	Title     string
	Path      string // of the request
	Version   string
	// Fragment is the page without its frame, for the script that shows it beside a list.
	Fragment bool

	now     time.Time
	words   dictionary
	printer *message.Printer
}

func (s *Server) view(r *http.Request) *View {
	v := &View{
		Principal: access.Of(r.Context()), Location: s.opts.Location, Path: r.URL.Path, Version: s.opts.Version,
		Lang: preferred(r), Fragment: r.Header.Get("Postkeep-Fragment") != "", now: s.opts.Now(),
	}
	v.words = s.locales[v.Lang]
	v.printer = message.NewPrinter(language.Make(v.Lang))
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		v.Theme = c.Value
	}
	if c, err := r.Cookie(zoneCookie); err == nil {
		if name, err := url.QueryUnescape(c.Value); err == nil && name != "" && name != "Local" {
			if zone, err := time.LoadLocation(name); err == nil {
				v.Location = zone
			}
		}
	}
	return v
}

var matcher = language.NewMatcher([]language.Tag{language.English, language.German})

// preferred is the language of a request: the chosen one, else the browser's.
func preferred(r *http.Request) string {
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == "en" || c.Value == "de") {
		return c.Value
	}
	tags, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		return "en"
	}
	if _, i, _ := matcher.Match(tags...); i == 1 {
		return "de"
	}
	return "en"
}

func (v *View) layout() string {
	if v.Fragment {
		return "main"
	}
	return "layout"
}

// NavItem is a page in the navigation.
type NavItem struct {
	Path, Name, Icon string
	Current          bool
}

// Nav lists the pages that are for the principal.
func (v *View) Nav() []NavItem {
	var items []NavItem
	for _, n := range []struct {
		may  access.Permission
		item NavItem
	}{
		{access.Read, NavItem{Path: "/search", Name: "Search", Icon: "search"}},
		{access.Operate, NavItem{Path: "/mailboxes", Name: "Mailboxes", Icon: "inbox"}},
		{access.Comply, NavItem{Path: "/holds", Name: "Holds", Icon: "lock"}},
		{access.Comply, NavItem{Path: "/retention", Name: "Retention", Icon: "clock"}},
		{access.Export, NavItem{Path: "/exports", Name: "Exports", Icon: "export"}},
		{access.Audit, NavItem{Path: "/audit", Name: "Audit", Icon: "list"}},
		{access.Operate, NavItem{Path: "/system", Name: "System", Icon: "disk"}},
		{access.Manage, NavItem{Path: "/users", Name: "Users", Icon: "people"}},
	} {
		if v.Principal.May(n.may) {
			n.item.Current = v.Path == n.item.Path || strings.HasPrefix(v.Path, n.item.Path+"/")
			items = append(items, n.item)
		}
	}
	return items
}

// May reports whether the principal has the permission.
func (v *View) May(what string) bool { return v.Principal.May(access.Permission(what)) }

// Roles names the roles of the principal.
func (v *View) Roles() string {
	var names []string
	for _, r := range v.Principal.Roles {
		names = append(names, v.T(string(r)))
	}
	return strings.Join(names, ", ")
}

// About says in a few words what a role is for.
func (v *View) About(r access.Role) string {
	switch r {
	case access.User:
		return v.T("reads the mailboxes granted")
	case access.Auditor:
		return v.T("searches and exports within mailboxes and days granted")
	case access.Officer:
		return v.T("reads all mail; holds, retention, audit")
	case access.Admin:
		return v.T("mailboxes, people, the machine; reads no mail")
	}
	return ""
}

// T translates; args fill the verbs of the text.
func (v *View) T(text string, args ...any) string {
	if t, ok := v.words[text]; ok {
		text = t
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// N translates a text with a number, which has a singular and a plural form;
// %s in it is the number.
func (v *View) N(n any, one, many string) string {
	count := toInt(n)
	if count == 1 {
		return v.T(one, v.Number(count))
	}
	return v.T(many, v.Number(count))
}

// Number writes a number with the separators of the language.
func (v *View) Number(n any) string { return v.printer.Sprint(number.Decimal(toInt(n))) }

func toInt(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n) //nolint:gosec // counts of messages
	case int32:
		return int64(n)
	}
	return 0
}

// Bytes writes a size in powers of 1000, as file managers do.
func (v *View) Bytes(n int64) string {
	const thousand = 1000
	if n < thousand {
		return v.Number(n) + " B"
	}
	units := "kMGTPE"
	f := float64(n) / thousand
	for len(units) > 1 && f >= thousand {
		f, units = f/thousand, units[1:]
	}
	digits := 0
	if f < 10 {
		digits = 1
	}
	return v.printer.Sprint(number.Decimal(f, number.MaxFractionDigits(digits))) + " " + units[:1] + "B"
}

// Size is Bytes for a size without a sign.
func (v *View) Size(n uint64) string { return v.Bytes(int64(n)) } //nolint:gosec // no stream has an exabyte

// Time writes a moment in full.
func (v *View) Time(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return v.Date(t) + t.In(v.Location).Format(", 15:04")
}

// Exact writes a moment with seconds and zone, for those who compare.
func (v *View) Exact(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(v.Location).Format("2006-01-02 15:04:05 MST")
}

// Date writes a day.
func (v *View) Date(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	t = t.In(v.Location)
	if v.Lang == "de" {
		return strconv.Itoa(t.Day()) + ". " + v.T(t.Month().String()[:3]) + " " + strconv.Itoa(t.Year())
	}
	return t.Format("2 Jan 2006")
}

// Short writes a moment for a list: the time of today, the day of this year.
func (v *View) Short(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	t, now := t.In(v.Location), v.now.In(v.Location)
	switch {
	case t.Year() == now.Year() && t.YearDay() == now.YearDay():
		return t.Format("15:04")
	case t.Year() == now.Year() && v.Lang == "de":
		return strconv.Itoa(t.Day()) + ". " + v.T(t.Month().String()[:3])
	case t.Year() == now.Year():
		return t.Format("2 Jan")
	}
	return v.Date(t)
}

// Ago writes how long ago, or in how long, a moment is.
func (v *View) Ago(t time.Time) string {
	if t.IsZero() {
		return v.T("never")
	}
	d := v.now.Sub(t)
	ahead := d < 0
	d = d.Abs()
	var span string
	switch {
	case d < time.Minute:
		if ahead {
			return v.T("in less than a minute")
		}
		return v.T("just now")
	case d < time.Hour:
		span = v.N(int(d/time.Minute), "%s minute", "%s minutes")
	case d < 24*time.Hour:
		span = v.N(int(d/time.Hour), "%s hour", "%s hours")
	case d < 60*24*time.Hour:
		span = v.N(int(d/(24*time.Hour)), "%s day", "%s days")
	default:
		return v.Date(t)
	}
	if ahead {
		return v.T("in %s", span)
	}
	return v.T("%s ago", span)
}
