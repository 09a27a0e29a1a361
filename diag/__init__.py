"""`diag` looks at Kafka, PostgreSQL and Redis during an incident and says what is wrong, with evidence."""

__version__ = "0.1.0"
