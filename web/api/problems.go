package api

import (
	"context"
	"fmt"
)

// mailboxProblems adds what is wrong with mailboxes, also those with messages
// whose archived copies are not known to be whole, and what else is told.
func (s *Server) mailboxProblems(ctx context.Context, st *Status) error {
	for _, name := range s.opts.Poller.Names() {
		if a := s.opts.Poller.Outlook(name).Attention; a != "" {
			st.Problem = append(st.Problem, name+": "+a)
		}
	}
	if s.opts.Problems != nil {
		st.Problem = append(st.Problem, s.opts.Problems()...)
	}
	if s.opts.Attachments != nil {
		var problem string
		if st.Attachments, problem = s.opts.Attachments(ctx); problem != "" {
			st.Problem = append(st.Problem, problem)
		}
	}
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
