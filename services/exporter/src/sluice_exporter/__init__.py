"""Plans bulk exports and writes their files."""
