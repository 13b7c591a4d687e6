package indexer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxSnippetText is how much text of a message is kept for snippets, in
	// bytes. What is said in a message is said there, and quotations follow.
	maxSnippetText = 16 << 10
	// snippetBlock is the text that is compressed together. A list of 50
	// results reads 50 blocks, so they are small.
	snippetBlock = 32 << 10
	// maxSnippetBlock is the most that a block can hold.
	maxSnippetBlock = snippetBlock + maxSnippetText
)

// place says where a text is in the snippets file.
type place struct {
	offset int64 // of the block in the file
	length int   // of the compressed block
	start  int   // of the text in the block
	size   int   // of the text
}

func (p place) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(p.offset))
	b = binary.AppendUvarint(b, uint64(p.length))
	b = binary.AppendUvarint(b, uint64(p.start))
	return binary.AppendUvarint(b, uint64(p.size))
}

var errPlace = errors.New("damaged place of a snippet")

func decodePlace(b []byte) (place, error) {
	p, _, err := cutPlace(b)
	return p, err
}

// cutPlace also returns what follows the place.
func cutPlace(b []byte) (place, []byte, error) {
	var n [4]uint64
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return place{}, nil, errPlace
		}
		n[i], b = v, b[size:]
	}
	p := place{int64(n[0]), int(n[1]), int(n[2]), int(n[3])}
	if p.offset < 0 || n[1] > 2*maxSnippetBlock || n[2] > maxSnippetBlock || n[3] > maxSnippetBlock-n[2] {
		return place{}, nil, errPlace
	}
	return p, b, nil
}

// snippetFile keeps the texts that snippets are taken from: zstd frames of
// several texts each, appended and never changed. Blocks that no document refers
// to, of a batch that was not finished, stay.
//
// read is safe for concurrent use, also with one append.
type snippetFile struct {
	f   *os.File
	end int64
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// openSnippets opens the file, and makes it unless it is only to be read.
func openSnippets(name string, readOnly bool) (*snippetFile, error) {
	flags := os.O_RDWR | os.O_CREATE
	if readOnly {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	s := &snippetFile{f: f}
	if s.end, err = f.Seek(0, 2); err == nil {
		s.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	}
	if err == nil {
		s.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxSnippetBlock), zstd.WithDecoderConcurrency(0))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// truncate cuts the file to size bytes.
func (s *snippetFile) truncate(size int64) error {
	if s.end == size {
		return nil
	}
	if err := s.f.Truncate(size); err != nil {
		return fmt.Errorf("cut snippets: %w", err)
	}
	s.end = size
	return nil
}

// append writes the texts and makes them durable: a batch of the index that
// refers to them comes after. It returns a place for each text.
func (s *snippetFile) append(texts []string) ([]place, error) {
	places := make([]place, len(texts))
	var block, frame []byte
	first := 0
	for i, t := range texts {
		places[i] = place{start: len(block), size: len(t)}
		block = append(block, t...)
		if len(block) < snippetBlock && i+1 < len(texts) {
			continue
		}
		frame = s.enc.EncodeAll(block, frame[:0])
		if _, err := s.f.WriteAt(frame, s.end); err != nil {
			return nil, fmt.Errorf("write snippets: %w", err)
		}
		for ; first <= i; first++ {
			places[first].offset, places[first].length = s.end, len(frame)
		}
		s.end += int64(len(frame))
		block = block[:0]
	}
	if err := s.f.Sync(); err != nil {
		return nil, fmt.Errorf("sync snippets: %w", err)
	}
	return places, nil
}

func (s *snippetFile) read(p place) (string, error) {
	if p.size == 0 {
		return "", nil
	}
	frame := make([]byte, p.length)
	if _, err := s.f.ReadAt(frame, p.offset); err != nil {
		return "", fmt.Errorf("read snippet: %w", err)
	}
	block, err := s.dec.DecodeAll(frame, nil)
	if err != nil {
		return "", fmt.Errorf("read snippet: %w", err)
	}
	if p.start+p.size > len(block) {
		return "", errPlace
	}
	return string(block[p.start : p.start+p.size]), nil
}

func (s *snippetFile) close() error {
	s.dec.Close()
	return errors.Join(s.enc.Close(), s.f.Close())
}
