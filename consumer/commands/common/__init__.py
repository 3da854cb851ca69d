"""What the commands share: which records they read, how they say times, what they print."""
