"""A fleet of simulated devices, and the audit of what arrived.

Nothing here is part of the bridge, and of the bridge it uses only what a device or a reader would: the sealing format.
"""
