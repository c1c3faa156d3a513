"""Plans document imports and fetches each DocumentReference."""
