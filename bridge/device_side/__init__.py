"""The process that faces the devices, and the supervisor of the one that faces the bus."""
