"""The way of an act: who did it, where it went, what the policy says, and what is counted and told of it."""
