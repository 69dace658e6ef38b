"""Who may come in, what they may do, and who can read what they sent."""
