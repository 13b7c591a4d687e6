package users

import (
	"slices"
	"time"

	"github.com/postkeep/postkeep/web/access"
)

// A Setter is who sets a credential: as the ledger names them, and how they had logged in (package access).
type Setter struct{ By, How string }

// The credentials that somebody sets.
const (
	SetAccount  = "account" // made it
	SetPassword = "password"
	SetCodes    = "one-time codes"
	SetToken    = "token"
	SetLink     = "link"
)

// A Setting says that somebody has set a credential of a user, so that By could have acted as that user.
type Setting struct {
	What string `json:"what"`
	By   string `json:"by"`
	How  string `json:"how,omitempty"` // By had logged in
	// At is the first time since the user was last proved, Last the latest.
	At   time.Time `json:"at"`
	Last time.Time `json:"last"`
	// Proved is when the user proved that it is they who know the password, by something that By could not have set.
	Proved time.Time `json:"proved,omitzero"`

	// Of is whose credential it is, where Hands gave it.
	Of string `json:"-"`
}

// First reports whether it is how the owner of the data directory makes people: the first ones come from nowhere else.
func (s *Setting) First() bool {
	return s.How == access.BySocket && (s.What == SetAccount || s.What == SetLink)
}

// Note records that somebody sets a credential. There is one Setting for each of them and each kind, so that the list is bounded by
// the number of people.
func (u *User) Note(what string, by Setter, now time.Time) {
	now = now.UTC()
	i := slices.IndexFunc(u.Set, func(s Setting) bool { return s.What == what && s.By == by.By })
	switch {
	case i < 0:
		u.Set = append(u.Set, Setting{What: what, By: by.By, How: by.How, At: now, Last: now})
	case u.Set[i].Proved.IsZero(): // the first time counts: what proves somebody has to be older
		u.Set[i].Last, u.Set[i].How = now, by.How
	default:
		u.Set[i] = Setting{What: what, By: by.By, How: by.How, At: now, Last: now}
	}
}

// Prove notes that the user has chosen a new password after a log-in that proves who they are: at an identity provider, or with
// one-time codes, which prove it against what others have set since the codes were turned on.
func (u *User) Prove(how string, now time.Time) {
	for i := range u.Set {
		s := &u.Set[i]
		proved := how == access.ByProvider || how == access.ByCode && !u.CodesSince.IsZero() && u.CodesSince.Before(s.At)
		if s.By != u.Name && s.Proved.IsZero() && proved {
			s.Proved = now.UTC()
		}
	}
}

// Hands returns who could have acted as the named user at a time, each with the Setting that let them: whoever had set a credential
// of theirs, and whoever had set one of a user who did so afterwards. The user is among them, with an empty Setting. known is false
// if it was not recorded who set the credentials.
//
// Whoever owns the data directory makes the first administrators, and is not taken for everybody that these make later: they could
// replace the program as well. What they set otherwise counts.
func (s *Store) Hands(name string, at time.Time) (hands map[string]Setting, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	hands = map[string]Setting{name: {}}
	i := s.find(name)
	if i < 0 || len(s.users[i].Set) == 0 {
		return hands, false
	}
	type step struct {
		of    string
		until time.Time // by which something has to be set to count; zero for the user's own
	}
	seen := map[string]time.Time{} // the latest until
	for todo := []step{{of: name}}; len(todo) > 0; {
		now := todo[0]
		todo = todo[1:]
		i := s.find(now.of)
		if i < 0 {
			continue
		}
		for _, set := range s.users[i].Set {
			if !set.Proved.IsZero() && !set.Proved.After(at) || set.By == now.of ||
				!now.until.IsZero() && (set.At.After(now.until) || set.First()) {
				continue
			}
			set.Of = now.of
			if was, there := hands[set.By]; !there || set.By != name && was.First() && !set.First() {
				hands[set.By] = set
			}
			if seen[set.By].Before(set.Last) {
				seen[set.By] = set.Last
				todo = append(todo, step{set.By, set.Last})
			}
		}
	}
	return hands, true
}
