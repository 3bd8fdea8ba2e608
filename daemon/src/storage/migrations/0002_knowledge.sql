-- Knowledge: the office's own texts, cut into passages short enough to speak.

CREATE TABLE knowledge_documents (
    document_id TEXT NOT NULL PRIMARY KEY CHECK (length(document_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    name           TEXT NOT NULL UNIQUE CHECK (name <> ''),
    title          TEXT NOT NULL,
    content_sha256 TEXT NOT NULL CHECK (length(content_sha256) = 64), -- of the text and the splitting rules
    embedder       TEXT                                               -- that made every vector below; NULL: none
) STRICT;

CREATE TRIGGER knowledge_documents_inserted AFTER INSERT ON knowledge_documents BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_documents', NEW.document_id, 'insert');
END;
CREATE TRIGGER knowledge_documents_versioned AFTER UPDATE ON knowledge_documents WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE knowledge_documents SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER knowledge_documents_updated AFTER UPDATE ON knowledge_documents WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_documents', NEW.document_id, 'update');
END;
CREATE TRIGGER knowledge_documents_deleted AFTER DELETE ON knowledge_documents BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_documents', OLD.document_id, 'delete');
END;

-- `passage_rowid` is spelt out because the full-text index refers to it: an implicit rowid may change in a VACUUM.
CREATE TABLE knowledge_passages (
    passage_rowid INTEGER PRIMARY KEY,
    passage_id    TEXT NOT NULL UNIQUE CHECK (length(passage_id) = 36),
    row_version INTEGER NOT NULL DEFAULT 1 CHECK (row_version >= 1),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    document_id   TEXT NOT NULL REFERENCES knowledge_documents (document_id) ON DELETE CASCADE,
    passage_index INTEGER NOT NULL CHECK (passage_index >= 0),
    heading       TEXT NOT NULL,                                           -- path, e.g. 'Prices > Children'
    text          TEXT NOT NULL CHECK (text <> ''),
    embedding     BLOB CHECK (length(embedding) > 0 AND length(embedding) % 4 = 0) -- f32, little endian
) STRICT;
CREATE INDEX knowledge_passages_by_document ON knowledge_passages (document_id, passage_index);

CREATE TRIGGER knowledge_passages_inserted AFTER INSERT ON knowledge_passages BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_passages', NEW.passage_id, 'insert');
END;
CREATE TRIGGER knowledge_passages_versioned AFTER UPDATE ON knowledge_passages WHEN NEW.row_version = OLD.row_version BEGIN
    UPDATE knowledge_passages SET row_version = row_version + 1 WHERE rowid = NEW.rowid;
END;
CREATE TRIGGER knowledge_passages_updated AFTER UPDATE ON knowledge_passages WHEN NEW.row_version <> OLD.row_version BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_passages', NEW.passage_id, 'update');
END;
CREATE TRIGGER knowledge_passages_deleted AFTER DELETE ON knowledge_passages BEGIN
    INSERT INTO change_log (table_name, row_key, op) VALUES ('knowledge_passages', OLD.passage_id, 'delete');
END;

-- English stems; umlauts and accents are folded, so that "offnungszeiten" finds "Öffnungszeiten".
CREATE VIRTUAL TABLE knowledge_passages_fts USING fts5 (
    heading, text,
    content = 'knowledge_passages', content_rowid = 'passage_rowid',
    tokenize = 'porter unicode61 remove_diacritics 2',
    prefix = '4 5 6'
);
CREATE TRIGGER knowledge_passages_indexed AFTER INSERT ON knowledge_passages BEGIN
    INSERT INTO knowledge_passages_fts (rowid, heading, text) VALUES (NEW.passage_rowid, NEW.heading, NEW.text);
END;
CREATE TRIGGER knowledge_passages_unindexed AFTER DELETE ON knowledge_passages BEGIN
    INSERT INTO knowledge_passages_fts (knowledge_passages_fts, rowid, heading, text)
    VALUES ('delete', OLD.passage_rowid, OLD.heading, OLD.text);
END;
CREATE TRIGGER knowledge_passages_reindexed AFTER UPDATE OF heading, text ON knowledge_passages BEGIN
    INSERT INTO knowledge_passages_fts (knowledge_passages_fts, rowid, heading, text)
    VALUES ('delete', OLD.passage_rowid, OLD.heading, OLD.text);
    INSERT INTO knowledge_passages_fts (rowid, heading, text) VALUES (NEW.passage_rowid, NEW.heading, NEW.text);
END;
