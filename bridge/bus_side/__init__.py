"""The process that faces Kafka (or files)."""
