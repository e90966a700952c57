-- migration 1: the tables
CREATE TABLE contacts (
	contact_key   TEXT PRIMARY KEY,
	site          TEXT,
	user_id       TEXT,
	email         TEXT,
	anonymous_id  TEXT,
	name          TEXT,
	phone         TEXT,
	company       TEXT,
	chats         INTEGER,
	first_seen_at TEXT,
	last_chat_at  TEXT,
	seq           INTEGER NOT NULL,
	updated_at    TEXT
) WITHOUT ROWID;
CREATE INDEX contacts_email ON contacts (email);
CREATE TABLE chat_sessions (
	session_key TEXT PRIMARY KEY,
	contact_key TEXT NOT NULL,
	site        TEXT NOT NULL,
	subject     TEXT,
	opened_at   TEXT,
	closed_at   TEXT,
	opened_by   TEXT,
	closed_by   TEXT,
	seconds     REAL NOT NULL,
	opens       INTEGER NOT NULL,
	pages       TEXT NOT NULL,
	attributes  TEXT NOT NULL,
	workflows   TEXT NOT NULL,
	handoff     INTEGER NOT NULL,
	record      TEXT NOT NULL,
	seq         INTEGER NOT NULL,
	updated_at  TEXT
) WITHOUT ROWID;
CREATE INDEX chat_sessions_contact ON chat_sessions (contact_key);
-- migration 2: what others change in contacts
ALTER TABLE contacts ADD COLUMN parley_change INTEGER;
CREATE INDEX contacts_parley_change ON contacts (parley_change) WHERE parley_change IS NOT NULL;
CREATE TABLE parley_crm_changes (n INTEGER NOT NULL);
INSERT INTO parley_crm_changes (n) VALUES (0);
CREATE TRIGGER contacts_parley_change AFTER UPDATE ON contacts
WHEN new.seq IS old.seq AND new.parley_change IS old.parley_change
BEGIN
	UPDATE parley_crm_changes SET n = n + 1;
	UPDATE contacts SET parley_change = (SELECT n FROM parley_crm_changes) WHERE contact_key = new.contact_key;
END;
