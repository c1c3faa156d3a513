"""FHIR resources in Postgres: loading them, and reading them for exports.

Everything is written in batches, which have one order in number, time and place (`fhir.clock`), and rows are
added, never rewritten. So a snapshot is one number, and a read of it gives the same whenever it is made.

| module | what for |
|---|---|
| `model` | the words: `Snapshot`, `Window`, `Part`, `Chunk`, `Stored` |
| `planner` | `Planner`: takes snapshots, cuts what is asked for into parts |
| `reader` | `Reader`: gives a part's lines, in chunks or one by one; what was deleted; patient by patient |
| `brought` | `Brought`: what a job brought, patient by patient |
| `lookup` | `Lookup`: single resources, as they are now |
| `artifacts` | `Artifacts`: Measures, Libraries, ValueSets by canonical URL |
| `groups` | `Groups`: who is in which group of patients |
| `loader` | `Loader`: NDJSON into the store; `python -m sluice_storage.resources.load` is its command |
| `applying` | `Applier`: stores and deletes single resources, and tells what became of each |
"""
