"""Access tokens, scopes and guarded outgoing HTTP."""
