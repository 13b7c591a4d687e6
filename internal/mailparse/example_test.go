package mailparse_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/postkeep/postkeep/internal/mailparse"
)

func ExampleParse() {
	const message = "From mail@example.com Thu Jan  1 00:00:00 1970\n" +
		"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.com>\n" +
		"Subject: the plan\n" +
		"Content-Type: multipart/mixed\n" +
		"\n" +
		"--next\n" +
		"\n" +
		"See attached.\n" +
		"--next\n" +
		"Content-Type: application/pdf; name=plan.pdf\n" +
		"Content-Transfer-Encoding: base64\n" +
		"\n" +
		"JVBERi0xLjQ\n"
	m, err := mailparse.Parse(context.Background(), strings.NewReader(message), mailparse.Options{})
	if err != nil {
		fmt.Println(err) // the reader failed
	}
	fmt.Println(m.From[0].Name, m.Subject)
	fmt.Print(m.Text())
	for _, a := range m.Attachments {
		fmt.Println(a.FileName, a.MediaType, a.Size)
	}
	fmt.Println(m.Flags)
	for _, p := range m.Problems {
		fmt.Println(p)
	}
	// Output:
	// Jörg the plan
	// See attached.
	// plan.pdf application/pdf 8
	// [malformed]
	// begins with an mbox From line
	// multipart without a boundary
	// base64 ends early
	// multipart without its last boundary
}
