"""The service: it finds the jobs of a whole machine, holds each to its policy, and notices their ends."""
