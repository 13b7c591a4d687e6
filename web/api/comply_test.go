package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
	"github.com/postkeep/postkeep/indexer"
	"github.com/postkeep/postkeep/web/access"
)

// allMail is the index without a scope.
type allMail struct{ *indexer.Index }

func (x allMail) Each(ctx context.Context, query string, fn func(string) error) error {
	return x.Index.Each(ctx, query, nil, fn)
}

// office is an instance with somebody who decides about holds and retention.
func office(t *testing.T, messages ...string) *Client {
	t.Helper()
	s, store := instance(t, messages...)
	s.opts.Compliance = archive.NewCompliance(t.Context(), store, archive.ComplianceOptions{Search: allMail{s.opts.Index}, Negates: Negates})
	t.Cleanup(s.opts.Compliance.Close)
	return client(t, s)
}

func status(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

func TestHoldsAreFoundByAnyName(t *testing.T) {
	c := office(t, hello)
	const name = "Smith v. Jones / 50% of it?"
	h, err := c.PlaceHold(t.Context(), hold.Hold{Name: name, Reason: "a claim", Query: "contract", Custodians: []string{"sales"}}, false)
	if err != nil || h.ID == "" {
		t.Fatal(h, err)
	}
	if d, err := c.Hold(t.Context(), name); err != nil || d.Hits != 1 || d.PlacedBy == "" || !strings.Contains(d.Terms, "contract") {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := c.Erase(t.Context(), idOf(hello), "a request", false); status(err) != http.StatusConflict || !strings.Contains(err.Error(), name) {
		t.Errorf("erasure under a hold: %v", err)
	}
	if _, err := c.PlaceHold(t.Context(), hold.Hold{Name: name, Reason: "again", Query: "x"}, false); status(err) != http.StatusBadRequest {
		t.Errorf("a second hold of the name: %v", err)
	}
	if _, err := c.ReleaseHold(t.Context(), name, "settled"); err != nil {
		t.Error(err)
	}
	if _, err := c.Hold(t.Context(), name); status(err) != http.StatusNotFound {
		t.Errorf("a hold that was released: %v", err)
	}
	if all, err := c.Holds(t.Context(), true); err != nil || len(all) != 1 || all[0].ReleaseReason != "settled" {
		t.Errorf("all holds: %+v, %v", all, err)
	}
}

// TestAHoldThatMayNotBeMeantAsksFirst: a custodian whom no message ever had, and a hold that covers nothing, have to be confirmed.
func TestAHoldThatMayNotBeMeantAsksFirst(t *testing.T) {
	c := office(t, "From: Held <held@weiss.example>\r\nTo: bob@example.org\r\nSubject: contract\r\n\r\nx\r\n")
	for name, h := range map[string]hold.Hold{
		"mistyped": {Query: "contract", Custodians: []string{"bob@example.org", "hedl@weiss.exampel"}},
		"domain":   {Custodians: []string{"@weis.example"}},
		"unlike":   {Custodians: []string{"somebody@elsewhere.example"}},
		"nothing":  {Query: "nosuchword", Custodians: []string{"held@weiss.example"}},
	} {
		h.Name, h.Reason = name, "a claim"
		_, err := c.PlaceHold(t.Context(), h, false)
		question, ok := NeedsConfirmation(err)
		if !ok || status(err) != http.StatusConflict {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := map[string]string{"mistyped": `"held@weiss.example"`, "domain": `"@weiss.example"`, "unlike": "no message has the address", "nothing": "covers nothing"}[name]
		if !strings.Contains(question, want) || strings.Contains(question, "bob@") {
			t.Errorf("%s: asks %q", name, question)
		}
		if holds, err := c.Holds(t.Context(), true); err != nil || slices.ContainsFunc(holds, func(h archive.Hold) bool { return h.Name == name }) {
			t.Errorf("%s: holds %+v, %v", name, holds, err)
		}
		if placed, err := c.PlaceHold(t.Context(), h, true); err != nil || placed.ID == "" {
			t.Errorf("%s, confirmed: %+v, %v", name, placed, err)
		}
	}
	if h, err := c.PlaceHold(t.Context(), hold.Hold{Name: "meant", Reason: "r", Custodians: []string{"Held <held@weiss.example>", "@weiss.example"}}, false); err != nil || h.ID == "" {
		t.Errorf("a hold that covers something: %+v, %v", h, err)
	}
}

func TestRulesThatCannotBeUnderstoodAreRefused(t *testing.T) {
	c := office(t, hello)
	for name, r := range map[string]NewRule{
		"period":      {Name: "a", Max: "ten years"},
		"query":       {Name: "a", Max: "10y", Query: "frm:x"},
		"held":        {Name: "a", Max: "10y", Query: "report (a OR -is:held)"},
		"no period":   {Name: "a"},
		"contradicts": {Name: "a", Min: "10y", Max: "1y"},
	} {
		if _, err := c.AddRule(t.Context(), r); status(err) != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	added, err := c.AddRule(t.Context(), NewRule{Name: "old news", Max: "90d", Query: "-contract", Basis: "date"})
	if err != nil || !added.Negated || added.Warning == "" {
		t.Errorf("%+v, %v", added, err)
	}
	if _, err := c.RemoveRule(t.Context(), "old news"); err != nil {
		t.Error(err)
	}
	if rules, err := c.Rules(t.Context()); err != nil || len(rules) != 0 {
		t.Errorf("%+v, %v", rules, err)
	}
}

func TestOnlyThoseWhoMayDecideAboutHoldsAndRetention(t *testing.T) {
	s, _ := instance(t, hello)
	for _, role := range []access.Role{access.User, access.Auditor, access.Admin} {
		ctx := access.With(t.Context(), &access.Principal{Name: "anna", Roles: []access.Role{role}, Scope: access.Scope{All: true}})
		for _, r := range s.complyRoutes() {
			if err := refused(access.Of(ctx), r.may); status(err) != http.StatusForbidden {
				t.Errorf("%s by %s: %v", r.pattern, role, err)
			}
		}
	}
}
