"""The jail: bubblewrap, seccomp, rlimits, cgroups."""
