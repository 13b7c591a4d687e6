package words

import "testing"

func TestLanguageIsToldByFrequentWords(t *testing.T) {
	for text, want := range map[string]string{
		"Please find attached the report that you asked for. It is not final, and we will send more.":                      "en",
		"Anbei finden Sie den Bericht, um den Sie gebeten haben. Er ist noch nicht fertig, wir schicken später mehr.":      "de",
		"Veuillez trouver ci-joint le rapport que vous avez demandé. Il n'est pas encore terminé, nous en enverrons plus.": "fr",
		"Adjunto el informe que usted pidió. Todavía no está terminado y le enviaremos más en cuanto lo tengamos.":         "es",
		"In allegato trova il rapporto che ha chiesto. Non è ancora finito e ne invieremo di più quando sarà pronto.":      "it",
		"In de bijlage vindt u het rapport waar u om vroeg. Het is nog niet af, wij sturen later meer.":                    "nl",
		"Segue em anexo o relatório que você pediu. Ainda não está pronto e nós enviaremos mais quando for possível.":      "pt",
		"Во вложении отчёт, о котором вы просили. Он ещё не готов, мы пришлём остальное, как только сможем.":               "ru",
		"Vedhæftet er den rapport, som du har bedt om. Den er ikke færdig endnu, og vi sender mere senere.":                "da",
		"Bifogat finns rapporten som du frågade efter. Den är inte klar än, och vi skickar mer när vi kan.":                "sv",
		"W załączniku raport, o który pan prosił. Nie jest jeszcze gotowy, wyślemy więcej, kiedy będzie można.":            "",
		"":      "",
		"Hello": "",
		"int main(void) { for (i = 0; i < n; i++) printf(\"%d\\n\", a[i]); return 0; }":            "",
		"Alice Liddell, Bob Builder, Carol Danvers, Dave Bowman, Erin Brockovich, Frank Underwood": "",
		"添付の報告書をご確認ください。":                                                                          "",
	} {
		if got := Language(text); got != want {
			t.Errorf("%.60s: %q, want %q", text, got, want)
		}
	}
}
