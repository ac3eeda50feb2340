"""Logging in at other sites with an account of the local Hub: OAuth 2.0 with OpenID Connect."""
