"""The files of bulk exports: written by the exporter, read by the gateway, removed by the expirer.

| module | what for |
|---|---|
| `objects` | `ExportObjects`: a job's files in the object store |
| `downloads` | `Downloads`: holds a job's files while they are read, so that none is removed meanwhile |
"""
