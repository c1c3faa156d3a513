"""Who may see whose data: what operators granted to clients and to people.

| module | what for |
|---|---|
| `model` | the words: `Grant`, `GranteeKind` |
| `grants` | `Grants`: giving, listing and revoking them, and finding those that count for a token |
| `covering` | what grants let see, and whether that is all that an export may hold |

Which patients a group has is in `sluice_storage.resources.groups`.
"""
