"""Checks a proof.json of a Postkeep ledger: python3 verify_proof.py proof.json [ledger.pub]

Written from docs/formats/ledger.md alone, with nothing but Python's standard library and
the openssl command, which checks the Ed25519 signatures. Prints what is proven, a line each.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile


def fail(why):
    sys.exit("NOT proven: " + why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def node(left, right):
    return sha256(b"\1", left, right)


def split(size):
    """The leaves of the left subtree: the largest power of two below size."""
    return 1 << (size - 1).bit_length() - 1


def inclusion(path, size, index, leaf):
    """The root that follows from the path of a leaf (RFC 6962 section 2.1.1)."""
    if size == 1:
        return leaf if not path else fail("the path is too long")
    if not path:
        fail("the path is too short")
    k = split(size)
    if index < k:
        return node(inclusion(path[:-1], k, index, leaf), path[-1])
    return node(path[-1], inclusion(path[:-1], size - k, index - k, leaf))


def consistency(path, old, size, old_root, whole=True):
    """The old and the new root that follow from the path (RFC 6962 section 2.1.2)."""
    if old == size:
        if whole:
            return (old_root, old_root) if not path else fail("the path is too long")
        return (path[0], path[0]) if len(path) == 1 else fail("the path has a wrong length")
    if not path:
        fail("the path is too short")
    k, last = split(size), path[-1]
    if old <= k:
        a, b = consistency(path[:-1], old, k, old_root, whole)
        return a, node(b, last)
    a, b = consistency(path[:-1], old - k, size - k, old_root, False)
    return node(last, a), node(last, b)


def signed(public, text, signature):
    """Checks an Ed25519 signature with openssl."""
    with tempfile.TemporaryDirectory() as directory:
        files = {"key": bytes.fromhex("302a300506032b6570032100") + public, "text": text, "sig": signature}
        for file, data in files.items():
            with open(os.path.join(directory, file), "wb") as f:
                f.write(data)
        command = "openssl pkeyutl -verify -pubin -keyform DER -inkey key -rawin -in text -sigfile sig"
        return subprocess.run(command.split(), cwd=directory, capture_output=True).returncode == 0


def checkpoint(note, key):
    """The size and the root of a signed checkpoint."""
    name, key_hash, encoded = key.strip().split("+", 2)
    encoded = base64.b64decode(encoded)
    if encoded[:1] != b"\1" or sha256(name.encode(), b"\n", encoded)[:4].hex() != key_hash:
        fail("the public key is malformed")
    text, signatures = note.encode().rsplit(b"\n\n", 1)
    text += b"\n"
    for line in signatures.decode().splitlines():
        dash, signer, value = line.split(" ")
        value = base64.b64decode(value)
        if dash == "—" and signer == name and value[:4].hex() == key_hash:
            if not signed(encoded[1:], text, value[4:]):
                fail("the signature of a checkpoint is wrong")
            origin, size, root = text.decode().split("\n")[:3]
            if origin != name:
                fail("a checkpoint is of " + origin)
            return int(size), base64.b64decode(root)
    fail("a checkpoint is not signed by " + name)


def main(proof_file, key_file=None):
    with open(proof_file, encoding="utf-8") as f:
        proof = json.load(f)
    if proof["format"] != "postkeep-proof/1":
        fail("unknown format")
    key = proof["key"]
    if key_file:
        with open(key_file, encoding="utf-8") as f:
            if f.read().strip() != key:
                fail("it is of another key")
    size, root = checkpoint(proof["checkpoint"], key)
    print("checkpoint of", size)
    for earlier in proof.get("earlier", []):
        old, old_root = checkpoint(earlier["checkpoint"], key)
        path = [base64.b64decode(h) for h in earlier["path"]]
        if old == 0:
            roots = (sha256(), root) if not path else fail("the path is too long")
        elif old <= size:
            roots = consistency(path, old, size, old_root)
        else:
            fail("the earlier checkpoint has more events")
        if roots != (old_root, root):
            fail("the earlier checkpoint of %d is contradicted" % old)
        print("continues", old)
    for event in proof.get("events", []):
        index, line = event["index"], event["event"].encode()
        path = [base64.b64decode(h) for h in event["path"]]
        if not 0 <= index < size or inclusion(path, size, index, sha256(b"\0", line)) != root:
            fail("event %d is not in the tree" % index)
        fields = json.loads(line)
        if fields["index"] != index:
            fail("event %d has another index" % index)
        disclosed = "withheld or erased"
        if "salt" in event or "details" in event:
            disclosed = event["details"]
            if sha256(bytes.fromhex(event["salt"]), disclosed.encode()).hex() != fields["details"]:
                fail("the details of event %d are not those that were recorded" % index)
        print("event", index, fields["type"], fields["time"], disclosed)


main(*sys.argv[1:])
