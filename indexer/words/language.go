package words

import (
	"math/bits"
	"strings"
)

// Languages returns the languages that Language tells apart, as ISO 639-1 codes.
func Languages() []string {
	codes := make([]string, len(profiles))
	for i, p := range profiles {
		codes[i] = p.code
	}
	return codes
}

// profiles are the most frequent words of the languages in running text, folded,
// without those of one Latin letter, which are names of variables too.
var profiles = [...]struct{ code, words string }{
	{"da", `af at blev da de dem den der deres det dette dig din dog du efter eller en end er et for fra ham han har havde hun hvad hvis
		hvor har ikke ind jeg jer kan kunne man mange med meget men mig min mod ned noget nogle nu og ogsa om op os over pa selv sig skal skulle som
		til ud under var ved vi vil ville vaere vores hilsen venlig tak`},
	{"de", `aber alle als also am an auch auf aus bei beim bin bis bitte da damit dann das dass dem den denn der des die dies diese diesem diesen dieser
		doch dort durch ein eine einem einen einer eines er es fur haben habe hat hatte ich ihm ihn ihr ihre ihrem ihren im in ist ja jetzt kann kein
		keine konnen man mehr mein mich mir mit mochte nach nicht noch nur ob oder ohne sehr sein seine sich sie sind so uber um und uns unser unter
		viele vom von vor war waren was wenn wer werden wie wieder wir wird wurde wurden zu zum zur zwischen grusse grussen danke gruss freundlichen`},
	{"en", `about after all also am an and any are as at be because been before but by can could did do does for from get had has have he her here him
		his how if in into is it its just like may me more most my no not now of on one only or other our out over please she should so some such
		than that the their them then there these they this those through to too up us use very was we were what when where which who will with
		would you your thanks regards`},
	{"es", `al algo alguna ante antes asi aunque bien cada como con contra cuando de del desde donde dos el ella ellos en entre era es esa ese eso esta
		estaba estan estas este esto estos fue fueron gracias ha han hasta hay la las le les lo los mas me mi mientras muy nada ni no nos nosotros
		otra otro para pero poco por porque pueda puede que quien se sea ser si sido sin sobre solo son su sus tambien tanto te tiene tienen todo
		todos tu un una uno usted ya yo saludos hola buenos`},
	{"fr", `ai apres au aussi autre aux avant avec avez avoir bien bonjour ce cela ces cet cette chez comme comment dans de depuis des deux donc dont du
		elle elles en encore entre est et etait ete etre eu faire fait faut il ils je jour la le les leur leurs lui ma mais me meme merci mes moi mon
		ne nos notre nous on ont ou par parce pas peu peut plus pour pouvez quand que quel quelle qui quoi sa sans se ses si son sont sous sur ta
		tous tout toute toutes tres tu un une vers vos votre vous cordialement`},
	{"it", `ad agli ai al alla alle allo anche ancora che chi ci ciao come con cosa cosi da dai dal dalla dalle dei del della delle dello di dopo dove ed
		era essere fatto fra gli grazie ha hai hanno ho il in io la le lei li lo loro lui ma mi mia mio molto ne nei nel nella nelle no noi non nostro
		ogni per perche piu poi possono prima puo qualche quando quanto quella quello questa queste questi questo quindi se sei senza si sia siamo
		solo sono sta su sua sui sul sulla suo tra tu tutti tutto un una uno voi saluti buongiorno`},
	{"nl", `aan al alle als ben bent bij daar dan dat de der deze die dit doen door dus een en er ge geen geweest groet groeten haar had heb hebben heeft
		hem het hij hoe hun ik in is ja je jij kan komen kunnen maar me meer men met mij mijn moet na naar niet niets nog nu of om omdat ons onze ook
		op over te tegen toch toen tot uit uw van veel voor waar want waren was wat we wel werd wij wil worden zal ze zei zich zij zijn zo zonder
		zou bedankt vriendelijke`},
	{"pt", `ainda antes ao aos aquela aquele aqui as assim ate bem boa bom cada com como contra da das de dela dele depois do dois dos ela elas ele
		em entre era essa esse esta estao estar estava este eu fazer foi foram ha isso isto ja la lhe mais mas me mesmo meu minha muito muitos na nao
		nas nem no nos nossa nosso num numa obrigado onde os ou para pela pelo pelos pode por porque quando que quem se sem ser seu seus sao so sobre
		somos sua suas tambem tem tinha toda todos tudo um uma umas voce voces atenciosamente abraco`},
	{"ru", `без более бы был была были было быть вам вас ведь весь во вот все всего всех вы где да даже для до его ее если есть еще же за здесь
		и из или им их как какои когда которые которыи кто ли либо лучше между меня мне можно мои может мы на над надо нас наш не него нее нет
		ни них но ну об один он она они оно от очень по под после потом потому при про раз с сеичас со спасибо так также такои там то тогда того тоже
		только том тот ты у уже хорошо хотя чего чем что чтобы эта эти это этого этои этом этот я в к о`},
	{"sv", `alla allt att av bara blev blir da dar de dem den denna deras det detta dig din dock du efter eller en er ett fick fran for ha han hade har
		hej hon honom hur icke ingen inte in jag kan kom kunde man mang manga med men mig min mot mycket ni nu nagon nagot nar och ocksa om oss
		pa sedan sig sin ska skulle som samma till tack under upp ut utan vad var vara varit vi vid vilka vill vilken vore vart at over halsningar`},
}

// stopWords maps each word of the profiles to the languages that have it, one
// bit for each.
var stopWords = func() map[string]uint16 {
	m := map[string]uint16{}
	for i, p := range profiles {
		for w := range strings.FieldsSeq(p.words) {
			m[w] |= 1 << i
		}
	}
	return m
}()

const (
	// profileBytes is how much text Language looks at. More makes it no surer.
	profileBytes = 2 << 10
	// minStopWords and minStopShare (1 in so many words) keep lists of names,
	// program text and single lines from being taken for a language.
	minStopWords = 3
	minStopShare = 8
)

// Language returns the code of the language that text is likely in, by the
// frequent words at its beginning, "" where that is not clear: too few of
// them, or nearly as many of another language.
func Language(text string) string {
	var hits, weight [len(profiles)]int
	total := 0
	for t := range All(text[:min(len(text), profileBytes)]) {
		total++
		in := stopWords[string(t.Term)]
		tells := 60 / max(1, bits.OnesCount16(in)) // a word of one language tells more than one of many
		for i := 0; in != 0; i, in = i+1, in>>1 {
			hits[i] += int(in & 1)
			weight[i] += int(in&1) * tells
		}
	}
	best, second := 0, 0
	for i := 1; i < len(hits); i++ {
		if weight[i] > weight[best] {
			best = i
		}
	}
	for i, w := range weight {
		if i != best {
			second = max(second, w)
		}
	}
	if n := hits[best]; n < minStopWords || n*minStopShare < total || 2*weight[best] < 3*second {
		return ""
	}
	return profiles[best].code
}
