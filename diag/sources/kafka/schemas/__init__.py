"""Layouts of the messages that kafka-python does not have, in the form of Kafka's own message definitions.

One JSON file for each message, named like its class in `messages`, with only what the bytes need.
A topic id, 16 bytes that nobody here reads, is written as two int64: decoding it as a UUID takes
a third of the time of a whole answer.
Source: Kafka protocol guide (API keys 69, 77 and 90); KIP-848, KIP-932, KIP-1099, KIP-1226.
"""
