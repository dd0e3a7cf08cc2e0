"""What metrics show of parts that know nothing of them: backups, the load of hands, witnesses of the log."""
