"""The HTTP API: authenticates, validates, accepts jobs and serves status and files."""
