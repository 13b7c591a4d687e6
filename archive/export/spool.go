package export

import (
	"bytes"
	"errors"
	"io"
	"os"

	"filippo.io/age"
)

// spoolMemory is how much of a message or load file is kept in memory: most mail
// is smaller, and the rest goes to a file.
const spoolMemory = 1 << 20

// A spool holds what has to be read again. What does not fit into memory goes to a
// temporary file, encrypted with a key that is nowhere else: an encrypted
// export leaves no plaintext behind, not even when it is killed.
type spool struct {
	dir  string // of the temporary file
	mem  []byte
	size int64
	f    *os.File // nil while all is in memory
	w    io.WriteCloser
	id   *age.X25519Identity
}

// reset empties the spool; the memory is used again.
func (s *spool) reset() error {
	s.mem, s.size = s.mem[:0], 0
	if s.f == nil {
		return nil
	}
	f := s.f
	s.f, s.w = nil, nil
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (s *spool) Write(p []byte) (int, error) {
	if s.f == nil && len(s.mem)+len(p) <= spoolMemory {
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if s.f == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	n, err := s.w.Write(p)
	s.size += int64(n)
	return n, err
}

func (s *spool) spill() (err error) {
	if s.id == nil {
		if s.id, err = age.GenerateX25519Identity(); err != nil {
			return err
		}
	}
	if s.f, err = os.CreateTemp(s.dir, tempPattern); err != nil {
		return err
	}
	if s.w, err = age.Encrypt(s.f, s.id.Recipient()); err != nil {
		return err
	}
	_, err = s.w.Write(s.mem)
	return err
}

// reader ends the writing, until reset, and returns what was written.
func (s *spool) reader() (io.ReaderAt, error) {
	if s.f == nil {
		return bytes.NewReader(s.mem), nil
	}
	if s.w != nil {
		if err := s.w.Close(); err != nil {
			return nil, err
		}
		s.w = nil
	}
	end, err := s.f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	r, _, err := age.DecryptReaderAt(s.f, end, s.id)
	return r, err
}
