package segment

import (
	"cmp"
	"errors"
	"hash/crc32"
	"slices"
	"sync"

	index "github.com/blevesearch/bleve_index_api"
	segment "github.com/blevesearch/scorch_segment_api/v2"
	zap "github.com/blevesearch/zapx/v17"
)

// Plugin is zapx for Bleve, but for how segments of documents are made whose only field is Terms. Others are left
// to zapx. It is safe for concurrent use.
type Plugin struct {
	zap.ZapPlugin
	builders sync.Pool // of *builder
}

// NewUsing returns the segment of a batch of documents, and its size in bytes.
func (p *Plugin) NewUsing(documents []index.Document, config map[string]any) (segment.Segment, uint64, error) {
	docs := make([]numbered, 0, len(documents))
	for _, d := range documents {
		if t := termsOf(d); t != nil && (len(docs) == 0 || t.schema == docs[0].schema) {
			docs = append(docs, numbered{t, d.ID()})
		}
	}
	switch {
	case len(docs) == 0:
		return p.ZapPlugin.NewUsing(documents, config)
	case len(docs) < len(documents):
		return nil, 0, errors.New("documents of several kinds are in one batch")
	}
	slices.SortFunc(docs, func(a, b numbered) int { return cmp.Compare(a.order, b.order) })
	b, ok := p.builders.Get().(*builder)
	if !ok {
		b = &builder{}
	}
	out, stored, sections, err := b.build(docs)
	if err != nil {
		return nil, 0, err
	}
	p.builders.Put(b)
	stats, ok := config[segment.StatsKey].(*segment.Stats)
	if !ok || stats == nil {
		stats = new(segment.Stats)
	}
	base, err := zap.InitSegmentBase(out, crc32.ChecksumIEEE(out), zap.DefaultChunkMode, uint64(len(docs)), stored, sections, config, stats)
	if err != nil {
		return nil, 0, err
	}
	return base, uint64(len(out)), nil
}

// New is NewUsing without a configuration.
func (p *Plugin) New(documents []index.Document) (segment.Segment, uint64, error) {
	return p.NewUsing(documents, nil)
}

func termsOf(d index.Document) (terms *Terms) {
	d.VisitFields(func(f index.Field) {
		if t, ok := f.(*Terms); ok {
			terms = t
		}
	})
	return terms
}
