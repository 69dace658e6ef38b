"""MQTT 3.1, 3.1.1 and 5 without I/O: bytes and a clock reading in, events and bytes out."""
