"""Who a device is, what it may do, and who can read what it said."""
