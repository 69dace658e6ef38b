"""A fleet of simulated devices, its faults, and the audit of what arrived."""
