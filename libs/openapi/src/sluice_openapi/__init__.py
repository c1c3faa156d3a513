"""OpenAPI documents, made of what services declare of their operations and of the types these have."""
