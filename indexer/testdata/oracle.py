#!/usr/bin/env python3
"""Says which messages a search should find, without any code of the archive.

Reads messages from standard input, each after a line with its length in
octets, parses them with Python's email package, splits their text into words by
its own rules, draws random queries, and writes one JSON object a line:

    {"kind": "term", "query": "\"invoice\"", "hits": [3, 17]}

where hits are the numbers of the messages, from 0.

What the two sides have agreed on is docs/query.md: which parts of a message a
query without a field looks in, what separates words, what is folded.
"""

import argparse
import email
import email.header
import email.utils
import html.parser
import json
import random
import re
import sys
import unicodedata

UNFOLDED = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "þ": "th", "ø": "o", "đ": "d", "ð": "d",
    "ł": "l", "ħ": "h", "ı": "i", "ς": "σ",
})
INVISIBLE = "\u00ad\u200c\u200d\u2060\ufeff"  # they do not end a word
LONGEST = 100  # octets of a word


def is_paired(c):
    """Scripts without spaces between words, in which every character counts."""
    if ord(c) < 0x0E00:
        return False
    name = unicodedata.name(c, "")
    return name.startswith(("CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC"))


def folded(word):
    out = []
    for c in unicodedata.normalize("NFKD", word.lower().translate(UNFOLDED)):
        if unicodedata.combining(c) or c in INVISIBLE or not c.isalnum():
            continue
        out.append(c)
    return "".join(out).lower().translate(UNFOLDED).encode()[:LONGEST].decode(errors="ignore")


def words(text):
    """The words of text in order. A character of a script without spaces is a
    place in the order, but no word (None)."""
    out, current = [], []

    def flush():
        if current:
            w = folded("".join(current))
            if w:
                out.append(sys.intern(w))
            current.clear()

    for c in text:
        if c.isascii():
            if c.isalnum():
                current.append(c)
            else:
                flush()
        elif c.isalnum() and c != "\ufffd":
            if is_paired(c):
                flush()
                out.append(None)
            else:
                current.append(c)
        elif current and (c in INVISIBLE or unicodedata.category(c).startswith("M")):
            current.append(c)
        else:
            flush()
    flush()
    return out


class Visible(html.parser.HTMLParser):
    """Text of HTML, what it hides, and where its links go."""

    BLOCKS = {"p", "div", "br", "tr", "td", "th", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "pre",
              "blockquote", "title", "body", "head", "html", "form", "option", "select", "dt", "dd", "center", "input", "textarea"}

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.links, self.silent = [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag in ("script", "style"):
            self.silent += 1
        if tag in self.BLOCKS:
            self.text.append("\n")
        for name, value in attrs:
            if name == "alt" and value:
                self.text.append(" " + value + " ")
            if name == "href" and tag == "a" and value:
                self.links.append(re.sub("(?i)^mailto:", "", value))

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.silent = max(0, self.silent - 1)
        if tag in self.BLOCKS:
            self.text.append("\n")

    def handle_data(self, data):
        if not self.silent:
            self.text.append(data)


class Unsure(Exception):
    """What a message says may be read in more than one way."""


def decode(raw, charset):
    """Text of a known charset. What is in none that is declared anybody may guess; the
    oracle does not."""
    for name in (charset, "utf-8"):
        if name:
            try:
                return raw.decode(name)
            except (LookupError, UnicodeError, ValueError):
                pass
    raise Unsure(f"octets that are not in the charset {charset}")


def header(value):
    if value is None:
        return ""
    value = re.sub(r"\r?\n", "", str(value))
    try:
        out = []
        for part, charset in email.header.decode_header(value):
            out.append(part if isinstance(part, str) else decode(part, charset if charset != "unknown-8bit" else None))
        return "".join(out)
    except email.errors.HeaderParseError:
        return value


def raw_header(message, name):
    """All fields of that name, as text in which octets above 127 are as good as can be."""
    out = []
    for value in message.get_all(name) or []:
        value = str(value) if not isinstance(value, email.header.Header) else value.encode(linesep="")
        out.append(decode(value.encode("ascii", "surrogateescape"), None))
    return out


def addresses(message, *names):
    for name in names:
        for value in raw_header(message, name):
            for display, addr in email.utils.getaddresses([re.sub(r"\r?\n", "", value)]):
                yield header(display), header(addr)


def address_texts(name, addr):
    """The texts of an address that are searched, each by itself."""
    yield name
    local, _, domain = addr.rpartition("@")
    if not local:
        yield addr
        return
    yield local
    yield from domain.split(".")


def is_attached(part, parent):
    kind, disposition = part.get_content_maintype(), part.get_content_disposition()
    if kind == "multipart":
        return False
    if parent is None and part.get_content_type() in ("text/plain", "text/html"):
        return disposition == "attachment"
    if disposition == "attachment":
        return True
    if kind != "text":
        return True
    if parent is not None and parent.get_content_type() == "multipart/alternative":
        return False
    return bool(part.get_filename()) or part.get_content_type() not in ("text/plain", "text/html", "text/rfc822-headers")


def text_of(part):
    """What is to be read in a text part."""
    raw = part.get_payload(decode=True) or b""
    charset = part.get_content_charset()
    if part.get_content_type() != "text/html":
        yield decode(raw, charset)
        return
    if not charset and (meta := re.search(rb"""<meta[^>]{0,200}charset=["']?([\w.:-]+)""", raw[:4096], re.IGNORECASE)):
        charset = meta[1].decode()
    visible = Visible()
    try:
        visible.feed(decode(raw, charset))
        visible.close()
    except (AssertionError, ValueError):
        pass
    yield "".join(visible.text)
    yield "\n".join(visible.links)


def texts(part, attached, parent=None):
    """The texts of the body, in order. Those of attached texts are appended to attached."""
    if part.get_content_maintype() == "message" and part.is_multipart():
        for inner in part.get_payload():
            if part.get_content_type() in ("message/rfc822", "message/global"):
                for name, addr in addresses(inner, "from", "to", "cc"):
                    yield name + " " + addr
                yield "\n".join(header(v) for v in raw_header(inner, "subject"))
            yield from texts(inner, attached, part)
        return
    if part.is_multipart():
        for inner in part.get_payload():
            yield from texts(inner, attached, part)
        for margin in (part.preamble, part.epilogue):
            if margin and not (margin is part.preamble and len(margin.strip()) <= 512 and "MIME" in margin):
                yield decode(margin.encode("utf-8", "surrogateescape"), None)
        return
    if not is_attached(part, parent):
        yield from text_of(part)
    elif part.get_content_maintype() == "text":
        attached.append("\n".join(text_of(part)))


def sequences(raw):
    """Lists of runs of words, one list for each place that is searched."""
    message = email.message_from_bytes(raw)
    subject = [words(header(v)) for v in raw_header(message, "subject")]
    attached = []
    body = [w for text in texts(message, attached) for w in words(text)]
    people = [words(t) for pair in addresses(message, "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc") for t in address_texts(*pair)]
    names = []
    for part in message.walk():
        name = part.get_filename()
        if name:
            names.append(words(re.split(r"[/\\]", header(name))[-1]))
    return {"subject": subject, "body": [body], "people": people, "names": names, "attached": [words(t) for t in attached]}


def has_phrase(run, phrase):
    n = len(phrase)
    return any(run[i:i + n] == phrase for i, w in enumerate(run) if w == phrase[0])


def has_near(run, wanted, distance):
    """Whether all of wanted are in a stretch of run with at most distance other words."""
    size = len(wanted) + distance
    for i, w in enumerate(run):
        if w in wanted:
            window = run[i:i + size]
            if all(window.count(x) >= wanted.count(x) for x in wanted):
                return True
    return False


def read(stream):
    while line := stream.readline():
        yield stream.read(int(line))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--terms", type=int, default=1000)
    options.add_argument("--phrases", type=int, default=200)
    options.add_argument("--near", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    pick = random.Random(args.seed)

    messages = []
    for raw in read(sys.stdin.buffer):
        try:
            messages.append(sequences(raw))
        except Exception as e:  # Unsure, or the package gives up: nothing can be said of this one
            print(json.dumps({"kind": "unsure", "hits": [len(messages)], "query": repr(e)}))
            messages.append({})

    def word(run):
        plain = [w for w in run if w and not any(is_paired(c) for c in w)]
        return pick.choice(plain) if plain else None

    def draw(number, make):
        found = {}
        while len(found) < number:
            m = pick.choice(messages)
            run = pick.choice(m.get(pick.choice(["body", "body", "body", "subject", "people", "names"])) or [[]])
            if one := make(run):
                found[one] = True
        return list(found)

    def phrase(run):
        n = pick.randint(2, 4)
        if len(run) < n:
            return None
        at = pick.randint(0, len(run) - n)
        return None if None in run[at:at + n] else tuple(run[at:at + n])

    def near(run):
        distance = pick.randint(0, 10)
        if len(run) < 2:
            return None
        at = pick.randint(0, len(run) - 2)
        two = (word(run[at:at + distance + 2]), word(run[at:at + distance + 2]))
        return None if None in two or two[0] == two[1] else (two, distance)

    def report(kind, query, hits):
        print(json.dumps({"kind": kind, "query": query, "hits": hits}))

    terms, phrases, nears = sorted(draw(args.terms, word)), draw(args.phrases, phrase), draw(args.near, near)
    asked = set(terms).union(*phrases, *(two for two, _ in nears))
    having = {w: [] for w in asked}
    for i, m in enumerate(messages):
        for w in asked & {w for runs in m.values() for run in runs for w in run}:
            having[w].append(i)

    def having_all(some):
        return sorted(set.intersection(*(set(having[w]) for w in some)))

    def runs_of(i):
        return (run for runs in messages[i].values() for run in runs)

    for t in terms:
        report("term", f'"{t}"', having[t])
    for p in phrases:
        report("phrase", '"' + " ".join(p) + '"', [i for i in having_all(p) if any(has_phrase(run, list(p)) for run in runs_of(i))])
    for two, distance in nears:
        report("near", '"' + " ".join(two) + f'"~{distance}', [i for i in having_all(two) if any(has_near(run, two, distance) for run in runs_of(i))])


if __name__ == "__main__":
    main()
