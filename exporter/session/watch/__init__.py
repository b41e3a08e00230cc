"""The service: finds jobs on a whole machine, holds them, and lets go of them."""
