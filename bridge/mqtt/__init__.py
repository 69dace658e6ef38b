"""The MQTT 3.1.1 and 5 engine: pure, no I/O, no clock of its own."""
