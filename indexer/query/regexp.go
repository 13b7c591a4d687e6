package query

import (
	"errors"
	"fmt"
	"regexp/syntax"

	"github.com/postkeep/postkeep/indexer/words"
)

// maxPattern is the length of a regular expression in bytes. What fits is
// bounded too, by regexp/syntax and by the automaton that it becomes.
const maxPattern = 500

// foldedPattern returns a regular expression for the words of the index: these
// are in lower case and without diacritics. Ends of the text are left out, since
// a word has to fit as a whole, and so is the difference between greedy and not.
func foldedPattern(pattern string) (string, error) {
	if pattern == "" {
		return "", errors.New("it is empty")
	}
	if len(pattern) > maxPattern {
		return "", fmt.Errorf("at most %d bytes", maxPattern)
	}
	if pairedText(pattern) {
		return "", errors.New("letters of a script that has spaces between words")
	}
	tree, err := syntax.Parse(pattern, syntax.Perl|syntax.FoldCase)
	if err != nil {
		var e *syntax.Error
		if errors.As(err, &e) {
			return "", fmt.Errorf("RE2 syntax: %s", e.Code)
		}
		return "", err
	}
	if err := foldTree(tree); err != nil {
		return "", err
	}
	return tree.String(), nil
}

func foldTree(t *syntax.Regexp) error {
	t.Flags &^= syntax.FoldCase | syntax.NonGreedy
	switch t.Op {
	case syntax.OpLiteral:
		if t.Rune = []rune(words.Fold(string(t.Rune))); len(t.Rune) == 0 {
			t.Op = syntax.OpEmptyMatch
		}
	case syntax.OpNoMatch:
		return errors.New("nothing fits a part of it")
	case syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		t.Op = syntax.OpEmptyMatch
	case syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return errors.New("no \\b or \\B: the expression has to fit a word as a whole")
	}
	for _, s := range t.Sub {
		if err := foldTree(s); err != nil {
			return err
		}
	}
	return nil
}

// Folded returns a regular expression that fits the terms of the index that n
// looks for: in lower case, without diacritics.
func (n *Regexp) Folded() string {
	folded, err := foldedPattern(n.Pattern)
	if err != nil {
		return n.Pattern // not from Parse, which has seen to it
	}
	return folded
}
