"""The Sluice SDK and command line."""
