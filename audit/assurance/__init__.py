"""Evidence by control: what the log shows for each control of a catalogue, what it lacks, and who could do what."""
