"""What a test of a job may take on a machine that is busy with others: it starts ci-egress several times."""

TEST_S = 300
COMMAND_S = 240
"""What a step of the job may, so that its words are shown where that is the end."""
