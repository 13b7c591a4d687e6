package api

import (
	"context"
	"net/http"

	"github.com/postkeep/postkeep/archive"
	"github.com/postkeep/postkeep/web/access"
)

// ClockState is what there is to say of the archive's clock.
type ClockState struct {
	// Jump is the last one if nobody has confirmed the clock since: nothing is disposed of.
	Jump *archive.ClockJump `json:"jump,omitempty"`
}

const clockPath = "/api/v1/retention/clock"

func (s *Server) clockRoutes() []route {
	return []route{
		{"GET " + clockPath, access.Comply, s.clock},
		{"POST " + clockPath + "/confirm", access.Comply, s.confirmClock},
	}
}

func clockOperations() map[string]operation {
	return map[string]operation{
		"GET " + clockPath:               {summary: "Whether the clock has jumped and nobody has confirmed it since, which keeps everything from being disposed of", out: ClockState{}},
		"POST " + clockPath + "/confirm": {summary: "Say that the clock is right now", out: ClockState{}},
	}
}

func (s *Server) clock(w http.ResponseWriter, r *http.Request) error {
	jump, err := s.opts.Store.ClockJump(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, ClockState{jump})
}

func (s *Server) confirmClock(w http.ResponseWriter, r *http.Request) error {
	if err := s.opts.Compliance.ConfirmClock(r.Context(), Actor(r.Context())); err != nil {
		return err
	}
	return s.clock(w, r)
}

// Clock tells whether the clock has jumped.
func (c *Client) Clock(ctx context.Context) (ClockState, error) {
	return get[ClockState](ctx, c, clockPath, nil)
}

// ConfirmClock says that the clock is right now.
func (c *Client) ConfirmClock(ctx context.Context) (ClockState, error) {
	return ask[ClockState](ctx, c, http.MethodPost, clockPath+"/confirm", nil)
}
