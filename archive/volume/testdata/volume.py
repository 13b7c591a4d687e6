#!/usr/bin/env python3
"""Reads a volume by the rules of docs/formats/volume.md, and by nothing else.

    volume.py list FILE          one line for every entry: offset, end, size, hash, name; all is checked
    volume.py cat FILE OFFSET    the body of the entry at a place

Needs the zstd command to decompress frames.
"""
import hashlib
import json
import struct
import subprocess
import sys

TABLE, SEAL, END, FRAME = 0x184D2A5E, 0x184D2A5D, 0x8F92EAB1, 0xFD2FB528


CASTAGNOLI = list(range(256))
for _ in range(8):
    CASTAGNOLI = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in CASTAGNOLI]


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CASTAGNOLI[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def check(ok, what):
    if not ok:
        sys.exit("damaged: " + what)


class Volume:
    """frames: (offset in the file, size there, offset in the tar stream, size there, checksum, CRC of the packed bytes)"""

    def __init__(self, path):
        self.file = open(path, "rb")
        self.size = self.file.seek(0, 2)
        self.frames = self.seek_table() or self.walk()
        self.end = sum(f[3] for f in self.frames)

    def read(self, offset, size):
        self.file.seek(offset)
        data = self.file.read(size)
        check(len(data) == size, "file ends")
        return data

    def seek_table(self):
        if self.size < 21:
            return None
        seal_size, _, _, count, described, magic = struct.unpack("<IIIIBI", self.read(self.size - 21, 21))
        table_size = 8 + 12 * count + 9
        start = self.size - table_size - seal_size
        if magic != END or described != 0x80 or start < 0:
            return None
        seal, table = self.read(start, seal_size), self.read(start + seal_size, table_size)
        magic, rest, name, version, crc = struct.unpack_from("<II8sII", seal)
        check(magic == SEAL and rest == seal_size - 8 and name == b"postkeep", "seal")
        check(crc == crc32c(seal[24:] + table, crc32c(seal[:20])), "CRC of the seek table")
        check(version == 1, "version %d is not known" % version)
        check(struct.unpack_from("<II", table) == (TABLE, table_size - 8), "seek table")
        frames, at, tar = [], 0, 0
        for i in range(count - 1):
            packed, size, checksum = struct.unpack_from("<III", table, 8 + 12 * i)
            frames.append((at, packed, tar, size, checksum, struct.unpack_from("<I", seal, 24 + 4 * i)[0]))
            at, tar = at + packed, tar + size
        check(at == start and frames[-1][3] == 1024, "sizes in the seek table")
        check(self.decode(frames.pop()) == bytes(1024), "end of the tar file")
        return frames

    def walk(self):
        frames, at, tar = [], 0, 0
        while at < self.size:
            start = at
            magic, descriptor = struct.unpack("<IB", self.read(at, 5))
            if magic & 0xFFFFFFF0 == 0x184D2A50:
                at += 8 + struct.unpack("<I", self.read(at + 4, 4))[0]
                continue
            check(magic == FRAME and descriptor & 0x3F == 0x24, "frame header at %d" % at)
            width = (1, 2, 4, 8)[descriptor >> 6]
            size = int.from_bytes(self.read(at + 5, width), "little") + (256 if width == 2 else 0)
            at += 5 + width
            last = False
            while not last:
                block = int.from_bytes(self.read(at, 3), "little")
                last = block & 1
                at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
            checksum = struct.unpack("<I", self.read(at, 4))[0]
            at += 4
            check(at <= self.size and size % 512 == 0, "frame at %d" % start)
            frames.append((start, at - start, tar, size, checksum, None))
            tar += size
        return frames

    def decode(self, frame):
        offset, packed, _, size, checksum, crc = frame
        data = self.read(offset, packed)
        check(crc is None or crc32c(data) == crc, "CRC of the frame at %d" % offset)
        check(struct.unpack("<I", data[-4:])[0] == checksum, "checksum of the frame at %d" % offset)
        data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
        check(len(data) == size, "size of the frame at %d" % offset)
        return data

    def tar(self, offset):
        """The tar stream from a place on."""
        for f in self.frames:
            if f[3] and f[2] + f[3] > offset:
                yield self.decode(f)[max(0, offset - f[2]):]

    def entries(self, offset=0):
        """Yields (offset, end, name, metadata, chunks of the body)."""
        stream, data = self.tar(offset), b""

        def take(size):
            nonlocal data
            while len(data) < size:
                data += next(stream)
            taken, data = data[:size], data[size:]
            return taken

        def header(typeflag):
            block = take(512)
            check(block[156:157] == typeflag and block[257:263] == b"ustar\0", "tar header")
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            check(int(block[148:156].strip(b" \0"), 8) == total, "checksum of a tar header")
            return block[:100].rstrip(b"\0").decode(), int(block[124:136].strip(b" \0"), 8)

        while offset < self.end:
            _, size = header(b"x")
            records = take(size + -size % 512)[:size]
            length, _, rest = records.partition(b" ")
            key, _, value = rest[:int(length) - len(length) - 2].partition(b"=")
            check(int(length) == size and key == b"comment", "pax record")
            name, body = header(b"0")
            end = offset + 1024 + size + -size % 512 + body + -body % 512

            def chunks(left):
                while left:
                    piece = take(min(left, 1 << 20))
                    left -= len(piece)
                    yield piece

            yield offset, end, name, json.loads(value), body, chunks(body)
            check(take(-body % 512) == bytes(-body % 512), "padding of " + name)
            offset = end


def main():
    volume = Volume(sys.argv[2])
    if sys.argv[1] == "cat":
        for chunk in next(volume.entries(int(sys.argv[3])))[5]:
            sys.stdout.buffer.write(chunk)
        return
    for offset, end, name, meta, size, chunks in volume.entries():
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        check(digest.hexdigest() == meta["sha256"], "SHA-256 of " + name)
        print(offset, end, size, meta["sha256"], name)


main()
