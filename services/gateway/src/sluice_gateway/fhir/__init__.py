"""The FHIR API, below `[public URL]/fhir`: bulk export and what a client needs beside it.

| module | what for |
|---|---|
| `outcomes` | every error below `/fhir`, as an OperationOutcome |
| `routing` | how a `/fhir` route is declared |
| `declared` | all of them, in the order of the document |
| `routes_*` | the operations, by area; each has `ROUTES` |
"""
