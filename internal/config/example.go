package config

import (
	"bytes"
	_ "embed"
)

//go:embed example.yaml
var example []byte

// Example returns the commented configuration that postkeep init writes. It is
// valid as it is, with no mailbox.
func Example() []byte { return bytes.Clone(example) }
