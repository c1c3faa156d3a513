"""Contents at rest: objects encrypted under data keys, which master keys wrap (docs/adr/0027).

| module | what for |
|---|---|
| `keys` | `MasterKeys`: makes, wraps and unwraps data keys, which are kept in Postgres |
| `settings` | where a service finds its master keys |
| `framing` | `Sealer`, `ObjectCipher`: the bytes of an encrypted object |
| `opening` | reading any part of an encrypted object, from a folder or a cloud |
"""
