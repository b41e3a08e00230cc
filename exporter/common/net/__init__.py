"""Addresses, hosts, DNS messages, and how names are looked up."""
