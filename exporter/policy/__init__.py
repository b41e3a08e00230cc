"""The destinations that a job may connect to: the policy file, decisions by it, its form in kernel maps."""
