"""The policy: what a job may connect to. From the file to a decision, and to entries of the kernel's maps."""
