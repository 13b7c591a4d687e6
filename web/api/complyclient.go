package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/archive/hold"
)

// ask sends in as JSON and decodes the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	resp, err := c.do(ctx, method, path, nil, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	err = joinClose(json.NewDecoder(resp.Body).Decode(&out), resp.Body)
	return out, err
}

// Holds lists the holds in force, with all also those that were released.
func (c *Client) Holds(ctx context.Context, all bool) ([]archive.Hold, error) {
	query := url.Values{}
	if all {
		query.Set("all", "1")
	}
	return get[[]archive.Hold](ctx, c, "/api/v1/holds", query)
}

// PlaceHold places a hold. NeedsConfirmation tells whether it is refused because it may not be what was meant; confirm says that it
// is.
func (c *Client) PlaceHold(ctx context.Context, h hold.Hold, confirm bool) (archive.Hold, error) {
	return ask[archive.Hold](ctx, c, http.MethodPost, "/api/v1/holds", PlaceRequest{h, confirm})
}

// Hold asks what the hold that has the name or id covers now.
func (c *Client) Hold(ctx context.Context, name string) (HoldDetail, error) {
	return get[HoldDetail](ctx, c, "/api/v1/holds/"+url.PathEscape(name), nil)
}

// ReleaseHold releases a hold.
func (c *Client) ReleaseHold(ctx context.Context, name, reason string) (archive.Hold, error) {
	return ask[archive.Hold](ctx, c, http.MethodPost, "/api/v1/holds/"+url.PathEscape(name)+"/release", ReleaseRequest{reason})
}

const rulesPath, plansPath = "/api/v1/retention/rules", "/api/v1/retention/plans"

// Rules lists the retention rules.
func (c *Client) Rules(ctx context.Context) ([]archive.Rule, error) {
	return get[[]archive.Rule](ctx, c, rulesPath, nil)
}

// AddRule adds a retention rule.
func (c *Client) AddRule(ctx context.Context, r NewRule) (AddedRule, error) {
	return ask[AddedRule](ctx, c, http.MethodPost, rulesPath, r)
}

// RemoveRule removes a retention rule, or asks for that where it takes a second person: then the rule is still there, with a pending change.
func (c *Client) RemoveRule(ctx context.Context, name string) ([]archive.Rule, error) {
	return ask[[]archive.Rule](ctx, c, http.MethodDelete, rulesPath+"/"+url.PathEscape(name), nil)
}

// Plans lists the plans of disposal.
func (c *Client) Plans(ctx context.Context) ([]archive.Plan, error) {
	return get[[]archive.Plan](ctx, c, plansPath, nil)
}

func planPath(id string) string { return plansPath + "/" + url.PathEscape(id) }

// MakePlan plans what is due and not held. The plan has no id if there is nothing.
func (c *Client) MakePlan(ctx context.Context, confirmClock bool) (archive.Plan, error) {
	return ask[archive.Plan](ctx, c, http.MethodPost, plansPath, DisposalRequest{confirmClock})
}

// Plan returns a plan.
func (c *Client) Plan(ctx context.Context, id string) (archive.Plan, error) {
	return get[archive.Plan](ctx, c, planPath(id), nil)
}

// Planned calls fn with what a plan lists and is still there.
func (c *Client) Planned(ctx context.Context, id string, fn func(PlannedDeposit) error) error {
	resp, err := c.do(ctx, http.MethodGet, planPath(id)+"/deposits", nil, nil)
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var d PlannedDeposit
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return resp.Body.Close()
		}
		if err == nil {
			err = fn(d)
		}
		if err != nil {
			return joinClose(err, resp.Body)
		}
	}
}

// ApprovePlan approves a plan.
func (c *Client) ApprovePlan(ctx context.Context, id string) (archive.Plan, error) {
	return ask[archive.Plan](ctx, c, http.MethodPost, planPath(id)+"/approve", nil)
}

// ApplyPlan disposes of what a plan lists.
func (c *Client) ApplyPlan(ctx context.Context, id string, confirmClock bool) (archive.Disposal, error) {
	return ask[archive.Disposal](ctx, c, http.MethodPost, planPath(id)+"/apply", DisposalRequest{confirmClock})
}

// Certificate returns the certificate of a disposal.
func (c *Client) Certificate(ctx context.Context, id string) (archive.Certificate, error) {
	return get[archive.Certificate](ctx, c, planPath(id)+"/certificate", nil)
}

// Erase erases a message by its id or an unambiguous prefix.
func (c *Client) Erase(ctx context.Context, id, reason string, confirmClock bool) (Erased, error) {
	return ask[Erased](ctx, c, http.MethodPost, "/api/v1/messages/"+url.PathEscape(id)+"/erase",
		EraseRequest{DisposalRequest{confirmClock}, reason})
}
