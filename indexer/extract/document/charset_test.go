package document

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
)

func TestTextFilesOfAnyCharsetAreReadByTheirName(t *testing.T) {
	koi, err := charmap.KOI8R.NewEncoder().String("Договор поставки насосов для города. Счёт и накладная прилагаются к письму.\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.txt", "a.csv", "A.HTML"} {
		r := Read(t.Context(), File{Name: name, MediaType: "application/octet-stream", Data: []byte(koi)}, Limits{})
		if !strings.Contains(r.Text, "насосов") {
			t.Errorf("%s: %q, %s", name, r.Text, r.Reason)
		}
	}
}
