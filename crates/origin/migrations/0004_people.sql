-- What people ask for: newest first, by what the uploader calls it, by address, by size.
CREATE INDEX links_by_time ON links (created) WHERE removed IS NULL;
CREATE INDEX links_by_original ON links (original COLLATE NOCASE) WHERE removed IS NULL;
CREATE INDEX claims_by_address ON claims (address, created) WHERE address IS NOT NULL;
CREATE INDEX claims_by_time ON claims (created);
CREATE INDEX objects_by_size ON objects (size);

-- How many there are: to count ten million rows takes seconds, so it is kept, by the triggers below.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    names INTEGER NOT NULL
) STRICT;
INSERT INTO totals (one, objects, bytes, names)
SELECT 1, (SELECT count(*) FROM objects), (SELECT coalesce(sum(size), 0) FROM objects),
    (SELECT count(*) FROM links WHERE removed IS NULL);

CREATE TRIGGER totals_content_comes AFTER INSERT ON objects BEGIN
    UPDATE totals SET objects = objects + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER totals_content_goes AFTER DELETE ON objects BEGIN
    UPDATE totals SET objects = objects - 1, bytes = bytes - OLD.size;
END;
CREATE TRIGGER totals_name_comes AFTER INSERT ON links WHEN NEW.removed IS NULL BEGIN
    UPDATE totals SET names = names + 1;
END;
CREATE TRIGGER totals_name_goes AFTER DELETE ON links WHEN OLD.removed IS NULL BEGIN
    UPDATE totals SET names = names - 1;
END;
CREATE TRIGGER totals_name_ends AFTER UPDATE OF removed ON links
WHEN OLD.removed IS NULL AND NEW.removed IS NOT NULL BEGIN
    UPDATE totals SET names = names - 1;
END;
CREATE TRIGGER totals_name_returns AFTER UPDATE OF removed ON links
WHEN OLD.removed IS NOT NULL AND NEW.removed IS NULL BEGIN
    UPDATE totals SET names = names + 1;
END;
