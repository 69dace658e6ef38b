"""Commands, a file each, with no logic of their own."""
