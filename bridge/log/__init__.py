"""The durable log both sides share: append-only segment files, one directory per lane."""
