"""One `run`, one `watch` or one `replay`, from its options to its end."""
