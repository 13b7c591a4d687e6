package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postkeep/postkeep/archive/hold"
)

// PlaceRequest asks for a hold.
type PlaceRequest struct {
	hold.Hold
	// Confirm says that the hold is meant although it covers nothing, or names a custodian who has no mail.
	Confirm bool `json:"confirm,omitempty"`
}

// titleConfirm is the title of a Problem that goes away when the same is asked for with Confirm.
const titleConfirm = "Confirmation needed"

// NeedsConfirmation returns what has to be confirmed, if that is what err is about.
func NeedsConfirmation(err error) (question string, ok bool) {
	var p *Problem
	if errors.As(err, &p) && p.Title == titleConfirm {
		return p.Detail, true
	}
	return "", false
}

func (s *Server) placeHold(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	req, err := decode[PlaceRequest](r)
	if err != nil {
		return err
	}
	if err := s.custodians(ctx, &req.Hold); err != nil {
		return err
	}
	if !req.Confirm {
		if doubts := s.doubts(ctx, &req.Hold); len(doubts) > 0 {
			return &Problem{Status: http.StatusConflict, Title: titleConfirm, Detail: strings.Join(doubts, "; ") + ". The hold is not in force yet: confirm that it is meant like this"}
		}
	}
	placed, err := s.opts.Compliance.PlaceHold(ctx, req.Hold, Actor(ctx))
	if err != nil {
		return err
	}
	return writeJSON(w, placed)
}

// doubtPatience is how long a hold waits for an index that is behind to be asked whether it covers anything: holds are urgent.
const doubtPatience = 5 * time.Second

var errFound = errors.New("found")

// doubts says why a hold may not be what was meant. What cannot be told is no doubt.
func (s *Server) doubts(ctx context.Context, h *hold.Hold) []string {
	holds, err := s.opts.Store.Holds(ctx, false)
	if err != nil || h.Validate() != nil {
		return nil // which is said when it is placed
	}
	for _, other := range holds {
		if other.Name == h.Name || other.ID == h.Name {
			return nil
		}
	}
	patient, stop := context.WithTimeout(ctx, doubtPatience)
	defer stop()
	if s.complete(patient) != nil {
		return nil
	}
	finds := func(q string) bool {
		err := s.opts.Index.Each(ctx, q, nil, func(string) error { return errFound })
		return err != nil // also when it cannot be told
	}
	var doubts []string
	for _, c := range h.Custodians {
		if one := (hold.Hold{Custodians: []string{c}}); finds(one.Named()) {
			continue
		}
		doubt := fmt.Sprintf("no message was ever in the mailbox %q", c)
		if strings.Contains(c, "@") {
			doubt = fmt.Sprintf("no message has the address %q", c)
			if near, err := s.opts.Index.NearestAddress(ctx, c); err == nil && near != "" {
				doubt += fmt.Sprintf(" (the nearest one is %q)", near)
			}
		}
		doubts = append(doubts, doubt)
	}
	if len(doubts) == 0 && !finds(h.Terms()) {
		doubts = append(doubts, "it covers nothing now")
	}
	return slices.Clip(doubts)
}
