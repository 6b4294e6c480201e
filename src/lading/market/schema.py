"""The tables of the market, the same in SQLite and PostgreSQL.

Numbers are whole: money in millionths, times in microseconds since 1970 (UTC), cores in
thousandths. So both databases hold, and add up, exactly the same.
"""

from __future__ import annotations

from typing import Final

__all__ = ["TABLES", "VERSION"]

VERSION: Final = 1
"""Of these tables; a change of them comes with a migration."""

TABLES: Final = (
    """CREATE TABLE lading_market (name TEXT PRIMARY KEY, value BIGINT NOT NULL)""",
    """CREATE TABLE lading_listing (
        id TEXT PRIMARY KEY,
        cid TEXT, image TEXT, digest TEXT,
        name TEXT NOT NULL, description TEXT NOT NULL,
        millicpus BIGINT NOT NULL, memory BIGINT NOT NULL, gpus BIGINT NOT NULL,
        sgx BIGINT NOT NULL,
        developer TEXT NOT NULL, fee BIGINT NOT NULL CHECK (fee >= 0),
        state TEXT NOT NULL, published BIGINT NOT NULL, changed BIGINT NOT NULL,
        profile TEXT NOT NULL)""",
    # What a listing was, after each change of it.
    """CREATE TABLE lading_listing_change (
        listing TEXT NOT NULL, number BIGINT NOT NULL, changed BIGINT NOT NULL,
        digest TEXT, developer TEXT NOT NULL, fee BIGINT NOT NULL, state TEXT NOT NULL,
        PRIMARY KEY (listing, number))""",
    # No index: each costs an append 15 us, and what is looked for is at the end, or added up.
    """CREATE TABLE lading_ledger (
        seq {integer} PRIMARY KEY, id TEXT NOT NULL, at BIGINT NOT NULL,
        client TEXT NOT NULL, task TEXT NOT NULL, image TEXT NOT NULL, image_id TEXT NOT NULL,
        developer TEXT NOT NULL, fee BIGINT NOT NULL, owed BIGINT NOT NULL,
        input_sha256 TEXT NOT NULL, output_sha256 TEXT NOT NULL,
        microseconds BIGINT NOT NULL, millicpus BIGINT NOT NULL, memory BIGINT NOT NULL,
        gpus BIGINT NOT NULL, sgx BIGINT NOT NULL,
        success BIGINT NOT NULL, error TEXT NOT NULL, repeats BIGINT NOT NULL,
        host TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL,
        signature TEXT NOT NULL)""",
    # How far each host knows the ledger to go, signed by it.
    """CREATE TABLE lading_ledger_head (
        host TEXT PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL,
        signature TEXT NOT NULL)""",
    # Which idempotency keys are used up, and by which request.
    """CREATE TABLE lading_key_used (
        client TEXT NOT NULL, idempotency_key TEXT NOT NULL, request TEXT NOT NULL,
        seq BIGINT NOT NULL, PRIMARY KEY (client, idempotency_key))""",
    """CREATE TABLE lading_reply (
        seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, content_type TEXT NOT NULL,
        size BIGINT NOT NULL, body {bytes} NOT NULL)""",
    """CREATE TABLE lading_host_key (kid TEXT PRIMARY KEY, jwk TEXT NOT NULL)""",
)
