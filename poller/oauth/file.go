package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// maxFileBytes bounds the file; tokens of Microsoft have some thousand bytes.
const maxFileBytes = 256 << 10

// tokens are what the file holds.
type tokens struct {
	Access  string    `json:"access_token,omitempty"`
	Refresh string    `json:"refresh_token,omitempty"`
	Expiry  time.Time `json:"expiry,omitzero"` // of the access token; zero if unknown

	// Whom the tokens are for. After a change of the configuration they must not
	// be sent elsewhere.
	ClientID string `json:"client_id"`
	TokenURL string `json:"token_url"`
	Scopes   string `json:"scopes"`
}

// load returns no tokens if there is no file, a damaged one, or one for another
// client.
func (s *Source) load() (tokens, error) {
	f, err := os.Open(s.opts.File)
	if errors.Is(err, fs.ErrNotExist) {
		return tokens{}, nil
	}
	if err != nil {
		return tokens{}, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return tokens{}, fmt.Errorf("read tokens: %w", err)
	}
	var t tokens
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &t); err != nil {
		s.opts.Logger.Warn("the file with the tokens is damaged", "path", s.opts.File)
		return tokens{}, nil
	}
	if t.ClientID != s.opts.ClientID || t.TokenURL != s.opts.TokenURL || t.Scopes != strings.Join(s.opts.Scopes, " ") {
		return tokens{}, nil
	}
	return t, nil
}

// save replaces the file, so that after a power cut there is the old one or the
// new one: a refresh token that is lost takes a user to replace.
func (s *Source) save(t tokens) (err error) {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("save tokens: %w", err)
	}
	dir := filepath.Dir(s.opts.File)
	f, err := os.CreateTemp(dir, ".token-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("save tokens: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save tokens: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.opts.File); err != nil {
		return err
	}
	if runtime.GOOS != "windows" { // where folders cannot be synced
		if d, err := os.Open(dir); err == nil {
			_ = d.Sync() // the tokens are in use by now, whatever happens
			_ = d.Close()
		}
	}
	return nil
}
