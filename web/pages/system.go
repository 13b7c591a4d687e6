package pages

import (
	"net/http"
	"strings"

	"github.com/postkeep/postkeep/web/api"
)

// systemPage is the state of the instance for those who keep it running.
type systemPage struct {
	api.Status
}

func (s *Server) system(w http.ResponseWriter, r *http.Request, v *View) error {
	st, err := s.opts.API.Status(r.Context())
	if err != nil {
		return err
	}
	v.Title = v.T("System")
	return s.render(w, http.StatusOK, "system", v, &systemPage{Status: st})
}

// Checkpoint is the text of the signed checkpoint without its empty end.
func (p *systemPage) Checkpoint() string { return strings.TrimSpace(p.Archive.Checkpoint) }

// Stored is the size of all volumes on disk.
func (p *systemPage) Stored() int64 {
	var n int64
	for _, volume := range p.Archive.Volumes {
		n += volume.Bytes
	}
	return n
}
