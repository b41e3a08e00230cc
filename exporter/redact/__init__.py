"""Take secrets out of command lines and texts before anything leaves the process."""
