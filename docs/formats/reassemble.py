#!/usr/bin/env python3
"""reassemble.py DIR/<id>.recipe >message.eml: puts a message together from what tar has unpacked into DIR."""
import base64
import hashlib
import os
import sys

recipe = open(sys.argv[1], "rb")
assert recipe.readline() == b"postkeep-recipe 1\n", "not a recipe"
_, message, total = recipe.readline().decode().split()
digest, size = hashlib.sha256(), 0
for step in iter(lambda: recipe.readline().decode().split(), ["end"]):
    if step[0] == "text":
        data = recipe.read(int(step[1]))
        recipe.read(1)  # the LF behind it
    else:
        with open(os.path.join(os.path.dirname(sys.argv[1]), "parts", step[1]), "rb") as part:
            data = part.read()
    if step[0] == "base64":
        text, line = base64.b64encode(data), int(step[3])
        eol = {"lf": b"\n", "crlf": b"\r\n"}[step[4]]
        data = eol.join(text[i:i + line] for i in range(0, len(text), line))
    digest.update(data)
    size += len(data)
    sys.stdout.buffer.write(data)
if digest.hexdigest() != message or size != int(total):
    sys.exit("damaged: SHA-256 is " + digest.hexdigest())
