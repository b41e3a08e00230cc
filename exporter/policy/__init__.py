"""What a job may connect to: the policy file, decisions by it, and its form as entries of kernel maps."""
