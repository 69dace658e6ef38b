"""Sparkplug B (Eclipse Sparkplug 3.0, ISO/IEC 20237): topics, payloads, names and sequences. All of it is pure."""
