package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/postkeep/postkeep/archive/parts"
)

// A checkedReader reads a message that is stored whole.
type checkedReader struct {
	body io.ReadCloser
	hash hash.Hash
	id   string
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(r.hash.Sum(nil)) != r.id {
		err = fmt.Errorf("%w: message %s", ErrDamaged, r.id)
	}
	return n, err
}

func (r *checkedReader) Close() error { return r.body.Close() }

// A recipeReader reads a message that is stored in parts.
type recipeReader struct {
	*parts.Reader // checks the SHA-256
	recipe        io.Closer
}

func (s *Store) openRecipe(ctx context.Context, id string, recipe io.ReadCloser) (io.ReadCloser, error) {
	r, err := parts.NewReader(recipe, func(part string, _ int64) (io.ReadCloser, error) {
		row, ok, err := s.catalog.Part(ctx, part)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%w: the archive does not have it", ErrDamaged)
		}
		return s.openPart(ctx, row)
	})
	if err == nil && r.ID != id {
		err = fmt.Errorf("%w: it is that of message %s", parts.ErrRecipe, r.ID)
	}
	if err != nil {
		return nil, errors.Join(recipeError(id, err), recipe.Close())
	}
	return &recipeReader{r, recipe}, nil
}

func (r *recipeReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = recipeError(r.ID, err)
	}
	return n, err
}

// recipeError says that bytes are damaged, if that is what err means.
func recipeError(id string, err error) error {
	if errors.Is(err, parts.ErrRecipe) {
		return fmt.Errorf("%w: message %s: %w", ErrDamaged, id, err)
	}
	return fmt.Errorf("message %s: %w", id, err)
}

func (r *recipeReader) Close() error { return errors.Join(r.Reader.Close(), r.recipe.Close()) }
