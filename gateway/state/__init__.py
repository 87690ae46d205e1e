"""What has happened: counts and switches, kept over reloads and restarts."""
