"""The nine steps of the pipeline, one file each."""
