package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/postkeep/postkeep/internal/config"
	"github.com/postkeep/postkeep/web/access"
	"github.com/postkeep/postkeep/web/api"
)

func (a *app) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "user", Short: "Manage the people who may log in", Args: cobra.NoArgs,
		Long: `Manages the people who may log in, and the tokens of their programs.

Roles: user (reads the mailboxes granted), auditor (searches and exports within
mailboxes and days granted), officer (reads all mail, holds, retention, audit),
admin (mailboxes, people, the machine; reads no mail). They add up.

With dual_control the role officer, and what people grant themselves, waits until
another administrator has approved it on the pages. What is set here can not be
approved by the same person: who has set the credentials of both is nobody's
second person.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.userListCommand(), a.userAddCommand(), a.userPasswordCommand(), a.userDisableCommand(), a.userTokenCommand(), a.userChangesCommand())
	return cmd
}

func (a *app) userListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the people", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				people, err := c.Users(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return jsonLines(a.stdout, people)
				}
				return a.printUsers(people)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line")
	return cmd
}

func (a *app) printUsers(people []api.Person) error {
	if len(people) == 0 {
		_, err := fmt.Fprintln(a.stdout, "Nobody can log in yet. postkeep user add NAME --role ROLE makes a user.")
		return err
	}
	for _, p := range people {
		var about []string
		for _, r := range p.Roles {
			about = append(about, string(r))
		}
		if len(p.Mailboxes) > 0 {
			about = append(about, "mailboxes "+strings.Join(p.Mailboxes, " "))
		}
		if !p.From.IsZero() || !p.To.IsZero() {
			about = append(about, "days "+day(p.From)+" to "+day(p.To.AddDate(0, 0, -1)))
		}
		for _, mark := range []struct {
			is   bool
			word string
		}{{p.Codes, "one-time codes"}, {p.External, "identity provider"}, {p.Disabled, "disabled"}} {
			if mark.is {
				about = append(about, mark.word)
			}
		}
		if _, err := fmt.Fprintf(a.stdout, "%-20s %s\n", p.Name, strings.Join(about, ", ")); err != nil {
			return err
		}
		for _, t := range p.Tokens {
			until := "no end"
			if !t.Expires.IsZero() {
				until = "until " + day(t.Expires)
			}
			if _, err := fmt.Fprintf(a.stdout, "%-20s   token %s %s, %s\n", "", t.ID, printable(t.Name), until); err != nil {
				return err
			}
		}
	}
	return nil
}

// day writes a day, or that there is no bound.
func day(t time.Time) string {
	if t.Year() < 2 { // the day before the zero time is no day either
		return "any"
	}
	return t.Format(time.DateOnly)
}

// jsonLines writes one object a line.
func jsonLines[T any](w io.Writer, items []T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, item := range items {
		if err := enc.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) userAddCommand() *cobra.Command {
	var (
		p        api.NewPerson
		roles    []string
		from, to string
		noLogin  bool
	)
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a user; the password is asked for, or read from standard input", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Name = args[0]
			for _, r := range roles {
				p.Roles = append(p.Roles, access.Role(r))
			}
			var err error
			if p.From, p.To, err = days(from, to); err != nil {
				return usage(err)
			}
			if !noLogin {
				if p.Password, err = a.newPassword(p.Name); err != nil {
					return err
				}
			}
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				made, err := c.AddUser(cmd.Context(), p)
				if err != nil {
					return err
				}
				if made.Pending != "" {
					return a.waits(fmt.Sprintf("%s is made, without what takes two people: it is not granted", p.Name), made.Pending)
				}
				_, err = fmt.Fprintf(a.stdout, "%s can log in.\n", p.Name)
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&roles, "role", nil, "`role`: user, auditor, officer or admin; several separated by commas")
	f.StringSliceVar(&p.Mailboxes, "mailbox", nil, "granted `mailbox`; several separated by commas")
	f.StringVar(&from, "from", "", "first granted `day` of receipt, like 2026-01-31")
	f.StringVar(&to, "to", "", "last granted `day` of receipt")
	f.BoolVar(&noLogin, "no-password", false, "for a program, which has tokens, or for log-in elsewhere")
	_ = cmd.MarkFlagRequired("role") // fails for a flag that is not there
	return cmd
}

// days reads the first and the last day of a grant, in UTC.
func days(first, last string) (from, to time.Time, err error) {
	if first != "" {
		if from, err = time.Parse(time.DateOnly, first); err != nil {
			return from, to, fmt.Errorf("--from is %q, want a day like 2026-01-31", first)
		}
	}
	if last != "" {
		if to, err = time.Parse(time.DateOnly, last); err != nil {
			return from, to, fmt.Errorf("--to is %q, want a day like 2026-01-31", last)
		}
		to = to.AddDate(0, 0, 1)
	}
	return from, to, nil
}

// maxPasswordLine bounds what is read as a password.
const maxPasswordLine = 4096

// newPassword asks twice at a terminal, else reads one line.
func (a *app) newPassword(name string) (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, maxPasswordLine)).ReadString('\n')
		if err != nil && (!errors.Is(err, io.EOF) || line == "") {
			return "", usage(errors.New("no password on standard input"))
		}
		return strings.TrimRight(strings.TrimPrefix(line, "\ufeff"), "\r\n"), nil // PowerShell writes a byte order mark
	}
	fmt.Fprintf(a.stderr, "Password for %s: ", name)
	first, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprint(a.stderr, "\nOnce more: ")
	if err != nil {
		return "", err
	}
	second, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.stderr)
	if err == nil && string(first) != string(second) {
		err = errors.New("these are two different passwords")
	}
	return string(first), err
}

func (a *app) userPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use: "passwd NAME", Short: "Set a password, which ends the sessions and tokens of the user", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := a.newPassword(args[0])
			if err != nil {
				return err
			}
			return a.changeUser(cmd.Context(), args[0], api.PersonChange{Password: password}, "The password of %s is set.\n")
		},
	}
}

func (a *app) changeUser(ctx context.Context, name string, change api.PersonChange, done string) error {
	return a.with(ctx, toRead, func(_ *config.Config, c *api.Client) error {
		changed, err := c.ChangeUser(ctx, name, change)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, done, name); err != nil || changed.Ended == 0 {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "It ended %s.\n", plural(changed.Ended, "token", "tokens"))
		return err
	})
}

func (a *app) userDisableCommand() *cobra.Command {
	var enable, codes bool
	cmd := &cobra.Command{
		Use: "disable NAME", Short: "Keep a user out, at once, or let the user in again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if codes {
				off := false
				return a.changeUser(cmd.Context(), args[0], api.PersonChange{Codes: &off}, "%s logs in without one-time codes.\n")
			}
			off, done := !enable, "%s cannot log in any more.\n"
			if enable {
				done = "%s can log in again.\n"
			}
			return a.changeUser(cmd.Context(), args[0], api.PersonChange{Disabled: &off}, done)
		},
	}
	cmd.Flags().BoolVar(&enable, "undo", false, "let the user in again")
	cmd.Flags().BoolVar(&codes, "codes", false, "turn off one-time codes only, for who has lost the device")
	cmd.MarkFlagsMutuallyExclusive("undo", "codes")
	return cmd
}

func (a *app) userTokenCommand() *cobra.Command {
	var (
		revoke, label string
		valid         time.Duration
	)
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token for a program, or revoke one", Args: cobra.ExactArgs(1),
		Long: `Makes a token with which a program asks the API as the user:

  curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8025/api/v1/search?q=invoice

It is printed once and kept as a hash only.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), toRead, func(_ *config.Config, c *api.Client) error {
				if revoke != "" {
					if _, err := c.RevokeToken(cmd.Context(), args[0], revoke); err != nil {
						return err
					}
					_, err := fmt.Fprintf(a.stdout, "Token %s of %s is revoked.\n", revoke, args[0])
					return err
				}
				req := api.TokenRequest{Name: label}
				if valid > 0 {
					req.Expires = time.Now().Add(valid).UTC()
				}
				t, err := c.AddToken(cmd.Context(), args[0], req)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, t.Token)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&label, "name", "command line", "what the token is for")
	cmd.Flags().DurationVar(&valid, "valid", 0, "how long it is good, like 720h; 0 is without end")
	cmd.Flags().StringVar(&revoke, "revoke", "", "`id` of a token to revoke instead")
	return cmd
}
