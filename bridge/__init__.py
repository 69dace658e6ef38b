"""busbridge: an MQTT-to-Kafka bridge appliance."""
