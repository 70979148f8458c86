"""The nouns: pure data in numpy and pydantic. Never imports torch or reads scans."""
