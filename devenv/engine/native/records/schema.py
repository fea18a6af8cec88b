"""The tables of the state, and what makes those of an older store into them. SQL, statements parted by `;` at a line's end."""

from __future__ import annotations

SCHEMA = 6

TABLES = """
CREATE TABLE layer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT UNIQUE,             -- the build step's key; NULL for layers that came with an image
    diff_id TEXT,                -- sha256 of its uncompressed tar, once that was computed
    blob_size INTEGER,           -- of that tar, bytes
    size INTEGER NOT NULL DEFAULT 0,
    boot TEXT,                   -- NULL: on disk for certain
    created REAL NOT NULL,
    used REAL NOT NULL,
    parent TEXT                  -- the key of the root that the step ran on: layers with the same one share files
);
CREATE INDEX layer_diff ON layer (diff_id);
CREATE INDEX layer_parent ON layer (parent);
CREATE TABLE image (
    digest TEXT PRIMARY KEY,     -- of the image manifest
    key TEXT NOT NULL,           -- of the root filesystem and config it was built from
    layers TEXT NOT NULL,        -- JSON list of layer ids, bottom first
    config TEXT NOT NULL,        -- JSON, as image.py writes it
    size INTEGER NOT NULL,
    created REAL NOT NULL
);
CREATE INDEX image_key ON image (key);
CREATE TABLE reference (name TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES image (digest) ON DELETE CASCADE);
CREATE TABLE environment (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL, variant TEXT NOT NULL,
    number INTEGER UNIQUE,       -- what the firewall calls it
    UNIQUE (folder, variant)
);
CREATE TABLE built (             -- the steps of an image's last build
    environment TEXT NOT NULL, image TEXT NOT NULL, position TEXT NOT NULL, inputs TEXT NOT NULL,
    PRIMARY KEY (environment, image, position)
);
CREATE TABLE told (              -- of an environment: by object, what was last done to it and why; by image and digest, a folder's files
    environment TEXT NOT NULL, object TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (environment, object)
);
CREATE TABLE container (
    id TEXT PRIMARY KEY,
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    image TEXT NOT NULL,
    slot INTEGER NOT NULL,
    spec TEXT NOT NULL,          -- JSON of the ContainerSpec
    created REAL NOT NULL,
    hooks_done INTEGER NOT NULL DEFAULT 0,
    pid INTEGER, pid_start INTEGER, boot TEXT, started REAL, exit_code INTEGER,
    health TEXT NOT NULL DEFAULT '',
    restarts INTEGER NOT NULL DEFAULT 0,         -- by its supervisor, since somebody started it
    tries INTEGER NOT NULL DEFAULT 0,            -- those of them that followed each other, none of which lived for long
    again REAL,                                  -- when it is to be started again, Unix seconds
    stopped INTEGER NOT NULL DEFAULT 0,          -- 1: by somebody, so no policy starts it again; 2: and it is being removed
    UNIQUE (environment, name)
);
CREATE TABLE published (         -- the port of the host that was chosen for one of a service, to be chosen again
    environment TEXT NOT NULL, service TEXT NOT NULL, address TEXT NOT NULL, container INTEGER NOT NULL, protocol TEXT NOT NULL,
    host INTEGER NOT NULL,
    PRIMARY KEY (environment, service, address, container, protocol)
);
CREATE TABLE slot (
    number INTEGER PRIMARY KEY,
    boot TEXT,                   -- the boot in which it was wired; anything else: not wired
    container TEXT,              -- held for a container, running or not
    pid INTEGER, pid_start INTEGER, pid_boot TEXT   -- held by a command while it lives
);
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

STEPS = {
    1: "ALTER TABLE layer ADD COLUMN parent TEXT;\nCREATE INDEX layer_parent ON layer (parent)",
    2: "CREATE TABLE told (environment TEXT NOT NULL, object TEXT NOT NULL, text TEXT NOT NULL,"
    " PRIMARY KEY (environment, object))",
    3: """
ALTER TABLE container ADD COLUMN health TEXT NOT NULL DEFAULT '';
ALTER TABLE container ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE container ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environment RENAME TO nameless;
CREATE TABLE environment (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL, variant TEXT NOT NULL, number INTEGER UNIQUE,
    UNIQUE (folder, variant)
);
INSERT INTO environment SELECT id, name, folder, variant, rowid FROM nameless;
DROP TABLE nameless;
ALTER TABLE built RENAME TO imageless;
CREATE TABLE built (
    environment TEXT NOT NULL, image TEXT NOT NULL, position TEXT NOT NULL, inputs TEXT NOT NULL,
    PRIMARY KEY (environment, image, position)
);
INSERT INTO built SELECT environment, 'image', position, inputs FROM imageless ORDER BY rowid;
DROP TABLE imageless;
UPDATE told SET object = 'files image/' || substr(object, 7) WHERE object LIKE 'files %'""",
    4: "ALTER TABLE container ADD COLUMN tries INTEGER NOT NULL DEFAULT 0",
    5: """
ALTER TABLE container ADD COLUMN again REAL;
CREATE TABLE published (
    environment TEXT NOT NULL, service TEXT NOT NULL, address TEXT NOT NULL, container INTEGER NOT NULL, protocol TEXT NOT NULL,
    host INTEGER NOT NULL,
    PRIMARY KEY (environment, service, address, container, protocol)
)""",
}
"""What makes a schema the next one."""
