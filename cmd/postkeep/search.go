package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/api"
)

// searchFlags are the flags of search.
type searchFlags struct {
	api.SearchRequest
	facets       string
	json, totals bool
	explain      bool
}

func (a *app) searchCommand() *cobra.Command {
	var flags searchFlags
	cmd := &cobra.Command{
		Use:   "search QUERY",
		Short: "Find messages",
		Long: `Finds messages. Words are ANDed; OR, NOT or a leading -, parentheses, "phrases",
prefix*, /regexp/, "words near"~5 and fields such as from: to: rcpt: subject: body:
mailbox: date: has: is: thread: work as docs/query.md says; a word finds its other
endings, in quotes only itself. Without a query everything is listed, newest first.

What begins with one - and is no flag belongs to the query, and so does
everything after --.`,
		Example: `  postkeep search 'invoice from:maria date:2024-03'
  postkeep search '"purchase order" has:attachment -draft' --limit 10
  postkeep search --facets=domain,year from:example.com
  postkeep search -- -c`,
		DisableFlagParsing: true, // -contract is not -c ontract here
		RunE: func(cmd *cobra.Command, args []string) error {
			options, words := splitQuery(cmd, args)
			if err := cmd.Flags().Parse(options); err != nil {
				return usage(err)
			}
			if help, err := cmd.Flags().GetBool("help"); err != nil || help {
				return errors.Join(err, cmd.Help())
			}
			flags.Query, flags.Facets = strings.Join(words, " "), facetNames(flags.facets)
			if flags.totals || flags.facets != "" {
				flags.Limit = 0
			}
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, client *api.Client) error {
				return a.search(cmd.Context(), cfg, client, &flags)
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&flags.Limit, "limit", 50, "show at most this many, up to 1000; 0 only counts")
	f.IntVar(&flags.Offset, "offset", 0, "leave out this many first")
	f.StringVar(&flags.After, "after", "", "go on behind the last hit of an earlier search, by the `cursor` that it printed")
	f.StringVar(&flags.Sort, "sort", "-date", "date (oldest first), received, size, sender, or relevance (best first);\na - in front turns the order round")
	f.BoolVar(&flags.Threads, "threads", false, "one message a thread, the first one in the order")
	f.StringVar(&flags.facets, "facets", "", "count by these `properties` instead: mailbox,domain,year,month,filetype,flag")
	f.Lookup("facets").NoOptDefVal = "mailbox,domain,year,filetype,flag"
	f.IntVar(&flags.FacetLimit, "facet-limit", 10, "show at most this many values of each")
	f.BoolVar(&flags.json, "json", false, "one JSON object a line")
	f.BoolVar(&flags.totals, "count", false, "print only the number of messages found")
	f.BoolVar(&flags.explain, "explain", false, "instead of searching, say how the query is understood: what each word became, and how often it is there")
	return cmd
}

func (a *app) search(ctx context.Context, cfg *config.Config, client *api.Client, flags *searchFlags) error {
	if flags.explain {
		return a.explainSearch(ctx, client, flags.Query, flags.json)
	}
	r, err := client.Search(ctx, flags.SearchRequest)
	if err != nil {
		return err
	}
	if r.Partial != "" {
		fmt.Fprintf(a.stderr, "postkeep: the result may lack messages: %s\n", r.Partial)
	}
	switch {
	case flags.totals:
		_, err = fmt.Fprintln(a.stdout, r.Total)
	case flags.facets != "":
		err = a.printFacets(r, flags.Facets, flags.json)
	case flags.json:
		err = a.printJSON(r)
	default:
		err = a.printHits(cfg, r, flags.SearchRequest)
	}
	if err == nil && r.Partial != "" {
		return &exitError{code: exitPartly}
	}
	return err
}

func facetNames(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// splitQuery tells the flags of a search, with their values, from its query. A
// short flag stands alone, or with its value after a "=".
func splitQuery(cmd *cobra.Command, args []string) (options, words []string) {
	known := cmd.Flags()
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			return options, append(words, args...)
		}
		name, _, hasValue := strings.Cut(arg, "=")
		if len(name) == 2 && name[0] == '-' {
			if flag := known.ShorthandLookup(name[1:]); flag != nil {
				name = "--" + flag.Name
			}
		}
		if !strings.HasPrefix(name, "--") {
			words = append(words, arg)
			continue
		}
		options = append(options, arg) // one that is not known is for the parser to refuse
		flag := known.Lookup(name[2:])
		if flag != nil && flag.NoOptDefVal == "" && !hasValue && len(args) > 0 {
			options = append(options, args[0])
			args = args[1:]
		}
	}
	return options, words
}

// printJSON prints the hits, and on standard error how to go on.
func (a *app) printJSON(r api.SearchResult) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	for _, h := range r.Hits {
		if err := enc.Encode(h); err != nil {
			return err
		}
	}
	if r.Next != "" {
		fmt.Fprintf(a.stderr, "postkeep: there are more: --after %s\n", r.Next)
	}
	return nil
}

func (a *app) printHits(cfg *config.Config, r api.SearchResult, req api.SearchRequest) error {
	st, width := a.styleFor(a.stdout), a.width()
	for _, h := range r.Hits {
		const dateWidth, idWidth, sizeWidth = 16, 12, 8
		from := pad(oneLine(h.From), width-dateWidth-idWidth-sizeWidth-6)
		fmt.Fprintf(a.stdout, "%s  %s  %*s  %s\n", st.dim(h.Date.In(cfg.TimeZone.Location).Format("2006-01-02 15:04")),
			st.bold(from), sizeWidth, size(h.Size), st.cyan(h.ID[:idWidth]))
		subject := oneLine(h.Subject)
		if subject == "" {
			subject = "(no subject)"
		}
		fmt.Fprintf(a.stdout, "  %s%s\n", fit(subject, width-2-len(marksOf(h))), st.yellow(marksOf(h)))
		if h.Snippet != "" {
			fmt.Fprintf(a.stdout, "  %s\n", snippet(h, width-2, st))
		}
	}
	if len(r.Hits) > 0 {
		fmt.Fprintln(a.stdout)
	}
	what := "found"
	if req.Threads {
		what = "threads found"
	}
	switch {
	case r.Total == 0:
		fmt.Fprintln(a.stdout, "nothing found")
	case len(r.Hits) == 0 || uint64(len(r.Hits)) == r.Total:
		fmt.Fprintf(a.stdout, "%s %s\n", count(r.Total), what)
	case req.After != "":
		fmt.Fprintf(a.stdout, "%s %s, %d shown\n", count(r.Total), what, len(r.Hits))
	default:
		fmt.Fprintf(a.stdout, "%s %s, %d to %d shown\n", count(r.Total), what, req.Offset+1, req.Offset+len(r.Hits))
	}
	if r.Next != "" {
		fmt.Fprintf(a.stdout, "%s\n", st.dim("the next ones: --after "+r.Next))
	}
	return nil
}

// facetLine is one line of search --facets --json.
type facetLine struct {
	Facet string `json:"facet"`
	indexer.FacetCount
}

// printFacets prints the counts, with bars that compare them.
func (a *app) printFacets(r api.SearchResult, names []string, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		for _, name := range names {
			for _, v := range r.Facets[name] {
				if err := enc.Encode(facetLine{name, v}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	st, width := a.styleFor(a.stdout), a.width()
	for _, name := range names {
		values := r.Facets[name]
		if len(values) == 0 {
			continue
		}
		fmt.Fprintln(a.stdout, st.bold(name))
		var most uint64
		for _, v := range values {
			most = max(most, v.Count)
		}
		const numberWidth = 10
		nameWidth := width / 2
		room := uint64(width - nameWidth - numberWidth - 4)
		for _, v := range values {
			bar := strings.Repeat("▪", int(max(v.Count*room/most, 1)))
			fmt.Fprintf(a.stdout, "  %s%*s  %s\n", pad(oneLine(v.Value), nameWidth), numberWidth, count(v.Count), st.cyan(bar))
		}
	}
	_, err := fmt.Fprintf(a.stdout, "%s found\n", count(r.Total))
	return err
}

// marksOf says what is special about a message, in words.
func marksOf(h api.Message) string {
	var marks []string
	if n := len(h.Attachments); n == 1 {
		marks = append(marks, "1 attachment")
	} else if n > 1 {
		marks = append(marks, fmt.Sprintf("%d attachments", n))
	}
	marks = append(marks, h.Flags...)
	if len(marks) == 0 {
		return ""
	}
	return "  [" + strings.Join(marks, ", ") + "]"
}

// snippet colours the search words in as much of the snippet as fits.
func snippet(h api.Message, width int, st style) string {
	text := fit(printable(h.Snippet), width)
	if !st || text != h.Snippet {
		// Offsets count in the snippet as it came: where it was changed they may be off.
		if !strings.HasPrefix(h.Snippet, strings.TrimSuffix(text, "…")) {
			return st.dim(text)
		}
	}
	var b strings.Builder
	at := 0
	for _, m := range h.Marks {
		if m[0] < at || m[1] > len(strings.TrimSuffix(text, "…")) {
			break
		}
		b.WriteString(st.dim(text[at:m[0]]))
		b.WriteString(st.green(text[m[0]:m[1]]))
		at = m[1]
	}
	b.WriteString(st.dim(text[at:]))
	return b.String()
}

func (a *app) showCommand() *cobra.Command {
	var raw, asJSON, custody bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a message, or its exact bytes",
		Long: `Shows a message by its id, or by the first 8 or more digits of it. With --raw the
bytes come out exactly as the mail server sent them.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := strings.ToLower(args[0])
			return a.with(cmd.Context(), toRead, func(cfg *config.Config, client *api.Client) error {
				if raw {
					return client.Raw(cmd.Context(), id, a.stdout)
				}
				if custody {
					return a.showCustody(cmd.Context(), cfg, client, id, asJSON)
				}
				d, err := client.Message(cmd.Context(), id)
				if err != nil {
					return err
				}
				if asJSON {
					enc := json.NewEncoder(a.stdout)
					enc.SetEscapeHTML(false)
					return enc.Encode(d)
				}
				return a.printMessage(cfg, d)
			})
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the exact bytes to standard output")
	cmd.Flags().BoolVar(&custody, "custody", false, "show where it came from and what happened to it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	cmd.MarkFlagsMutuallyExclusive("raw", "custody")
	return cmd
}

func (a *app) printMessage(cfg *config.Config, d api.Detail) error {
	st := a.styleFor(a.stdout)
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "%s %s\n", st.dim(pad(name+":", 12)), value)
		}
	}
	when := func(t time.Time) string { return t.In(cfg.TimeZone.Location).Format("Mon, 2 Jan 2006 15:04:05 -0700") }
	if len(d.Deposits) == 0 && len(d.Disposed) > 0 {
		field("Id", d.ID)
		field("Size", fmt.Sprintf("%s (%s bytes)", size(d.Size), count(d.Size)))
		a.printTombstones(cfg, d.Disposed)
		return nil
	}
	field("From", oneLine(d.From))
	field("To", oneLine(d.To))
	field("Cc", oneLine(d.Cc))
	field("Subject", st.bold(oneLine(d.Subject)))
	field("Date", when(d.Date))
	for _, name := range d.Attachments {
		if name == "" {
			name = "(without a name)"
		}
		field("Attachment", oneLine(name))
	}
	field("Flags", st.yellow(strings.Join(d.Flags, ", ")))
	for _, p := range d.Problems {
		field("Problem", oneLine(p))
	}
	for _, p := range d.Deposits {
		field("Received", fmt.Sprintf("%s in %s, from %s", when(p.Received), p.Mailbox, oneLine(p.Source.Host)))
	}
	field("Id", d.ID)
	field("Size", fmt.Sprintf("%s (%s bytes)", size(d.Size), count(d.Size)))
	a.printTombstones(cfg, d.Disposed)
	fmt.Fprintf(a.stdout, "\n%s\n", strings.TrimRight(printableLines(d.Text), "\n"))
	if d.Cut {
		fmt.Fprintf(a.stdout, "\n%s\n", st.dim("(cut here; --raw has everything)"))
	}
	return nil
}
