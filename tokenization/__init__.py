"""The core, from raw text and chats to shards: plain functions, no Dagster and no torch."""
