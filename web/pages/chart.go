package pages

import (
	"fmt"
	"slices"
)

// chart is a row of bars, drawn as inline SVG by the template "chart".
type chart struct {
	Name string
	Bars []bar
}

type bar struct {
	Label string
	Value int64
	Bad   bool
	Link  string // "" leads nowhere
}

// The drawing is in a box of these units, which the page scales.
const (
	chartWidth  = 1000.0
	chartHeight = 56.0
	// leastBar keeps a value that is not zero visible.
	leastBar = 2.0
	// leastSlots keeps few bars from becoming walls.
	leastSlots = 48
)

// First and Last are the labels of the ends.
func (c chart) First() string { return c.Bars[0].Label }

// Last is the label of the last bar, "" where the bars do not fill the width.
func (c chart) Last() string {
	if len(c.Bars) < leastSlots {
		return ""
	}
	return c.Bars[len(c.Bars)-1].Label
}

// drawn is a bar with its place.
type drawn struct {
	bar
	X, Y, Width, Height string
	Slot                string // width with the gap
}

// Linked reports whether bars lead somewhere: then the drawing is no picture to
// those who cannot see it, but a group of links.
func (c chart) Linked() bool {
	return slices.ContainsFunc(c.Bars, func(b bar) bool { return b.Link != "" })
}

// Drawn places the bars.
func (c chart) Drawn() []drawn {
	most := int64(1)
	for _, b := range c.Bars {
		most = max(most, b.Value)
	}
	slot := chartWidth / float64(max(len(c.Bars), leastSlots))
	out := make([]drawn, len(c.Bars))
	for i, b := range c.Bars {
		h := chartHeight * float64(b.Value) / float64(most)
		if b.Value > 0 || b.Bad {
			h = max(h, leastBar)
		}
		out[i] = drawn{b, units(float64(i) * slot), units(chartHeight - h), units(slot * 0.8), units(h), units(slot)}
	}
	return out
}

func units(f float64) string { return fmt.Sprintf("%.1f", f) }
