"""What payloads have to be: JSON Schema, Avro, Protobuf, from files or from a Confluent Schema Registry.

It judges bytes. What becomes of a payload that does not fit is the pipeline's.
"""
