"""The posture of a configuration: what this machine's settings, files and database say about the controls."""
