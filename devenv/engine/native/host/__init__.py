"""What of this host is used or lent: its certificates and proxies, its package sources, its programs, its abilities."""
