package catalog

// schemaVersion is raised with every change of the schema below. A catalog of
// another version is not migrated but made anew from the ledger, because it is
// derived.
const schemaVersion = 6

// In confirmed are the deposits that a report of a poll vouches for, in memories what the last report with
// a memory said.
//
// In seen is what may become a part when it comes again. It is the one table that a rebuild
// leaves empty: nothing but space depends on it.
//
// The sum of a mailbox is the hash of its deposits, see package setsum; their number is deposits.
//
// A deposit whose record says all has no teller. Of others it is the idx of the one before that says the rest, -1 if that is not
// known; or they have that in told.
const schema = `
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
	n        INTEGER PRIMARY KEY,
	id       BLOB NOT NULL UNIQUE,
	volume   INTEGER NOT NULL,
	offset   INTEGER NOT NULL,
	size     INTEGER NOT NULL,
	received INTEGER NOT NULL,
	parser   INTEGER NOT NULL DEFAULT 0,
	summary  BLOB
);
CREATE INDEX messages_place ON messages(volume, offset);
CREATE INDEX messages_undescribed ON messages(n) WHERE summary IS NULL;

CREATE TABLE parts (
	n      INTEGER PRIMARY KEY,
	id     BLOB NOT NULL UNIQUE,
	volume INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	size   INTEGER NOT NULL
);

CREATE TABLE recipes (
	message INTEGER NOT NULL REFERENCES messages(n),
	part    INTEGER NOT NULL REFERENCES parts(n),
	PRIMARY KEY (message, part)
) WITHOUT ROWID;
CREATE INDEX recipes_part ON recipes(part);

CREATE TABLE seen (
	n       INTEGER PRIMARY KEY,
	piece   INTEGER NOT NULL UNIQUE,
	message INTEGER NOT NULL REFERENCES messages(n)
);
CREATE INDEX seen_message ON seen(message);

CREATE TABLE deposits (
	idx      INTEGER PRIMARY KEY,
	message  INTEGER NOT NULL REFERENCES messages(n),
	mailbox  TEXT NOT NULL,
	uidl     TEXT NOT NULL,
	listed   INTEGER NOT NULL,
	record   BLOB NOT NULL,
	teller   INTEGER,
	told     BLOB
);
CREATE INDEX deposits_listing ON deposits(mailbox, uidl, listed);
CREATE INDEX deposits_message ON deposits(message);

CREATE TABLE mailboxes (
	name     TEXT PRIMARY KEY,
	deposits INTEGER NOT NULL,
	bytes    INTEGER NOT NULL,
	received INTEGER NOT NULL,
	sum      BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE polls (
	idx     INTEGER PRIMARY KEY,
	mailbox TEXT NOT NULL,
	report  BLOB NOT NULL
);
CREATE INDEX polls_mailbox ON polls(mailbox, idx);

CREATE TABLE confirmed (
	idx INTEGER PRIMARY KEY
);

CREATE TABLE memories (
	mailbox TEXT PRIMARY KEY,
	idx     INTEGER NOT NULL,
	memory  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE volumes (
	number INTEGER PRIMARY KEY,
	end    INTEGER NOT NULL,
	sha256 TEXT NOT NULL DEFAULT '',
	bytes  INTEGER NOT NULL DEFAULT 0,
	was    TEXT NOT NULL DEFAULT '',
	packed INTEGER NOT NULL DEFAULT 0
);
`
