package api

import (
	"context"
	"fmt"
)

// unconfirmed adds the mailboxes with messages whose archived copies are not
// known to be whole.
func (s *Server) unconfirmed(ctx context.Context, st *Status) error {
	boxes, err := s.boxes(ctx)
	if err != nil {
		return err
	}
	for _, m := range boxes {
		if !m.Configured || m.LastPoll == nil || m.LastPoll.Unconfirmed == 0 {
			continue
		}
		if st.Unconfirmed == nil {
			st.Unconfirmed = map[string]int{}
		}
		st.Unconfirmed[m.Name] = m.LastPoll.Unconfirmed
		st.Problem = append(st.Problem, fmt.Sprintf("%s: the archived copies of %d message(s) on the server are not confirmed to be whole; "+
			"the messages are not deleted, and polls fetch them again: if this stays so, look at what the last poll left, and why", m.Name, m.LastPoll.Unconfirmed))
	}
	return nil
}
