-- migration 1: the tables
CREATE TABLE contacts (
	contact_key   text PRIMARY KEY,
	site          text,
	user_id       text,
	email         text,
	anonymous_id  text,
	name          text,
	phone         text,
	company       text,
	chats         bigint,
	first_seen_at timestamptz,
	last_chat_at  timestamptz,
	seq           bigint NOT NULL,
	updated_at    timestamptz
);
CREATE INDEX contacts_email ON contacts (email);
CREATE TABLE chat_sessions (
	session_key text PRIMARY KEY,
	contact_key text NOT NULL,
	site        text NOT NULL,
	subject     text,
	opened_at   timestamptz,
	closed_at   timestamptz,
	opened_by   text,
	closed_by   text,
	seconds     double precision NOT NULL,
	opens       bigint NOT NULL,
	pages       text NOT NULL,
	attributes  text NOT NULL,
	workflows   text NOT NULL,
	handoff     boolean NOT NULL,
	record      jsonb NOT NULL,
	seq         bigint NOT NULL,
	updated_at  timestamptz
);
CREATE INDEX chat_sessions_contact ON chat_sessions (contact_key);
-- migration 2: what others change in contacts
ALTER TABLE contacts ADD COLUMN parley_change bigint;
CREATE INDEX contacts_parley_change ON contacts (parley_change, contact_key) WHERE parley_change IS NOT NULL;
CREATE FUNCTION parley_crm_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.parley_change := pg_current_xact_id()::text::bigint;
	RETURN NEW;
END
$$;
CREATE TRIGGER contacts_parley_change BEFORE UPDATE ON contacts
FOR EACH ROW WHEN (NEW.seq = OLD.seq) EXECUTE FUNCTION parley_crm_changed();
