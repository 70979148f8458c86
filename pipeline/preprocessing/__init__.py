"""Measured (fingerprint), decided (plan), done (prepare, cache): how a scan becomes a network input."""
