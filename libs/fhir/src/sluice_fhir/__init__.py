"""FHIR R4: client, references, documents and scrape schemas."""
