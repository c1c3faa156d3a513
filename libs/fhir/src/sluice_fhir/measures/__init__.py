"""Quality measures: what data they need, how their data is submitted, and how they get here. No I/O.

| module | what it does |
|---|---|
| `requirements` | from a Measure to its data requirements, and to the Library of `$data-requirements` |
| `queries` | from data requirements to the parameters of an export |
| `artifacts` | how Measures, Libraries and ValueSets are looked up |
| `submission` | the Parameters of `$submit-data` |
| `intake`, `intake_answer` | transaction and batch Bundles, and the answers to them |
| `problems` | everything that can be wrong with any of it |
"""
